"""Who scores the events that name a model alone, in one subtask: what its activations come to there."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from udfs.engine import LoadedModel
from udfs.models.timeline import BEGINNING, Activation, boundaries_of, holding, timeline_of
from udfs.records import ModelId

Peek = Callable[[ModelId], LoadedModel | None]
"""A version as it is loaded, None where it is not."""


class Periods(NamedTuple):
    """A model's versions by event time, and those of them that are loaded."""

    log: tuple[Activation, ...] = ()
    """What they were made of: the activations in the order of their updates."""
    timeline: tuple[Activation, ...] = ()
    """What serves: what the activations come to without those that failed here or have not arrived."""
    active: tuple[Activation, ...] = ()
    """Of the timeline, those whose version is loaded."""
    boundaries: tuple[int, ...] = ()
    """The event times that activations name, ascending."""
    versions: tuple[ModelId | None, ...] = (None,)
    """One more than boundaries; None: no version is active then, or the one that is has failed."""
    models: tuple[LoadedModel | None, ...] = (None,)
    """The same as far as they are loaded."""

    def at(self, time: int | None) -> int:
        """The index of the version for a time; None: later than any."""
        return len(self.boundaries) if time is None else bisect_right(self.boundaries, time)


NO_PERIODS = Periods()
"""Of a model that has no activation."""


def periods_of(
    name: str,
    log: Sequence[Activation],
    failed: Collection[ModelId],
    arriving: Collection[ModelId],
    peek: Peek,
) -> Periods:
    """What the activations of a model come to.

    A version that failed is as though it had never been activated. So is one that is on its way for
    events of all times, as long as there is another to score them; one with a time is waited for.

    Args:
        name: the model.
        log: its activations in the order of their updates.
        failed: versions that can't be loaded here.
        arriving: versions that were activated under way and are not loaded yet.
        peek: the loaded versions.
    """
    ids = {one: ModelId(name, one.version) for one in log}
    able = [one for one in log if ids[one] not in failed]
    there = [one for one in able if one.effective_from is not None or ids[one] not in arriving]
    timeline, to_come = timeline_of(there), timeline_of(able)
    boundaries = boundaries_of(log)
    scoring = [holding(timeline, at) or holding(to_come, at) for at in (BEGINNING, *boundaries)]
    versions = tuple(None if one is None else ids[one] for one in scoring)
    return Periods(
        log=tuple(log),
        timeline=timeline,
        active=tuple(one for one in timeline if peek(ids[one]) is not None),
        boundaries=boundaries,
        versions=versions,
        models=tuple(None if one is None else peek(one) for one in versions),
    )
