"""The catalog: what the updates say should be served. Plain data and pure functions.

An update's offset in the control topic is its place in the one order that every subtask sees.
Updates are idempotent: folding one twice changes nothing the second time.
"""

from collections.abc import Collection, Mapping

import msgspec

from udfs.errors import ResolveError, UpdateError
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel, RetireModel
from udfs.records import ModelId

STATE_SCHEMA = 1
"""Version of the JSON that the state holds. A later one must read every earlier one."""


class Model(msgspec.Struct, frozen=True):
    """A model: its published versions, which were retired, and in which order they were activated."""

    name: str
    versions: Mapping[int, PublishModel] = {}
    retired: Mapping[int, str] = {}
    """Retired versions and their identity: a version's number never stands for two models."""
    activations: tuple[int, ...] = ()
    """Published versions by their last activation, the active one last."""
    offset: int = -1
    """Offset of the last update that changed the model."""
    schema: int = STATE_SCHEMA

    @property
    def active(self) -> int | None:
        """The version that the catalog wants to serve."""
        return self.activations[-1] if self.activations else None


class Catalog(msgspec.Struct, frozen=True):
    """Every model that the updates up to an offset made."""

    models: Mapping[str, Model] = {}
    offset: int = -1
    """Offset of the last update that was folded, also of one that was refused."""

    def __contains__(self, model_id: ModelId) -> bool:
        """Whether a version is published."""
        model = self.models.get(model_id.name)
        return model is not None and model_id.version in model.versions

    def resolve(self, reference: str) -> tuple[str, int | None]:
        """What an event names: ``iris:1`` a published version, ``iris`` whichever is serving.

        Returns:
            The model's name and the version, None for the one that is serving.

        Raises:
            ResolveError: no such model, or no such version of it.
        """
        model = self.models.get(reference)
        if model is not None and model.versions:
            return reference, None
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
        return model_id.name, model_id.version

    def inline_bytes(self) -> int:
        """Bytes of all inline artifacts."""
        return sum(
            len(version.artifact.inline or b"")
            for model in self.models.values()
            for version in model.versions.values()
        )


def apply(
    catalog: Catalog,
    update: ModelUpdate,
    offset: int,
    *,
    max_bytes: int,
    serving: Collection[ModelId] = (),
) -> Catalog:
    """The catalog after an update.

    Args:
        catalog: the catalog before.
        update: the update.
        offset: the update's offset in the control topic.
        max_bytes: most bytes of inline artifacts that the catalog may hold.
        serving: versions that score now though they may not be active, because a newer one
            failed to load; they can't be retired alone.

    Raises:
        UpdateError: the update is refused.
    """
    name = update.model.name
    model = catalog.models.get(name, Model(name))
    match update:
        case PublishModel():
            changed = _publish(model, update)
            grown = len(update.artifact.inline or b"") if changed is not model else 0
            if grown and catalog.inline_bytes() + grown > max_bytes:
                raise UpdateError(
                    f"{update.model}: the catalog's inline artifacts would exceed catalog.max_bytes "
                    f"({max_bytes}); retire versions, or publish by URI"
                )
        case ActivateModel():
            changed = _activate(model, update.model)
        case RetireModel():
            changed = _retire(model, update, serving)
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


def encode_model(model: Model) -> bytes:
    """A model as the state keeps it: JSON with its schema's version."""
    return msgspec.json.encode(model)


def decode_model(state: bytes) -> Model:
    """Read a model from the state.

    Raises:
        ValueError: written by a newer modelstream than this, or no such state.
    """
    model = _model_decoder.decode(state)
    if model.schema > STATE_SCHEMA:
        raise ValueError(
            f"the state of model {model.name} has schema {model.schema}, this modelstream reads up to "
            f"{STATE_SCHEMA}: start the job with the version that wrote it, or a later one"
        )
    return model


_model_decoder = msgspec.json.Decoder(Model)


def _publish(model: Model, update: PublishModel) -> Model:
    version, identity = update.model.version, update.identity()
    known = model.versions.get(version)
    known_identity = known.identity() if known else model.retired.get(version)
    if known_identity is not None and known_identity != identity:
        raise UpdateError(
            f"{update.model} is already published with another descriptor "
            f"(sha256 {known_identity[:12]}…, this one {identity[:12]}…): use a new version number"
        )
    if known is not None:
        return model
    published = msgspec.structs.replace(
        model,
        versions={**model.versions, version: update},
        retired={number: sha for number, sha in model.retired.items() if number != version},
    )
    return _activate(published, update.model) if update.activate else published


def _activate(model: Model, model_id: ModelId) -> Model:
    if model_id.version not in model.versions:
        raise UpdateError(f"{model_id} can't be activated: it is not published")
    if model.active == model_id.version:
        return model
    others = tuple(version for version in model.activations if version != model_id.version)
    return msgspec.structs.replace(model, activations=(*others, model_id.version))


def _retire(model: Model, update: RetireModel, serving: Collection[ModelId]) -> Model:
    if update.all:
        leaving = set(model.versions)
    else:
        assert update.model.version is not None  # the struct sees to it
        leaving = {update.model.version}
        _check_can_leave(model, ModelId(model.name, update.model.version), serving)
    leaving &= set(model.versions)
    if not leaving:
        return model
    return msgspec.structs.replace(
        model,
        versions={number: known for number, known in model.versions.items() if number not in leaving},
        retired={**model.retired, **{number: model.versions[number].identity() for number in leaving}},
        activations=tuple(version for version in model.activations if version not in leaving),
    )


def _check_can_leave(model: Model, model_id: ModelId, serving: Collection[ModelId]) -> None:
    if model_id.version not in model.versions and model_id.version not in model.retired:
        raise UpdateError(f"{model_id} can't be retired: it is not published")
    if model.active == model_id.version:
        raise UpdateError(
            f"{model_id} can't be retired: it is active; activate another version first, "
            f"or retire the whole model with `all`"
        )
    if model_id in serving:
        raise UpdateError(
            f"{model_id} can't be retired: it is serving, because {model.name}:{model.active} failed to "
            f"load; activate another version first, or retire the whole model with `all`"
        )
