"""Model updates: the closed union of records that change the catalog."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from udfs.errors import UpdateError
from udfs.json_values import JsonValue, has_non_finite, is_nested_deeper, read_json, read_struct, write_struct
from udfs.records import END, EventTime, ModelId, ModelName, Sha256, VersionNumber
from udfs.remotes import REMOTES

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

    def __post_init__(self) -> None:
        if not math.isfinite(self.tolerance):
            raise ValueError("expected a finite `tolerance`")


class PublishModel(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="publish_model"
):
    """Make a version known, and active unless ``activate`` is false."""

    model: ModelId
    format: FormatName
    artifact: Artifact | None = None
    """None where the format is a protocol: the model is on the server that the options name."""
    activate: bool = True
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    occurred_on: str | None = None
    effective_from: EventTime | None = None
    """The event time from which the version is active; None: from whenever a subtask is ready."""
    execution: Literal["inline", "offload"] | UnsetType = UNSET
    """``offload``: worker processes score it beside the event path. It is left out where it need not be said:
    ``inline``, which is how local models are scored by default, and ``offload`` of what a server scores."""

    def __post_init__(self) -> None:
        if self.effective_from is not None and not self.activate:
            raise ValueError("`effective_from` is the time of an activation: leave it out, or `activate`")
        if self.is_remote and self.execution == "inline":
            raise ValueError(f"`execution` of {self.format} is always `offload`: a server scores it")
        if self.is_remote or self.execution == "inline":
            # A version is the same whether this is said or not, and older jobs don't know the field.
            msgspec.structs.force_setattr(self, "execution", UNSET)

    @property
    def is_remote(self) -> bool:
        """Whether a server scores it."""
        return self.format in REMOTES

    @property
    def is_offloaded(self) -> bool:
        """Whether it is scored beside the event path: by a server, or by worker processes."""
        return self.is_remote or self.execution == "offload"

    @property
    def endpoint(self) -> str | None:
        """The URL of the server that scores it; None where none does, or none is named."""
        url = self.options.get("url") if self.is_remote else None
        return url if isinstance(url, str) else None

    @property
    def inline(self) -> bytes:
        """The artifact's bytes where they are in the update; else none."""
        return (self.artifact.inline or b"") if self.artifact is not None else b""

    @property
    def reference(self) -> str:
        """What it is about, as events and people name it."""
        return str(self.model)

    def identity(self) -> str:
        """The sha256 of the canonical descriptor: format, options, the artifact's sha256, checks, execution.

        The sha256 is null where there is no artifact; the execution is left out where it is not said.
        Canonical is JSON with sorted keys and no white space, UTF-8; NaN and infinity, which JSON lacks, are
        written as Python's json module does, with its other habits.
        """
        descriptor: dict[str, Any] = {
            "format": self.format,
            "options": self.options,
            "artifact": None if self.artifact is None else self.artifact.sha256,
            "checks": [msgspec.to_builtins(check) for check in self.checks],
        }
        if self.execution is not UNSET:
            descriptor["execution"] = self.execution
        if has_non_finite(descriptor):
            canonical = json.dumps(descriptor, sort_keys=True, separators=(",", ":")).encode()
        else:
            canonical = msgspec.json.encode(descriptor, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()


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

_MOST_NESTED = 200
"""How deep options and checks may be: whoever writes them again may have less of a stack left."""

SECRETS = frozenset({"authorization", "bearer", "password", "token"})
"""Options that no version has: everybody who reads the control topic would know them."""

_decoder: msgspec.json.Decoder[ModelUpdate] = msgspec.json.Decoder(ModelUpdate)


def decode_update(value: bytes) -> ModelUpdate:
    """Read a control record's value.

    Raises:
        UpdateError: not JSON, or not an update; the text names the path (``$.model.version``).
    """
    try:
        update = read_struct(_decoder, value)
        if isinstance(update, PublishModel):
            _check_depth(update)
            _check_parts(update)
    except msgspec.ValidationError as error:
        raise UpdateError(f"not a model update: {error}") from error
    except ValueError as error:
        raise UpdateError(f"not JSON: {error}") from error
    return update


def _check_depth(update: PublishModel) -> None:
    try:
        is_too_deep = is_nested_deeper(msgspec.to_builtins(update), _MOST_NESTED)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        raise UpdateError(f"not a model update: options or checks nested more than {_MOST_NESTED} deep")


def _check_parts(update: PublishModel) -> None:
    """See that a publication has what its format asks for, and nothing else.

    Not where a struct is made: a state may hold what an earlier modelstream took, which knew no protocols.
    """
    if not update.is_remote:
        if update.artifact is None:
            raise msgspec.ValidationError(f"Format {update.format} needs an artifact - at `$.artifact`")
        return
    if update.artifact is not None:
        raise msgspec.ValidationError(
            f"Format {update.format} has no artifact: the server that it asks has the model - at `$.artifact`"
        )
    headers = update.options.get("headers")
    paths = {
        **{name: name for name in update.options},
        **{name: f"headers.{name}" for name in _names(headers)},
    }
    for name, path in paths.items():
        if name.lower() in SECRETS:
            raise msgspec.ValidationError(
                f"A secret does not belong in an update; use credentials: the option `credentials` is the "
                f"name of one of the job's offload.credentials - at `$.options.{path}`"
            )


def _names(headers: JsonValue) -> Collection[str]:
    """The names in an option that is an object, itself or as text."""
    if isinstance(headers, str):
        with suppress(ValueError):
            headers = read_json(headers.encode())
    return headers if isinstance(headers, Mapping) else ()


def encode_update(update: ModelUpdate) -> bytes:
    """Write an update as a control record's value."""
    return write_struct(update)
