"""The versions that a subtask has loaded, within bounds."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from udfs.engine import LoadedModel
from udfs.models.loaded import close_scorer
from udfs.records import ModelId


class PoolBounds(NamedTuple):
    """What may stay loaded."""

    versions: int
    """Most versions."""
    memory_bytes: int
    """Most memory, as far as it is known."""
    idle: float
    """Seconds after which a version that nothing needs is closed."""


class _Entry:
    def __init__(self, model: LoadedModel, memory_bytes: int, used_at: float) -> None:
        self.model = model
        self.memory_bytes = memory_bytes
        self.used_at = used_at


class LoadedModels:
    """Loaded versions, the least recently used first. Used by one thread.

    Args:
        bounds: what may stay loaded.
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, bounds: PoolBounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._entries: OrderedDict[ModelId, _Entry] = OrderedDict()
        self._looked_at = clock()

    def __contains__(self, model_id: ModelId) -> bool:
        """Whether a version is loaded."""
        return model_id in self._entries

    def __iter__(self) -> Iterator[ModelId]:
        """The versions, the least recently used first."""
        return iter(self._entries)

    def use(self, model_id: ModelId) -> LoadedModel | None:
        """A version that is about to score, None where it is not loaded."""
        entry = self._entries.get(model_id)
        if entry is None:
            return None
        entry.used_at = self._clock()
        self._entries.move_to_end(model_id)
        return entry.model

    def peek(self, model_id: ModelId) -> LoadedModel | None:
        """A version that is asked about and scores nothing now, None where it is not loaded."""
        entry = self._entries.get(model_id)
        return None if entry is None else entry.model

    def add(
        self, model_id: ModelId, model: LoadedModel, memory_bytes: int, kept: Collection[ModelId]
    ) -> list[LoadedModel]:
        """Take a version, and close the least recently used beyond the bounds.

        Args:
            model_id: the version.
            model: loaded.
            memory_bytes: what it takes, as far as that is known.
            kept: versions that must stay loaded, whatever the bounds say.

        Returns:
            What was closed.
        """
        self._entries[model_id] = _Entry(model, memory_bytes, self._clock())
        closed = []
        for other in [*self._entries]:
            if self._is_within_bounds():
                break
            if other != model_id and other not in kept:
                closed.append(self._close(other))
        return closed

    def remove(self, model_id: ModelId) -> LoadedModel:
        """Close a version that is loaded."""
        return self._close(model_id)

    def close_idle(self, needed: Callable[[], Collection[ModelId]]) -> list[LoadedModel]:
        """Close what nothing needs and has not scored for a while.

        Args:
            needed: versions that stay; asked a few times in the time that a version may be idle.

        Returns:
            What was closed.
        """
        now = self._clock()
        if now - self._looked_at < self._bounds.idle / 4:
            return []
        self._looked_at = now
        stays = needed()
        for model_id in stays:
            if model_id in self._entries:
                self._entries[model_id].used_at = now
        idle = [one for one, entry in self._entries.items() if now - entry.used_at >= self._bounds.idle]
        return [self._close(model_id) for model_id in idle]

    def close(self) -> None:
        """Close all."""
        for model_id in [*self._entries]:
            self._close(model_id)

    def _is_within_bounds(self) -> bool:
        total = sum(entry.memory_bytes for entry in self._entries.values())
        return len(self._entries) <= self._bounds.versions and total <= self._bounds.memory_bytes

    def _close(self, model_id: ModelId) -> LoadedModel:
        model = self._entries.pop(model_id).model
        close_scorer(model.scorer)
        return model
