"""The records of the topics: events, predictions, model statuses, and the names of their headers."""

from typing import Annotated, Any, Final, Literal

import msgspec

END = r"$(?!\n)"
"""The end of a text in a pattern, for Python as for JSON Schema: Python's ``$`` lets a last line feed by."""

ModelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END)]
VersionNumber = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}" + END)]


class ModelId(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A version of a model, written ``iris:2``."""

    name: ModelName
    version: VersionNumber

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    @classmethod
    def parse(cls, text: str) -> "ModelId":
        """Read ``NAME:VERSION``.

        Raises:
            ValueError: the text is not a model's name, a colon and a positive integer.
        """
        name, separator, version = text.rpartition(":")
        if not separator or not version.isascii() or not version.isdigit():
            raise ValueError(f"{text!r} is not NAME:VERSION (a name, a colon, a positive integer)")
        try:
            return msgspec.convert({"name": name, "version": int(version)}, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"{text!r} is not NAME:VERSION: {error}") from error


class Event(msgspec.Struct, frozen=True, gc=False):
    """The JSON value of an event's Kafka record. Unknown fields are the sender's business."""

    data: object = msgspec.UNSET
    model: str | None = None
    id: str | int | float | bool | None = None


class ServedModel(msgspec.Struct, frozen=True):
    """The version that made a prediction."""

    name: str
    version: int
    sha256: str


class Prediction(msgspec.Struct, frozen=True):
    """The JSON value of a prediction's Kafka record.

    It holds nothing that a replay would change: no clock, subtask or batch.
    """

    id: str | int | float | bool | None
    model: ServedModel
    outputs: object


EventTime = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A moment of event time: milliseconds since 1970, UTC."""

Phase = Literal["loading", "ready", "active", "closed", "failed", "retired", "late"]


class ModelStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subtask's word on a version: the JSON value of a record of the status topic.

    Its key is ``JOB/NAME/VERSION/SUBTASK``, so that compaction keeps the last word; ``late``, which says
    nothing of what the version is now, has ``/late`` behind that. A word is said again with newer counts.
    """

    job: str
    model: ModelId
    status: Phase
    subtask: int
    parallelism: int
    attempt: int
    sha256: str
    at: str
    """When it was said: RFC 3339, UTC."""
    load_ms: float | None = None
    cause: str | None = None
    """Why it failed."""
    notes: tuple[str, ...] = ()
    """What the scorer has to say of the model, such as that it is scored one by one."""
    since: str | None = None
    """Since when the version has had this status: RFC 3339, UTC."""
    scored: int | None = None
    """How many events the version scored in this attempt of the subtask."""
    highest_event_time: EventTime | None = None
    """The highest event time that the subtask scored with any version of the model."""
    effective_from: EventTime | None = None
    """The event time from which it is active, or retired; None: from whenever the subtask switched."""
    late_events: int | None = None
    """Of ``late``: how many events had been answered otherwise before it came, each counted once; at least
    so many, where the cause says so. None: it is not known how many."""
    schema: int = 1

    def key(self) -> bytes:
        """The record's key."""
        key = f"{self.job}/{self.model.name}/{self.model.version}/{self.subtask}"
        return (f"{key}/late" if self.status == "late" else key).encode()


class Header:
    """Names of the Kafka headers that modelstream writes. All begin with ``ms-``."""

    SOURCE: Final = "ms-source"
    STAGE: Final = "ms-stage"
    ERROR: Final = "ms-error"
    MESSAGE: Final = "ms-message"
    MODEL: Final = "ms-model"
    AT: Final = "ms-at"
    TIMESTAMP: Final = "ms-timestamp"
    TRUNCATED: Final = "ms-truncated"
    KEY: Final = "ms-key"
    SIGNATURE: Final = "ms-signature"
    PREFIX: Final = "ms-"


class OfflineEvent(msgspec.Struct, frozen=True):
    """A line of input of ``modelstream score``."""

    data: object = msgspec.UNSET
    id: Any = None
