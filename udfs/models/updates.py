"""Model updates: the closed union of records that change the catalog."""

import hashlib
from typing import Annotated, Any

import msgspec

from udfs.errors import UpdateError
from udfs.json_values import read_struct
from udfs.records import END, EventTime, ModelId, ModelName, Sha256, VersionNumber

FormatName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,63}" + END)]


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a model's bytes are: in the update itself or at a URI; always with their sha256."""

    sha256: Sha256
    inline: bytes | None = None
    """The bytes themselves; base64 in JSON."""
    uri: Annotated[str, msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if (self.inline is None) == (self.uri is None):
            raise ValueError("expected exactly one of `inline` and `uri`")


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input whose outputs are known, tried before a version is ready."""

    data: Any
    outputs: Any
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Largest absolute difference of a number."""


class PublishModel(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="publish_model"
):
    """Make a version known, and active unless ``activate`` is false."""

    model: ModelId
    format: FormatName
    artifact: Artifact
    activate: bool = True
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    occurred_on: str | None = None
    effective_from: EventTime | None = None
    """The event time from which the version is active; None: from whenever a subtask is ready."""

    def __post_init__(self) -> None:
        if self.effective_from is not None and not self.activate:
            raise ValueError("`effective_from` is the time of an activation: leave it out, or `activate`")

    @property
    def reference(self) -> str:
        """What it is about, as events and people name it."""
        return str(self.model)

    def identity(self) -> str:
        """The sha256 of the canonical descriptor: format, options, the artifact's sha256, checks.

        Canonical is JSON with sorted keys and no white space, UTF-8.
        """
        descriptor = {
            "format": self.format,
            "options": self.options,
            "artifact": self.artifact.sha256,
            "checks": [msgspec.to_builtins(check) for check in self.checks],
        }
        return hashlib.sha256(msgspec.json.encode(descriptor, order="deterministic")).hexdigest()


class ActivateModel(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="activate_model"
):
    """Make a published version the one that scores events which name the model alone."""

    model: ModelId
    occurred_on: str | None = None
    effective_from: EventTime | None = None
    """The event time from which it is active; None: from whenever a subtask is ready."""

    @property
    def reference(self) -> str:
        """What it is about, as events and people name it."""
        return str(self.model)


class RetiredModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is retired: one version, or with ``all`` of the update every version of the name."""

    name: ModelName
    version: VersionNumber | None = None


class RetireModel(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="retire_model"
):
    """Take a version that is not active, or with ``all`` a whole model, out of the catalog."""

    model: RetiredModel
    all: bool = False
    occurred_on: str | None = None
    effective_from: EventTime | None = None
    """The event time from which it is gone, while it still scores events before; None: gone altogether."""

    @property
    def reference(self) -> str:
        """What it is about, as events and people name it."""
        return self.model.name if self.all else f"{self.model.name}:{self.model.version}"

    def __post_init__(self) -> None:
        if self.all and self.model.version is not None:
            raise ValueError("`all` retires every version: leave `model.version` out")
        if not self.all and self.model.version is None:
            raise ValueError("expected `model.version`, or `all`: true")


ModelUpdate = PublishModel | ActivateModel | RetireModel

_decoder: msgspec.json.Decoder[ModelUpdate] = msgspec.json.Decoder(ModelUpdate)


def decode_update(value: bytes) -> ModelUpdate:
    """Read a control record's value.

    Raises:
        UpdateError: not JSON, or not an update; the text names the path (``$.model.version``).
    """
    try:
        return read_struct(_decoder, value)
    except msgspec.ValidationError as error:
        raise UpdateError(f"not a model update: {error}") from error
    except ValueError as error:
        raise UpdateError(f"not JSON: {error}") from error


def check_supported(update: ModelUpdate) -> None:
    """Refuse what a job does not follow: it would score with another version than the update says.

    Raises:
        UpdateError: the update has an event time.
    """
    if update.effective_from is not None:
        raise UpdateError(
            f"{update.reference}: jobs of this version know no `effective_from`; send the update without it, "
            f"when it should hold"
        )


def encode_update(update: ModelUpdate) -> bytes:
    """Write an update as a control record's value."""
    return msgspec.json.encode(update)
