"""What a subtask says of its versions: the model statuses."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from udfs.models.status_changes import StatusChange
from udfs.records import ModelId, ModelStatus
from udfs.scored import ScoredEvents

_TEXT_CHARACTERS = 2000
"""Longest text in a status, whose topic takes no record of any size."""


class Place(NamedTuple):
    """Which subtask of which job this is."""

    job: str
    subtask: int = 0
    parallelism: int = 1
    attempt: int = 0


class Late(NamedTuple):
    """Of how many events an update came too late."""

    events: int | None
    """None: it is not known."""
    since: int | None
    """The event time from which the update is in effect."""
    cause: str | None = None
    """What there is to say of the number."""


class Reports:
    """Statuses, and the same again when their counts have grown.

    Args:
        place: whose.
        scored: the counts.
        clock: the time of day.
        interval: seconds of running time after which counts that have grown are said again.
    """

    def __init__(
        self, place: Place, scored: ScoredEvents, clock: Callable[[], datetime], interval: float
    ) -> None:
        self._place = place
        self._scored = scored
        self._clock = clock
        self._interval = interval
        self._last: dict[ModelId, ModelStatus] = {}
        self._unsaid: list[ModelStatus] = []
        self._counted_at = 0.0

    def say(self, change: StatusChange) -> None:
        """Say what happened to a version."""
        at = self._now()
        last = self._last.get(change.model)
        since = last.since if last is not None and last.status == change.status else at
        status = self._counted(
            ModelStatus(
                *(self._place.job, change.model, change.status),
                *self._place[1:],
                *(change.sha256, at),
                load_ms=change.load_ms,
                cause=None if change.cause is None else change.cause[:_TEXT_CHARACTERS],
                notes=tuple(note[:_TEXT_CHARACTERS] for note in change.notes),
                since=since,
                effective_from=change.effective_from,
            )
        )
        self._last[change.model] = status
        self._unsaid.append(status)

    def say_late(self, model: ModelId, sha256: str, late: Late) -> None:
        """Say that an update came after events were answered that it is about."""
        self._unsaid.append(
            ModelStatus(
                *(self._place.job, model, "late"),
                *self._place[1:],
                *(sha256, self._now()),
                cause=late.cause,
                effective_from=late.since,
                late_events=late.events,
            )
        )

    def say_highest(self) -> None:
        """Say again what was said before the highest event times of earlier attempts were known."""
        for model, last in self._last.items():
            counted = self._counted(last)
            if last.status != "loading" and counted.highest_event_time != last.highest_event_time:
                self._say_again(model, counted)

    def take(self, running_time: float) -> tuple[ModelStatus, ...]:
        """What is to be said now."""
        if running_time - self._counted_at >= self._interval:
            self._counted_at = running_time
            for model, last in self._last.items():
                counted = self._counted(last)
                # The highest event time is its model's: each version would say it again.
                if counted.scored != last.scored:
                    self._say_again(model, counted)
        statuses, self._unsaid = tuple(self._unsaid), []
        return statuses

    def _say_again(self, model: ModelId, counted: ModelStatus) -> None:
        self._last[model] = msgspec.structs.replace(counted, at=self._now())
        self._unsaid.append(self._last[model])

    def _counted(self, status: ModelStatus) -> ModelStatus:
        scored = self._scored.counts.get(status.model)
        highest = self._scored.highest.get(status.model.name, -1)
        return msgspec.structs.replace(
            status, scored=scored, highest_event_time=highest if highest >= 0 else None
        )

    def _now(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")
