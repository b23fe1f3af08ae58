"""What the status topic says of models now: the last word of each subtask that there is."""

from collections.abc import Iterable, Iterator

import msgspec

from connectors.client import Record
from udfs.models.catalog import Model
from udfs.models.timeline import holding, timeline_of
from udfs.records import ModelId, ModelStatus

_decoder = msgspec.json.Decoder(ModelStatus)


class Statuses:
    """Folds records of the status topic."""

    def __init__(self) -> None:
        self._last: dict[bytes, ModelStatus] = {}
        self._parallelism: dict[str, int] = {}

    def add(self, records: Iterable[Record]) -> list[ModelStatus]:
        """Take records in their order; returns their statuses. What is no status is left out."""
        added = []
        for record in records:
            if record.value is None:
                self._last.pop(record.key or b"", None)
            for status in read_statuses([record]):
                self._last[status.key()] = status
                self._parallelism[status.job] = status.parallelism
                added.append(status)
        return added

    @property
    def jobs(self) -> list[str]:
        """The names of all jobs that said anything, sorted."""
        return sorted(self._parallelism)

    def now(self, of: str | None = None, job: str | None = None) -> list[ModelStatus]:
        """The last word of each subtask on each version, sorted.

        A job that was started again with fewer subtasks leaves words of those that are no more.

        Args:
            of: a model (``iris``) or a version (``iris:2``), None for all.
            job: the name of the only job to tell of, None for all.
        """
        there = [
            status
            for status in self._last.values()
            if status.subtask < self._parallelism[status.job] and is_about(status, of, job)
        ]
        return sorted(there, key=lambda status: (status.job, status.model, status.subtask))

    def standing_in(self, job: str, active: ModelId) -> set[ModelId]:
        """The versions that score in the place of another, in subtasks of a job that have not got it.

        Args:
            job: the job.
            active: the version that should score.
        """
        words = self.now(active.name, job)
        has_it = {status.subtask for status in words if (status.model, status.status) == (active, "active")}
        others = [status for status in words if status.status == "active" and status.subtask not in has_it]
        return {status.model for status in _newest(others).values()}

    def serving(self, job: str, model: Model) -> dict[int, ModelId | None]:
        """The version that scores a model's events now, by subtask of a job; None where none does.

        Args:
            job: the job.
            model: the model; of its activations those count whose version a subtask has.
        """
        words = self.now(model.name, job)
        serving: dict[int, ModelId | None] = {}
        for subtask in range(self._parallelism.get(job, 0)):
            said = [status for status in words if status.subtask == subtask]
            has = {status.model.version for status in said if status.status == "active"}
            timeline = timeline_of(one for one in model.activations if one.version in has)
            now = holding(timeline, _highest_event_time(said))
            serving[subtask] = None if now is None else ModelId(model.name, now.version)
        return serving

    def highest_event_time(self, job: str, name: str) -> int | None:
        """The highest event time that any subtask of a job scored with a model; None where none did.

        Each subtask's newest word counts: a job that reads its events anew has scored nothing yet.
        """
        return _highest_event_time(self.now(name, job))


def _highest_event_time(statuses: Iterable[ModelStatus]) -> int | None:
    said = [status for status in statuses if status.highest_event_time is not None]
    return max((one.highest_event_time or 0 for one in _newest(said).values()), default=None)


def _newest(statuses: Iterable[ModelStatus]) -> dict[int, ModelStatus]:
    """The newest of statuses by subtask."""
    return {status.subtask: status for status in sorted(statuses, key=lambda status: status.at)}


def read_statuses(records: Iterable[Record]) -> Iterator[ModelStatus]:
    """The statuses of records; what is no status is left out."""
    for record in records:
        try:
            yield _decoder.decode(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue


def is_about(status: ModelStatus, of: str | None, job: str | None = None) -> bool:
    """Whether a status is about a model or a version, and of a job; None is any."""
    return of in (None, status.model.name, str(status.model)) and job in (None, status.job)
