"""What happens to versions in one subtask, as model statuses say it."""

from typing import NamedTuple

from udfs.engine import LoadedModel
from udfs.errors import ModelCrashedError, ModelstreamError
from udfs.models.updates import PublishModel
from udfs.records import ModelId, Phase


class StatusChange(NamedTuple):
    """What happened to a version."""

    model: ModelId
    status: Phase
    sha256: str
    load_ms: float | None = None
    cause: str | None = None
    notes: tuple[str, ...] = ()
    effective_from: int | None = None
    """Of ``active`` and ``retired``: the event time from which it is so."""


class StatusChanges:
    """Gathers what happens until it is told."""

    def __init__(self) -> None:
        self._untold: list[StatusChange] = []

    def take(self) -> list[StatusChange]:
        """What happened since the last call."""
        changes, self._untold = self._untold, []
        return changes

    def loading(self, published: PublishModel, cause: str | None = None) -> None:
        """A version is being loaded; the cause is why that takes longer."""
        self._untold.append(StatusChange(published.model, "loading", published.identity(), cause=cause))

    def failed(self, published: PublishModel, error: ModelstreamError) -> None:
        """A version can't be loaded."""
        kind = "crashed" if isinstance(error, ModelCrashedError) else type(error).__name__
        identity = published.identity()
        self._untold.append(StatusChange(published.model, "failed", identity, cause=f"{kind}: {error}"))

    def closed(self, published: PublishModel) -> None:
        """A version is not loaded, and will be on demand."""
        self._untold.append(StatusChange(published.model, "closed", published.identity()))

    def loaded(self, model: LoadedModel, status: Phase, effective_from: int | None = None) -> None:
        """A version that is loaded is ready, active, or closed."""
        self._untold.append(
            StatusChange(
                ModelId(model.served.name, model.served.version),
                *(status, model.served.sha256, model.load_ms),
                notes=model.notes,
                effective_from=effective_from,
            )
        )

    def retired(self, model_id: ModelId, identity: str, effective_from: int | None) -> None:
        """A version is retired, from an event time on or altogether."""
        self._untold.append(StatusChange(model_id, "retired", identity, effective_from=effective_from))
