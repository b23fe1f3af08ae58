"""Serving: what one subtask really scores with, which follows the catalog as far as loads succeed."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from udfs.engine import LoadedModel
from udfs.errors import ModelLoadError, ModelstreamError, ResolveError
from udfs.models import catalog as catalogs
from udfs.models.catalog import Catalog
from udfs.models.checks import run_checks
from udfs.models.updates import Artifact, ModelUpdate, PublishModel, RetireModel
from udfs.records import ModelId, Phase, ServedModel
from udfs.scorers import Options, Scorer

Fetch = Callable[[Artifact], Path]
LoadScorer = Callable[[str, Path, Options], Scorer]


class StatusChange(NamedTuple):
    """What happened to a version in this subtask."""

    model: ModelId
    status: Phase
    sha256: str
    load_ms: float | None = None
    cause: str | None = None
    notes: tuple[str, ...] = ()


class Serving:
    """Loads the versions that the catalog names, and answers which one scores.

    Used by one thread. A version that fails to load never replaces one that works.

    Args:
        fetch: brings an artifact to a local file; raises ArtifactError.
        load_scorer: loads a file with its format's scorer; raises ModelLoadError.
        formats: formats that may be served.
        max_loaded: most loaded versions; beyond it the least recently used is closed.
        max_catalog_bytes: most bytes of inline artifacts in the catalog.
    """

    def __init__(
        self,
        fetch: Fetch,
        load_scorer: LoadScorer,
        *,
        formats: Collection[str],
        max_loaded: int,
        max_catalog_bytes: int,
    ) -> None:
        self.catalog = Catalog()
        self.changes = 0
        """How often what serves may have changed."""
        self._fetch = fetch
        self._load_scorer = load_scorer
        self._formats = formats
        self._max_loaded = max_loaded
        self._max_catalog_bytes = max_catalog_bytes
        self._loaded: OrderedDict[ModelId, LoadedModel] = OrderedDict()
        self._failed: dict[ModelId, ModelstreamError] = {}
        self._serving: dict[str, LoadedModel] = {}
        self._changes: list[StatusChange] = []

    def start(self, catalog: Catalog) -> None:
        """Serve a catalog that was folded elsewhere: load each model's active version."""
        self.catalog = catalog
        self.changes += 1
        for name in catalog.models:
            self._follow(name)

    def update(self, update: ModelUpdate, offset: int) -> None:
        """Fold an update and load what it asks for.

        Raises:
            UpdateError: refused; nothing changed.
            ArtifactError, ModelLoadError: taken into the catalog, but the version can't be served;
                what served goes on serving.
        """
        self.changes += 1
        before = self.catalog
        serving = {_id_of(model) for model in self._serving.values()}
        self.catalog = catalogs.apply(
            before, update, offset, max_bytes=self._max_catalog_bytes, serving=serving
        )
        name = update.model.name
        if isinstance(update, RetireModel):
            self._close_retired(before, name)
            return
        # Saying it again is how an operator asks for another try.
        self._failed.pop(update.model, None)
        self._load(update.model)
        self._follow(name)
        if update.model in self._failed:
            raise self._failed[update.model]

    def serve(self, reference: str) -> LoadedModel:
        """The version that scores events which name ``iris`` or ``iris:1``.

        Raises:
            ResolveError: there is none.
        """
        model = self._serving.get(reference)
        if model is not None:
            return model  # what serves is never closed to make room
        name, version = self.catalog.resolve(reference)
        if version is None:
            active = self.catalog.models[name].active
            if active is None:
                raise ResolveError(f"{name}: no version is active")
            failure = self._failed.get(ModelId(name, active))
            raise ResolveError(f"{name}: no version is serving; {name}:{active} failed to load: {failure}")
        model_id = ModelId(name, version)
        loaded = self._load(model_id)
        if loaded is None:
            raise ResolveError(f"{model_id} failed to load: {self._failed[model_id]}")
        return loaded

    def failure(self, model_id: ModelId) -> ModelstreamError | None:
        """Why a version can't be served, None when nothing is known against it."""
        return self._failed.get(model_id)

    def take_changes(self) -> list[StatusChange]:
        """What happened since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def close(self) -> None:
        """Close every scorer."""
        for model in self._loaded.values():
            _close(model.scorer)
        self._loaded.clear()
        self._serving.clear()

    def _follow(self, name: str) -> None:
        """Serve the newest activation that loads."""
        model = self.catalog.models[name]
        for version in reversed(model.activations):
            loaded = self._load(ModelId(name, version))
            if loaded is not None:
                if self._serving.get(name) is not loaded:
                    self._serving[name] = loaded
                    self._say(loaded, "active")
                return
        self._serving.pop(name, None)

    def _load(self, model_id: ModelId) -> LoadedModel | None:
        loaded = self._loaded.get(model_id)
        if loaded is not None:
            self._loaded.move_to_end(model_id)
            return loaded
        if model_id in self._failed:
            return None
        published = self.catalog.models[model_id.name].versions[model_id.version]
        started = time.perf_counter()
        try:
            loaded = self._load_now(published, started)
        except ModelstreamError as error:
            self._failed[model_id] = error
            self._changes.append(
                StatusChange(
                    model_id, "failed", published.identity(), cause=f"{type(error).__name__}: {error}"
                )
            )
            return None
        self._make_room()
        self._loaded[model_id] = loaded
        self._say(loaded, "ready")
        return loaded

    def _load_now(self, published: PublishModel, started: float) -> LoadedModel:
        if published.format not in self._formats:
            raise ModelLoadError(
                f"{published.model}: format {published.format!r} is not allowed here; "
                f"models.formats: {', '.join(self._formats)}"
            )
        try:
            scorer = self._load_scorer(published.format, self._fetch(published.artifact), published.options)
        except ModelstreamError:
            raise
        except Exception as error:  # the edge to a format's own code
            raise ModelLoadError(f"{published.model}: {type(error).__name__}: {error}") from error
        try:
            if getattr(scorer, "stateful", False):
                raise ModelLoadError(
                    f"{published.model} keeps state of its own between events, which would not survive a "
                    f"restart of the job; `modelstream score` runs such models"
                )
            run_checks(scorer, published.checks)
        except ModelstreamError:
            _close(scorer)
            raise
        served = ServedModel(published.model.name, published.model.version, published.identity())
        return LoadedModel(
            served,
            scorer,
            msgspec.Raw(msgspec.json.encode(served)),
            (time.perf_counter() - started) * 1000,
            tuple(getattr(scorer, "notes", ())),
        )

    def _make_room(self) -> None:
        serving = {_id_of(model) for model in self._serving.values()}
        for model_id in [*self._loaded]:
            if len(self._loaded) < self._max_loaded:
                return
            if model_id not in serving:
                _close(self._loaded.pop(model_id).scorer)

    def _close_retired(self, before: Catalog, name: str) -> None:
        was = before.models[name].versions if name in before.models else {}
        now = self.catalog.models[name].versions if name in self.catalog.models else {}
        for number in was.keys() - now.keys():
            model_id = ModelId(name, number)
            loaded = self._loaded.pop(model_id, None)
            if loaded is not None:
                _close(loaded.scorer)
            self._failed.pop(model_id, None)
            self._changes.append(StatusChange(model_id, "retired", was[number].identity()))
        serving = self._serving.get(name)
        if serving is not None and _id_of(serving).version not in now:
            del self._serving[name]

    def _say(self, model: LoadedModel, status: Phase) -> None:
        self._changes.append(
            StatusChange(_id_of(model), status, model.served.sha256, model.load_ms, notes=model.notes)
        )


def _close(scorer: Scorer) -> None:
    # The edge to a format's own code: the version is gone either way, and the job must not fail for it.
    with suppress(Exception):
        scorer.close()


def _id_of(model: LoadedModel) -> ModelId:
    return ModelId(model.served.name, model.served.version)
