"""Dead letters of model updates that came to nothing."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from udfs.batches import Outcome
from udfs.errors import ModelstreamError
from udfs.models.known import KnownCatalog, KnownPublication
from udfs.models.status_changes import StatusChange
from udfs.models.updates import PublishModel
from udfs.outputs import OutputLimits, dead_letter
from udfs.records import ModelId


class UpdateLetters:
    """Writes an update's own bytes when it is refused, and when what it asked for fails to load.

    Every subtask follows every update: one of them writes for all.

    Args:
        limits: what the topic takes.
        clock: the time of day.
        writes: whether this is the one.
    """

    def __init__(self, limits: OutputLimits, clock: Callable[[], datetime], *, writes: bool) -> None:
        self._limits = limits
        self._clock = clock
        self._writes = writes
        self._letters: list[Outcome] = []
        self._asked_for: dict[ModelId, Callable[[], tuple[bytes, bytes]]] = {}
        """Value and envelope of the update that asked for each version."""

    def start(self, known: KnownCatalog, told: int) -> None:
        """Take what the control topic said before the job started.

        Args:
            known: the topic, folded.
            told: the offset up to which refusals were told of by earlier attempts.
        """
        if not self._writes:
            return
        now = self._clock()
        self._letters += [
            dead_letter(one.value, one.envelope, one.error(), self._limits, now, cut_from=one.cut_from)
            for one in known.refused
            if one.offset > told
        ]
        for model, one in known.published.items():
            published = known.catalog.models[model.name].versions[model.version]
            self._asked_for[model] = partial(_as_read, one, published)

    def asked(self, model: ModelId, value: bytes, envelope: bytes) -> None:
        """An update asks for a version."""
        if self._writes:
            self._asked_for[model] = lambda: (value, envelope)

    def refused(self, value: bytes, envelope: bytes, error: ModelstreamError, model: str | None) -> None:
        """An update is refused."""
        if self._writes:
            self._letters.append(dead_letter(value, envelope, error, self._limits, self._clock(), model))

    def noted(self, change: StatusChange, error: ModelstreamError | None) -> None:
        """Something happened to a version.

        Args:
            change: what.
            error: why it can't be served, where it has failed.
        """
        if change.status in ("loading", "closed"):
            return  # a closed version is loaded again where one after it fails
        update = self._asked_for.pop(change.model, None)
        if change.status == "failed" and update is not None and error is not None:
            self.refused(*update(), error, str(change.model))

    def take(self) -> list[Outcome]:
        """The dead letters since the last call."""
        letters, self._letters = self._letters, []
        return letters


def _as_read(one: KnownPublication, published: PublishModel) -> tuple[bytes, bytes]:
    return one.whole_value(published), one.envelope
