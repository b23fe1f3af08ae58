"""Waiting until every subtask of a job has said what became of an update. No Kafka, no clock of its own."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from cli.statuses import read_statuses
from connectors.client import Record
from udfs.records import ModelId, ModelStatus, Phase

Outcome = Literal["everywhere", "failed", "timeout"]

_MORE_FAILURES_SECONDS = 2.0
"""After a first failure: what the other subtasks have to say in this time is told with it."""


class Awaited(NamedTuple):
    """What every subtask should say of a version."""

    model: ModelId
    sha256: str
    phases: Collection[Phase]
    effective_from: int | None = None
    """The event time that the word must name; None: any."""

    def is_said_by(self, status: ModelStatus) -> bool:
        """Whether a status is that word."""
        return status.status in self.phases and self.effective_from in (None, status.effective_from)


class Words:
    """What the subtasks of a job say of versions, from when it is made.

    Args:
        job: the job's name.
        awaited: what every subtask should say, a version each.
    """

    def __init__(self, job: str, awaited: Sequence[Awaited]) -> None:
        self.job = job
        self.awaited = tuple(awaited)
        self.parallelism: int | None = None
        """How many subtasks there are; None: none has spoken yet."""
        self._last: dict[tuple[ModelId, int], ModelStatus] = {}
        self._late: dict[tuple[ModelId, int], ModelStatus] = {}

    def add(self, statuses: Iterable[ModelStatus]) -> None:
        """Take statuses in their order. Those of other jobs and of other artifacts are left out."""
        wanted = {one.model: one.sha256 for one in self.awaited}
        for status in statuses:
            if status.job != self.job:
                continue
            if status.parallelism != self.parallelism:
                # The job was started anew: words of subtasks that are no more count for nothing.
                self._last.clear()
                self._late.clear()
                self.parallelism = status.parallelism
            if wanted.get(status.model) == status.sha256:
                words = self._late if status.status == "late" else self._last
                words[status.model, status.subtask] = status

    @property
    def heard(self) -> list[ModelStatus]:
        """The last word of each subtask that spoke of the versions, sorted."""
        return [self._last[key] for key in sorted(self._last)]

    @property
    def failed(self) -> list[ModelStatus]:
        """Those of them that say that it failed. A version that is retired has nothing more to fail at."""
        leaving = {one.model for one in self.awaited if "retired" in one.phases}
        return [one for one in self.heard if one.status == "failed" and one.model not in leaving]

    @property
    def late(self) -> list[ModelStatus]:
        """Words that an activation came after events that it was for."""
        return [self._late[key] for key in sorted(self._late)]

    @property
    def missing(self) -> list[tuple[ModelId, int]]:
        """Version and subtask of each word that has not come. Empty also where nobody spoke at all."""
        return [
            (one.model, subtask)
            for one in self.awaited
            for subtask in range(self.parallelism or 0)
            if (last := self._last.get((one.model, subtask))) is None or not one.is_said_by(last)
        ]

    @property
    def outcome(self) -> Outcome:
        """What they come to; ``timeout`` where nothing more is waited for."""
        if self.failed:
            return "failed"
        return "timeout" if self.parallelism is None or self.missing else "everywhere"


Show = Callable[[Words], None]
"""Shows words while they are waited for."""


def listen(
    words: Words,
    stream: Iterable[Sequence[Record]],
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    show: Show | None = None,
) -> Outcome:
    """Take words until all are there, one failed, or the time is up.

    Args:
        words: what to wait for.
        stream: records of the status topic as they come, empty while none do.
        seconds: how long to wait.
        clock: seconds, from any beginning.
        show: called with the words each time when some may have come.
    """
    end = clock() + seconds
    for records in stream:
        words.add(read_statuses(records))
        if show is not None:
            show(words)
        now = clock()
        if words.failed:
            end = min(end, now + _MORE_FAILURES_SECONDS)
        settled = words.parallelism is not None and len(words.missing) == len(words.failed)
        # What is said with the last word, such as that it is late, may be in the next records.
        if now >= end or (settled and not records):
            break
    return words.outcome
