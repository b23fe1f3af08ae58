"""Serving: what one subtask really scores with, which follows the catalog as far as loads succeed."""

from collections.abc import Iterable, Sequence

from udfs.engine import LoadedModel
from udfs.errors import Absence, ModelstreamError, ResolveError
from udfs.models import catalog as catalogs
from udfs.models.catalog import Catalog, Model
from udfs.models.loading import Loader
from udfs.models.periods import NO_PERIODS, Periods, periods_of
from udfs.models.pool import LoadedModels
from udfs.models.status_changes import StatusChange, StatusChanges
from udfs.models.timeline import Activation
from udfs.models.updates import ModelUpdate, RetireModel
from udfs.models.version_loads import VersionLoads, fallback_of, id_of
from udfs.records import ModelId

NO_CATALOG = Catalog()


class Serving:
    """Has the versions loaded that the catalog names, and answers which one scores.

    Used by one thread. What serves goes on serving until another version can take its place; that happens
    in `update` and `poll` alone, never while a batch is scored.

    Args:
        loader: loads versions.
        pool: keeps them.
        max_catalog_bytes: most bytes of inline artifacts in the catalog.
        max_periods: most periods of a model's timeline.
    """

    def __init__(
        self,
        loader: Loader,
        pool: LoadedModels,
        *,
        max_catalog_bytes: int,
        max_periods: int = catalogs.MAX_PERIODS,
    ) -> None:
        self.catalog = Catalog()
        self.changes = 0
        """How often what serves may have changed."""
        self._pool = pool
        self._max_catalog_bytes = max_catalog_bytes
        self._max_periods = max_periods
        self._periods: dict[str, Periods] = {}
        self._said = StatusChanges()
        self._loads = VersionLoads(loader, pool, self._said)

    def start(self, catalog: Catalog, earlier: Catalog = NO_CATALOG) -> None:
        """Serve a catalog that was folded elsewhere: load each model's active version.

        What is not loaded, and what is gone, is said too: what an earlier attempt said of it holds no more.
        Remote versions are loaded once `adopted` is called.

        Args:
            catalog: the catalog.
            earlier: what an earlier attempt followed.
        """
        self.catalog = catalog
        self.changes += 1
        self._loads.start(catalog, earlier)
        for name, model in catalog.models.items():
            self._follow(name)
            for published in model.versions.values():
                if published.model not in self._loads.loading:
                    self._said.closed(published)
            for number, identity in model.retired.items():
                self._said.retired(ModelId(name, number), identity, None)
        for name, model in earlier.models.items():
            known = catalog.models.get(name, Model(name))
            for number in model.versions.keys() - known.versions.keys() - known.retired.keys():
                self._said.retired(ModelId(name, number), model.versions[number].identity(), None)
        self.poll()

    def adopted(self, served: Iterable[str]) -> None:
        """All is known that earlier attempts have left.

        Args:
            served: what `served` gave in them.
        """
        self._loads.adopted(served)

    def update(self, update: ModelUpdate, offset: int, signed_on: str | None = None) -> None:
        """Fold an update and begin to load what it asks for.

        Args:
            update: the update.
            offset: its offset in the control topic.
            signed_on: when it was made, where it is signed.

        Saying again what is so already has the version loaded again where it failed, and its status said.

        Raises:
            UpdateError: refused; nothing changed.
        """
        before = self.catalog
        self.catalog = catalogs.apply(
            *(before, update, offset),
            max_bytes=self._max_catalog_bytes,
            max_periods=self._max_periods,
            signed_on=signed_on,
        )
        self.changes += 1
        name = update.model.name
        if isinstance(update, RetireModel):
            self._say_retired(update, before)
        else:
            self._bring(update.model, before)
        self._follow(name)
        self._close_unpublished(name)
        self.poll()

    def poll(self) -> None:
        """Take over what was loaded meanwhile, and close what nothing needs any more."""
        for model_id in self._loads.take_ended(self.catalog, self._kept):
            self._changed(model_id)
        for model_id in self._loads.close_idle(self._needed):
            self._changed(model_id)

    def served(self) -> list[str]:
        """The versions that have served, as the state keeps them."""
        return self._loads.served.encode()

    @property
    def is_loading(self) -> bool:
        """Whether any version is being loaded."""
        return bool(self._loads.loading)

    def wait(self, seconds: float) -> None:
        """Wait for a load to end, so long at most; `poll` then takes it over."""
        self._loads.wait(seconds)

    def boundaries(self, reference: str) -> Sequence[int]:
        """The event times at which another version scores what events name, ascending."""
        periods = self._periods.get(reference)
        return periods.boundaries if periods is not None else self.catalog.boundaries(reference)

    def serve(self, reference: str, at: int | None = None) -> LoadedModel:
        """The version that scores events which name ``iris`` or ``iris:1``.

        Args:
            reference: what they name.
            at: their time, ms since 1970: of one period between `boundaries`; None: later than any.

        Raises:
            ResolveError: there is none; it says whether one is being loaded.
        """
        periods = self._periods.get(reference, NO_PERIODS)
        index = periods.at(at)
        model = periods.models[index]
        if model is not None:
            if index < len(periods.boundaries) - 1 or self._loads.asked_for:
                self._loads.use(id_of(model))  # of the last two periods it stays in any case
            return model
        model_id = periods.versions[index] or self.catalog.resolve(reference, at)
        loaded = self._loads.use(model_id)
        if loaded is not None:
            return loaded
        if error := self.failure(model_id):
            raise ResolveError(f"{model_id} failed to load: {error}", Absence.FAILED)
        self._loads.ask_for(self.catalog.models[model_id.name].versions[model_id.version])
        raise ResolveError(f"{model_id} is being loaded", Absence.LOADING)

    def failure(self, model_id: ModelId) -> ModelstreamError | None:
        """Why a version can't be served, None when nothing is known against it."""
        return self._loads.failed.get(model_id)

    def take_changes(self) -> list[StatusChange]:
        """What happened since the last call."""
        return self._said.take()

    def close(self) -> None:
        """Close every scorer, and give up what is being loaded."""
        self._loads.close()
        self._periods.clear()

    def _bring(self, model_id: ModelId, before: Catalog) -> None:
        """See that a version that an update names is loaded."""
        had_failed = self._loads.forgive(model_id)
        if model_id in self._pool:
            self._say_again(model_id)
            return
        known, now = before.models.get(model_id.name), self.catalog.models[model_id.name]
        is_arriving = had_failed or known is None or known.activations != now.activations
        self._loads.begin(now.versions[model_id.version], is_arriving=is_arriving, is_new=True)

    def _changed(self, model_id: ModelId) -> None:
        """A version is loaded, has failed, or was closed: see what its model's activations come to now."""
        self.changes += 1
        self._follow(model_id.name)
        self._close_unpublished(model_id.name)

    def _follow(self, name: str) -> None:
        """Serve what a model's activations come to now, and load what scores the last two periods."""
        before = self._periods.pop(name, NO_PERIODS)
        model = self.catalog.models.get(name)
        now = NO_PERIODS
        if model is not None and model.activations:
            now = self._periods[name] = self._fold(model, before.log)
        for one in now.timeline[-2:]:
            if ModelId(name, one.version) not in self._pool:
                self._loads.begin(self.catalog.models[name].versions[one.version])
        self._say_switched(name, before, now)

    def _say_switched(self, name: str, before: Periods, now: Periods) -> None:
        """Say what has become active, and what is so no more and still there."""
        was_active = set(before.active)
        for one in now.active:
            if one not in was_active:
                self._said.loaded(self._loaded(name, one.version), "active", one.effective_from)
        model = self.catalog.models.get(name, Model(name))
        stays = model.versions.keys() - model.leaving.keys()
        replaced = {one.version for one in before.active} - {one.version for one in now.active}
        for version in sorted(replaced & stays):
            loaded = self._pool.peek(ModelId(name, version))
            if loaded is not None:
                self._said.loaded(loaded, "ready")

    def _fold(self, model: Model, before: Sequence[Activation]) -> Periods:
        log = self._log_of(model, before)
        return periods_of(model.name, log, self._loads.failed, self._loads.arriving, self._pool.peek)

    def _log_of(self, model: Model, before: Sequence[Activation]) -> Sequence[Activation]:
        """A model's activations, with those of retired versions that score until another is loaded."""
        if not any(model_id.name == model.name for model_id in self._loads.arriving):
            return model.activations
        *earlier, last = model.activations
        parting = {
            one
            for one in before
            if one.version not in model.versions and ModelId(model.name, one.version) in self._pool
        }
        stays = parting.union(earlier)
        return (*(one for one in before if one in stays), last)

    def _kept(self) -> set[ModelId]:
        """What scores the events of the last two periods of each model, and what answers in its place."""
        scoring = {
            ModelId(name, one.version)
            for name, periods in self._periods.items()
            for one in periods.timeline[-2:]
        }
        loaded = filter(None, map(self._pool.peek, scoring))
        return scoring | {fallback for fallback in map(fallback_of, loaded) if fallback is not None}

    def _needed(self) -> set[ModelId]:
        """What serves, what a rollback goes back to, and what is staged."""
        needed = self._kept()
        for name, model in self.catalog.models.items():
            activated = [one.version for one in model.activations]
            staged = model.versions.keys() - set(activated)
            needed |= {ModelId(name, version) for version in (*_last_two(activated), *staged)}
        return needed

    def _say_retired(self, update: RetireModel, before: Catalog) -> None:
        """Say which versions are retired now, and again of those that the update is about and that are so."""
        name = update.model.name
        model, now = before.models.get(name, Model(name)), self.catalog.models.get(name, Model(name))
        gone = model.versions.keys() - now.versions.keys()
        leaving = {number for number in now.leaving if now.leaving[number] != model.leaving.get(number, -1)}
        again = {*now.leaving, *now.retired}
        if update.model.version is not None:
            again &= {update.model.version}
        elif model.versions:  # it is about these: the others were retired long ago
            again &= model.versions.keys()
        for number in sorted(gone | leaving | again):
            model_id = ModelId(name, number)
            published = now.versions.get(number)
            if published is None:
                self._loads.forget(model_id)
            identity = published.identity() if published else now.retired[number]
            self._said.retired(model_id, identity, now.leaving.get(number))

    def _close_unpublished(self, name: str) -> None:
        """Close what is retired; what serves until another version is loaded is closed then."""
        serving = {one.version for one in self._periods.get(name, NO_PERIODS).timeline}
        for model_id in [one for one in self._pool if one.name == name]:
            if model_id not in self.catalog and model_id.version not in serving:
                self._pool.remove(model_id)

    def _loaded(self, name: str, version: int) -> LoadedModel:
        loaded = self._pool.peek(ModelId(name, version))
        assert loaded is not None
        return loaded

    def _say_again(self, model_id: ModelId) -> None:
        active = [
            one
            for one in self._periods.get(model_id.name, NO_PERIODS).active
            if one.version == model_id.version
        ]
        loaded = self._loaded(model_id.name, model_id.version)
        if active:
            self._said.loaded(loaded, "active", active[-1].effective_from)
        else:
            self._said.loaded(loaded, "ready")


def _last_two(versions: Sequence[int]) -> Sequence[int]:
    """The versions that were activated last and before that."""
    return [*dict.fromkeys(reversed(versions))][:2]
