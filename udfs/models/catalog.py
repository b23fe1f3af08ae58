"""The catalog: what the updates say should be served. Plain data and pure functions.

An update's offset in the control topic is its place in the one order that every subtask sees.
Updates are idempotent: folding one twice changes nothing the second time.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise

import msgspec

from udfs.errors import Absence, ResolveError, UpdateError
from udfs.models.timeline import BEGINNING, Activation, appended, boundaries_of, bounded, holding, timeline_of
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel, RetireModel
from udfs.records import ModelId

MAX_PERIODS = 50
"""Most periods of a model's timeline, unless the configuration says another number."""


class Model(msgspec.Struct, frozen=True):
    """A model: its published versions, which were retired, and which is active when."""

    name: str
    versions: Mapping[int, PublishModel] = {}
    retired: Mapping[int, str] = {}
    """Retired versions and their identity: a version's number never stands for two models."""
    activations: tuple[Activation, ...] = ()
    """Of published versions, in the order of their updates; none that a later one of its version replaces."""
    offset: int = -1
    """Offset of the last update that changed the model."""
    signed_on: str | None = None
    """When the last signed update of the model was made, as it says."""
    leaving: Mapping[int, int | None] = {}
    """Versions that are retired and still published: from which event time on; None: they score the
    events of their times in the timeline alone."""
    has_forgotten: bool = False
    """Whether the timeline had earlier periods, which are forgotten."""

    @property
    def timeline(self) -> tuple[Activation, ...]:
        """What is active when, by event time; only the first may be without a time."""
        return timeline_of(self.activations)

    @property
    def active(self) -> int | None:
        """The version that the catalog wants to serve, of the latest events."""
        return self.activations[-1].version if self.activations else None

    def inline_bytes(self) -> int:
        """Bytes of its inline artifacts."""
        return sum(len(version.inline) for version in self.versions.values())


class Catalog(msgspec.Struct, frozen=True):
    """Every model that the updates up to an offset made."""

    models: Mapping[str, Model] = {}
    offset: int = -1
    """Offset of the last update that was folded, also of one that was refused."""

    def __contains__(self, model_id: ModelId) -> bool:
        """Whether a version is published."""
        return self.find(model_id) is not None

    def find(self, model_id: ModelId) -> PublishModel | None:
        """A version as it was published, None where it is not, or not any more."""
        model = self.models.get(model_id.name)
        return None if model is None else model.versions.get(model_id.version)

    def resolve(self, reference: str, at: int | None = None) -> ModelId:
        """What an event names: ``iris:1`` a published version, ``iris`` whichever is active.

        Args:
            reference: a model, or a version.
            at: the event's time, ms since 1970; None: later than any.

        Raises:
            ResolveError: no such model, or no such version of it at that time.
        """
        model = self.models.get(reference)
        if model is not None and model.versions:
            return ModelId(reference, _active_at(model, at))
        try:
            model_id = ModelId.parse(reference)
        except ValueError:
            raise ResolveError(f"no model {reference!r} is published") from None
        model = self.models.get(model_id.name)
        if model is None or model_id.version not in model.versions:
            known = ", ".join(map(str, sorted(model.versions))) if model else ""
            raise ResolveError(
                f"{model_id} is not published" + (f"; versions of {model_id.name}: {known}" if known else "")
            )
        if model_id.version in model.leaving:
            since = model.leaving[model_id.version]
            if since is None or at is None or at >= since:
                raise ResolveError(f"{model_id} is retired", Absence.FOR_EVER)
        return model_id

    def boundaries(self, reference: str) -> tuple[int, ...]:
        """The event times at which another version, or none, scores what events name, ascending."""
        model = self.models.get(reference)
        if model is not None and model.versions:
            return boundaries_of(model.timeline)
        try:
            model_id = ModelId.parse(reference)
        except ValueError:
            return ()
        model = self.models.get(model_id.name)
        since = model.leaving.get(model_id.version) if model else None
        return () if since is None else (since,)

    def inline_bytes(self) -> int:
        """Bytes of all inline artifacts."""
        return sum(model.inline_bytes() for model in self.models.values())


def apply(
    catalog: Catalog,
    update: ModelUpdate,
    offset: int,
    *,
    max_bytes: int,
    max_periods: int = MAX_PERIODS,
    serving: Collection[ModelId] = (),
    signed_on: str | None = None,
) -> Catalog:
    """The catalog after an update.

    Args:
        catalog: the catalog before.
        update: the update.
        offset: the update's offset in the control topic.
        max_bytes: most bytes of inline artifacts that the catalog may hold.
        max_periods: most periods of a model's timeline; an activation beyond it forgets the oldest.
        serving: versions that score somewhere in the place of the active one, which failed to load or is
            not loaded yet; they can't be retired alone.
        signed_on: when the update was made, where it is signed.

    Raises:
        UpdateError: the update is refused.
    """
    name = update.model.name
    model = catalog.models.get(name, Model(name))
    match update:
        case PublishModel():
            changed = _publish(model, update, max_periods)
            grown = changed.inline_bytes() - model.inline_bytes()
            if grown > 0 and catalog.inline_bytes() + grown > max_bytes:
                raise UpdateError(
                    f"{update.model}: the catalog's inline artifacts would exceed catalog.max_bytes "
                    f"({max_bytes}); publish by URI, or retire versions. One that scores events of a time "
                    f"in the timeline leaves behind it: with the next activation that has no time, or when "
                    f"catalog.max_periods forgets it"
                )
        case ActivateModel():
            changed = _activate(model, update.model, update.effective_from, max_periods)
        case RetireModel():
            changed = _retire(model, update, serving)
    if signed_on is not None:
        changed = msgspec.structs.replace(changed, signed_on=signed_on)
    if changed is model:
        return advance(catalog, offset)
    models = {**catalog.models, name: msgspec.structs.replace(changed, offset=offset)}
    return Catalog(models, max(catalog.offset, offset))


def advance(catalog: Catalog, offset: int) -> Catalog:
    """The catalog after an update that changed nothing, or was refused."""
    return Catalog(catalog.models, max(catalog.offset, offset))


def newest(one: Catalog, other: Catalog) -> Catalog:
    """Two folds of the same topic as one: each model as the later of its updates left it.

    A job that starts again has what its state held and what it read from the topic.
    """
    models = dict(one.models)
    for name, model in other.models.items():
        if name not in models or model.offset > models[name].offset:
            models[name] = model
    return Catalog(models, max(one.offset, other.offset))


def _active_at(model: Model, at: int | None) -> int:
    timeline = model.timeline
    active = holding(timeline, at)
    if active is not None:
        return active.version
    if not timeline:
        raise ResolveError(f"{model.name}: no version is active")
    first = timeline[0]
    forgotten = "; older periods are forgotten (catalog.max_periods)" if model.has_forgotten else ""
    raise ResolveError(
        f"{model.name}: no version is active at event time {at}; the first is "
        f"{model.name}:{first.version}, from {first.effective_from} on{forgotten}",
        Absence.FOR_EVER,
    )


def _publish(model: Model, update: PublishModel, max_periods: int) -> Model:
    version, identity = update.model.version, update.identity()
    known = model.versions.get(version)
    known_identity = known.identity() if known else model.retired.get(version)
    versions = {**model.versions, version: update}
    if known_identity is not None and known_identity != identity:
        raise UpdateError(
            f"{update.model} is already published with another descriptor "
            f"(sha256 {known_identity[:12]}…, this one {identity[:12]}…): use a new version number"
        )
    if known is not None and version not in model.leaving:
        # Where its artifact is is no part of what a version is.
        is_moved = known.artifact != update.artifact
        return msgspec.structs.replace(model, versions=versions) if is_moved else model
    published = msgspec.structs.replace(
        model,
        versions=versions,
        retired={number: sha for number, sha in model.retired.items() if number != version},
        leaving={number: since for number, since in model.leaving.items() if number != version},
    )
    if not update.activate:
        return published
    return _activate(published, update.model, update.effective_from, max_periods)


def _activate(model: Model, model_id: ModelId, since: int | None, max_periods: int) -> Model:
    version = model_id.version
    if version not in model.versions:
        raise UpdateError(f"{model_id} can't be activated: it is not published")
    if version in model.leaving:
        raise UpdateError(f"{model_id} can't be activated: it is retired; publish it again first")
    activations = appended(model.activations, Activation(version, since))
    if activations == model.activations:
        return model
    kept = bounded(activations, max_periods)
    forgets = timeline_of(kept) != timeline_of(activations)
    return _let_go(
        msgspec.structs.replace(
            model, activations=kept, has_forgotten=since is not None and (forgets or model.has_forgotten)
        )
    )


def _retire(model: Model, update: RetireModel, serving: Collection[ModelId]) -> Model:
    if update.all:
        if update.effective_from is not None:
            raise UpdateError(
                f"{model.name}: a whole model is retired at once: leave `effective_from` or `all` out"
            )
        return _without(model, set(model.versions))
    version = update.model.version
    assert version is not None  # the struct sees to it
    _check_can_leave(model, ModelId(model.name, version), serving)
    if version not in model.versions:
        return model
    since = update.effective_from
    scores_until = _active_until(model, version)
    if since is not None and scores_until is not None and scores_until > since:
        raise UpdateError(
            f"{model.name}:{version} can't be retired from event time {since} on: it is active until "
            f"{scores_until}"
        )
    if version in model.leaving and model.leaving[version] == since:
        return model
    return _let_go(msgspec.structs.replace(model, leaving={**model.leaving, version: since}))


def _active_until(model: Model, version: int) -> int | None:
    """The event time until which a version that is not active now is so; None: it never is."""
    ends = [
        after.effective_from
        for one, after in pairwise(model.timeline)
        if one.version == version and after.effective_from is not None
    ]
    return max(ends, default=None)


def _let_go(model: Model) -> Model:
    """Take out what is retired, as far as no event of a time that the timeline has needs it."""
    timeline = model.timeline
    needless = model.leaving.keys() - {one.version for one in timeline}
    activations = tuple(one for one in model.activations if one.version not in needless)
    remembered = timeline[0].start if model.has_forgotten else BEGINNING
    gone = {
        version for version in needless if (since := model.leaving[version]) is None or since <= remembered
    }
    return _without(msgspec.structs.replace(model, activations=activations), gone)


def _without(model: Model, leaving: Collection[int]) -> Model:
    if not leaving:
        return model
    return msgspec.structs.replace(
        model,
        versions={number: known for number, known in model.versions.items() if number not in leaving},
        retired={**model.retired, **{number: model.versions[number].identity() for number in leaving}},
        activations=tuple(one for one in model.activations if one.version not in leaving),
        has_forgotten=model.has_forgotten and model.active not in leaving,
        leaving={number: since for number, since in model.leaving.items() if number not in leaving},
    )


def _check_can_leave(model: Model, model_id: ModelId, serving: Collection[ModelId]) -> None:
    if model_id.version not in model.versions and model_id.version not in model.retired:
        raise UpdateError(f"{model_id} can't be retired: it is not published")
    if model.active == model_id.version:
        raise UpdateError(
            f"{model_id} can't be retired: it is active; activate another version first, "
            f"or retire the whole model (`models retire {model.name} --all`)"
        )
    if model_id in serving and model_id.version not in {one.version for one in model.timeline}:
        raise UpdateError(
            f"{model_id} can't be retired: it is serving, where {model.name}:{model.active} failed to load "
            f"or is not loaded yet; activate another version first, or retire the whole model "
            f"(`models retire {model.name} --all`)"
        )
