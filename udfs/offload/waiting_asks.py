"""Records that wait until a request may be sent with them."""

from collections import deque
from collections.abc import Sequence

import msgspec

from udfs.json_values import JsonValue
from udfs.remotes.base import Trace

MOST_WAITING_BYTES = 64 * 1024 * 1024


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One record to score.

    Attributes:
        ticket: comes back with its answer.
        data: what to score.
        size: bytes, for the bound of what waits.
        trace: headers of its trace context; empty: none.
    """

    ticket: int
    data: JsonValue
    size: int
    trace: Trace


class WaitingAsks:
    """A queue with a bound: one thread announces what it will add, and the loop's thread does the rest.

    Each thread has counters that it alone writes, so that neither needs a lock to know what waits.

    Args:
        most: records.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._asks: deque[Ask] = deque()
        self._announced = self._announced_bytes = 0
        self._taken = self._taken_bytes = 0

    def __len__(self) -> int:
        """How many wait or were announced."""
        return self._announced - self._taken

    def has_room(self, size: int, records: int, sent_soon: int = 0) -> bool:
        """Whether more may wait. One may where no other does.

        Args:
            size: bytes of all of them.
            records: how many.
            sent_soon: how many of what waits need not wait.
        """
        waiting = self._announced - self._taken
        if waiting + records > self._most + sent_soon:
            return False
        return waiting + records == 1 or (
            self._announced_bytes - self._taken_bytes + size <= MOST_WAITING_BYTES
        )

    def announce(self, asks: Sequence[Ask]) -> None:
        """Count what will be added."""
        self._announced += len(asks)
        self._announced_bytes += sum(ask.size for ask in asks)

    def add(self, asks: Sequence[Ask]) -> None:
        """Add what was announced."""
        self._asks.extend(asks)

    def take(self, most: int | None = None) -> Sequence[Ask]:
        """The first of what was added, at most so many; all of it."""
        waiting = len(self._asks)
        asks = [self._asks.popleft() for _ in range(waiting if most is None else min(most, waiting))]
        self._taken += len(asks)
        self._taken_bytes += sum(ask.size for ask in asks)
        return asks

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._asks
