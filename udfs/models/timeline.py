"""Which version of a model is active when: what its activations come to, one after the other."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import inf

import msgspec

BEGINNING = -inf
"""A time before every other."""


class Activation(msgspec.Struct, frozen=True, array_like=True):
    """From when on a version is the active one, until the next activation."""

    version: int
    effective_from: int | None = None
    """Event time, ms since 1970; None: for events of all times."""

    @property
    def start(self) -> float:
        """The event time from which it holds."""
        return BEGINNING if self.effective_from is None else self.effective_from


def timeline_of(activations: Iterable[Activation]) -> tuple[Activation, ...]:
    """What activations come to, by event time: each holds over all that was said before of its time on.

    Args:
        activations: in the order of their updates. Without those of a version they come to what would be
            if it had never been activated.
    """
    periods: list[Activation] = []
    for activation in activations:
        while periods and periods[-1].start >= activation.start:
            periods.pop()
        if not periods or periods[-1].version != activation.version:
            periods.append(activation)
    return tuple(periods)


def holding(timeline: Sequence[Activation], at: float | None) -> Activation | None:
    """The activation that holds for events of a time, None for the latest; None where there is none."""
    index = len(timeline) if at is None else bisect_right(timeline, at, key=lambda one: one.start)
    return timeline[index - 1] if index else None


def boundaries_of(activations: Iterable[Activation]) -> tuple[int, ...]:
    """The event times from which activations hold, ascending."""
    return tuple(sorted({one.effective_from for one in activations if one.effective_from is not None}))


def appended(log: Sequence[Activation], activation: Activation) -> tuple[Activation, ...]:
    """A log of activations with one more, and without what it replaces whatever else may be left out."""
    last = log[-1] if log else None
    if last is not None and last.version == activation.version and last.start <= activation.start:
        return tuple(log)
    others = (one for one in log if one.version != activation.version or one.start < activation.start)
    return (*others, activation)


def bounded(log: Sequence[Activation], most: int) -> tuple[Activation, ...]:
    """A log of activations without the oldest periods of its timeline beyond the most that there may be.

    As many are kept of those that are in no period, which count where others are left out.
    """
    kept = tuple(log)
    while len(timeline := timeline_of(kept)) > most:
        kept = kept[kept.index(timeline[0]) + 1 :]
    in_no_period = [one for one in kept if one not in timeline]
    forgotten = set(in_no_period[:-most])
    return tuple(one for one in kept if one not in forgotten)
