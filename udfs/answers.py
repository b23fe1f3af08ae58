"""What answered the last events, and which of them would be answered otherwise now. Plain data."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.records import ModelId

_MOST = 100_000
"""Events that are remembered of each reference."""
_MOST_IN_ALL = 2_000_000
"""Room for events of all references; beyond it those that were not used for longest are forgotten."""
_LEAST = 64


class Answer(NamedTuple):
    """What answers events of one period between two boundaries now."""

    model: ModelId | None
    """None: nothing does."""
    counts: bool
    """Whether those are to be counted that were answered otherwise."""


class Answers:
    """The last events of each reference: their times, and the version that answered or none.

    A reference is what an event names, a model or a version. 16 bytes an event.
    """

    def __init__(self) -> None:
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self._room = 0
        self._numbers: dict[ModelId | None, int] = {}
        self._forgotten = -1
        """The highest time of events of references that are forgotten altogether."""

    def __iter__(self) -> Iterator[str]:
        """The references."""
        return iter(self._rings)

    def add(self, reference: str, model: ModelId | None, at: NDArray[np.int64]) -> None:
        """Remember N events that a version answered, or that nothing did."""
        ring = self._rings.get(reference)
        if ring is None:
            ring = self._rings[reference] = _Ring()
            self._room += ring.room
        else:
            self._rings.move_to_end(reference)
        before = ring.room
        ring.add(at, self._number(model))
        if ring.room != before:
            self._room += ring.room - before
        while self._room > _MOST_IN_ALL and len(self._rings) > 1:
            self._forget(next(iter(self._rings)))

    def settle(self, reference: str, boundaries: Sequence[int], answers: Sequence[Answer]) -> int:
        """Take what answers now for what was told, and count the events that it is news for.

        Args:
            reference: of which events.
            boundaries: N event times, ascending.
            answers: of the N + 1 periods between them.

        Returns:
            How many events of periods that count were answered otherwise, and were not counted since
            the answer became what it is.
        """
        numbers = [self._number(answer.model) for answer in answers]
        return self._rings[reference].settle(boundaries, numbers, [answer.counts for answer in answers])

    def forgotten(self, reference: str) -> int:
        """The highest time of events of a reference that may be remembered no more; -1: none."""
        ring = self._rings.get(reference)
        return max(self._forgotten, -1 if ring is None else ring.forgotten)

    def drop(self, reference: str) -> None:
        """Forget what is known of a reference, whose answers never matter again."""
        self._room -= self._rings.pop(reference).room

    def _forget(self, reference: str) -> None:
        self._forgotten = max(self._forgotten, self._rings[reference].highest())
        self.drop(reference)

    def _number(self, model: ModelId | None) -> int:
        return self._numbers.setdefault(model, len(self._numbers))


class _Ring:
    def __init__(self) -> None:
        self.forgotten = -1
        self._count = 0
        self._next = 0
        self._at = np.empty(_LEAST, np.int64)
        self._answered = np.empty(_LEAST, np.int32)
        self._told = np.empty(_LEAST, np.int32)
        """The answer that was told last of each; at first, what answered."""

    @property
    def room(self) -> int:
        return len(self._at)

    def add(self, at: NDArray[np.int64], answer: int) -> None:
        if self._count + len(at) > self.room < _MOST:
            self._grow(self._count + len(at))
        for start in range(0, len(at), self.room):
            self._add(at[start : start + self.room], answer)

    def settle(self, boundaries: Sequence[int], answers: Sequence[int], counts: Sequence[bool]) -> int:
        known = slice(self._count)
        periods = np.searchsorted(np.asarray(boundaries, np.int64), self._at[known], side="right")
        now = np.asarray(answers, np.int32)[periods]
        news = (now != self._told[known]) & (now != self._answered[known]) & np.asarray(counts)[periods]
        self._told[known] = now
        return int(np.count_nonzero(news))

    def highest(self) -> int:
        return max(self.forgotten, int(self._at[: self._count].max(initial=-1)))

    def _add(self, at: NDArray[np.int64], answer: int) -> None:
        first = at[: self.room - self._next]
        self._write(self._next, first, answer)
        if len(first) < len(at):
            self._write(0, at[len(first) :], answer)
        self._next = (self._next + len(at)) % self.room

    def _write(self, start: int, at: NDArray[np.int64], answer: int) -> None:
        stop = start + len(at)
        if start < self._count:
            self.forgotten = max(self.forgotten, int(self._at[start:stop].max()))
        self._at[start:stop] = at
        self._answered[start:stop] = answer
        self._told[start:stop] = answer
        self._count = max(self._count, stop)

    def _grow(self, needed: int) -> None:
        room = min(_MOST, max(2 * self.room, needed))
        self._at, self._answered, self._told = (
            np.concatenate((old[: self._count], np.empty(room - self._count, old.dtype)))
            for old in (self._at, self._answered, self._told)
        )
        self._next = self._count % room
