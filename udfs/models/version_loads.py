"""The loads of one subtask's versions, and what came of them: versions in the pool, or errors."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from udfs.engine import LoadedModel
from udfs.errors import ModelstreamError
from udfs.models.catalog import Catalog
from udfs.models.loaded import close_scorer
from udfs.models.loading import Loader
from udfs.models.pool import LoadedModels
from udfs.models.served_versions import ServedVersions
from udfs.models.status_changes import StatusChanges
from udfs.models.updates import PublishModel
from udfs.models.version_loading import LoadedVersion
from udfs.offload.offloaded_scorer import OffloadedScorer
from udfs.records import ModelId, ServedModel


class VersionLoads:
    """Has versions loaded, and knows of each whether it is being loaded, loaded, or failed.

    Used by one thread.

    Args:
        loader: loads versions.
        pool: keeps them.
        said: told what happens to them.
    """

    def __init__(self, loader: Loader, pool: LoadedModels, said: StatusChanges) -> None:
        self.served = ServedVersions()
        self._loader = loader
        self._pool = pool
        self._said = said
        self._loading: set[ModelId] = set()
        self._arriving: set[ModelId] = set()
        self._asked_for: set[ModelId] = set()
        self._failed: dict[ModelId, ModelstreamError] = {}
        self._late: set[ModelId] = set()
        """Loaded versions whose server was not there yet."""
        self._start: _Start | None = None
        """None: all is known that earlier attempts have left."""

    @property
    def failed(self) -> Mapping[ModelId, ModelstreamError]:
        """Versions that can't be served, and why."""
        return self._failed

    @property
    def asked_for(self) -> Collection[ModelId]:
        """Versions that events asked for and that have not scored since."""
        return self._asked_for

    @property
    def loading(self) -> Collection[ModelId]:
        """Versions that are being loaded."""
        return self._loading

    @property
    def arriving(self) -> Collection[ModelId]:
        """Versions that were activated since the start and are not loaded yet."""
        return self._arriving

    def start(self, catalog: Catalog, earlier: Catalog) -> None:
        """Load what begins from now on; remote versions wait for `adopted`.

        Args:
            catalog: what is served at the start.
            earlier: what an earlier attempt followed.
        """
        self._start = _Start(catalog, earlier, [])

    def adopted(self, served: Iterable[str]) -> None:
        """All is known that earlier attempts have left.

        Args:
            served: the versions that served in them, see `ServedVersions`.
        """
        start, self._start = self._start, None
        if start is None:
            return
        self.served.start(start.catalog, start.earlier, served)
        for published, is_new in start.waiting:
            self._load(published, is_new=is_new)

    def begin(self, published: PublishModel, *, is_arriving: bool = False, is_new: bool = False) -> None:
        """Have a version loaded, unless it is being loaded already.

        Args:
            published: the version.
            is_arriving: whether what serves goes on until it is loaded.
            is_new: whether an update asks for it: then it must reach its server, whatever it did before.
        """
        if is_arriving:
            self._arriving.add(published.model)
        if published.model in self._loading:
            return
        self._loading.add(published.model)
        self._said.loading(published)
        if self._start is not None and published.is_remote:
            self._start.waiting.append((published, is_new))
        else:
            self._load(published, is_new=is_new)

    def ask_for(self, published: PublishModel) -> None:
        """Have a version loaded that events name."""
        self._asked_for.add(published.model)
        self.begin(published)

    def use(self, model_id: ModelId) -> LoadedModel | None:
        """A version that is about to score, None where it is not loaded."""
        loaded = self._pool.use(model_id)
        if loaded is not None:
            self._asked_for.discard(model_id)
        return loaded

    def take_ended(self, catalog: Catalog, kept: Callable[[], set[ModelId]]) -> Iterator[ModelId]:
        """Take over what was loaded meanwhile; a version whose load ended, or that was closed, at a time.

        Args:
            catalog: what is published now.
            kept: versions that must stay loaded.
        """
        while told := self._loader.take_told():
            for published, result in told:
                if isinstance(result, str):
                    self._said.loading(published, result)
                else:
                    yield from self._take(published, result, catalog, kept)
        for model_id in [*self._late]:
            yield from self._look_at_late(model_id, catalog)

    def close_idle(self, needed: Callable[[], Collection[ModelId]]) -> Iterator[ModelId]:
        """Close what has not scored for a while; a version at a time.

        Args:
            needed: versions that stay.
        """
        return map(self._closed, self._pool.close_idle(needed))

    def wait(self, seconds: float) -> None:
        """Wait for a load to end, so long at most."""
        self._loader.wait(seconds)

    def forgive(self, model_id: ModelId) -> bool:
        """Let a version be loaded again if it had failed; whether it had."""
        return self._failed.pop(model_id, None) is not None

    def forget(self, model_id: ModelId) -> None:
        """A version is retired."""
        self._failed.pop(model_id, None)
        self._arriving.discard(model_id)
        self._asked_for.discard(model_id)
        self.served.discard(model_id)

    def close(self) -> None:
        """Close every scorer, and give up what is being loaded."""
        self._loader.close()
        self._pool.close()

    def _load(self, published: PublishModel, *, is_new: bool) -> None:
        late_after = () if is_new else self.served.late_after(published.model)
        self._loader.begin(published, late_after=late_after)

    def _take(
        self,
        published: PublishModel,
        result: LoadedVersion | ModelstreamError,
        catalog: Catalog,
        kept: Callable[[], set[ModelId]],
    ) -> Iterator[ModelId]:
        self._loading.discard(published.model)
        current = catalog.find(published.model)
        has_moved = current is not None and current.artifact != published.artifact
        if current is not None and has_moved and isinstance(result, ModelstreamError):
            self.begin(current)  # its artifact was said to be elsewhere meanwhile
            return
        self._arriving.discard(published.model)
        if isinstance(result, ModelstreamError):
            if current is not None:
                self._fail(published, result)
        elif current is None:  # retired meanwhile
            close_scorer(result.scorer)
        else:
            yield from self._add(published, result, catalog, kept)
        yield published.model

    def _add(
        self,
        published: PublishModel,
        version: LoadedVersion,
        catalog: Catalog,
        kept: Callable[[], set[ModelId]],
    ) -> Iterator[ModelId]:
        """Keep a version that was loaded; gives those that were closed for room."""
        model_id = published.model
        served = ServedModel(model_id.name, model_id.version, published.identity())
        described = msgspec.Raw(msgspec.json.encode(served))
        lane = None
        if isinstance(version.scorer, OffloadedScorer):
            lane = version.scorer.lane
            if not version.scorer.is_connected:
                self._late.add(model_id)
        loaded = LoadedModel(served, version.scorer, described, version.load_ms, version.notes, lane)
        if model_id not in self._late:
            self.served.add(served)
        # Loads may end together: none is closed before the events that asked for it are scored.
        closed = self._pool.add(model_id, loaded, version.memory_bytes, kept() | self._asked_for)
        self._said.loaded(loaded, "ready")
        self._bring_fallback(loaded, catalog)
        yield from map(self._closed, closed)

    def _bring_fallback(self, loaded: LoadedModel, catalog: Catalog) -> None:
        """See that what answers in a version's place is there before it is needed."""
        fallback = fallback_of(loaded)
        if fallback is None or fallback in self._pool or fallback in self._failed:
            return
        published = catalog.find(fallback)
        if published is not None:
            self.begin(published)

    def _look_at_late(self, model_id: ModelId, catalog: Catalog) -> Iterator[ModelId]:
        """See whether a server has come, and a version serves, or is not what was published."""
        loaded = self._pool.peek(model_id)
        published = catalog.find(model_id)
        scorer = None if loaded is None else loaded.scorer
        if loaded is None or published is None or not isinstance(scorer, OffloadedScorer):
            self._late.discard(model_id)
        elif scorer.is_connected:
            self._late.discard(model_id)
            self.served.add(loaded.served)
        elif scorer.failure is not None:
            self._late.discard(model_id)
            self._pool.remove(model_id)
            self._fail(published, scorer.failure)
            yield model_id

    def _fail(self, published: PublishModel, error: ModelstreamError) -> None:
        self._failed[published.model] = error
        self._asked_for.discard(published.model)
        if published.is_remote:  # an artifact that can't be had now does not undo that a version served
            self.served.discard(published.model)
        self._said.failed(published, error)

    def _closed(self, closed: LoadedModel) -> ModelId:
        """A version that is loaded again on demand."""
        model_id = id_of(closed)
        self._asked_for.discard(model_id)
        self._said.loaded(closed, "closed")
        return model_id


class _Start(NamedTuple):
    catalog: Catalog
    earlier: Catalog
    waiting: list[tuple[PublishModel, bool]]
    """Remote versions to load once it is known what has served before, and whether each is new."""


def fallback_of(model: LoadedModel) -> ModelId | None:
    """The version that answers in place of one that is offloaded."""
    return None if model.lane is None else model.lane.settings.fallback


def id_of(model: LoadedModel) -> ModelId:
    """Which version it is."""
    return ModelId(model.served.name, model.served.version)
