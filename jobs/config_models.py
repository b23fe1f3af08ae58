"""The configuration of models: which, from where, who may change them, how they are loaded and scored."""

import re
from typing import Annotated, Any

import msgspec

from jobs.config_tree import Section
from jobs.units import ByteSize, Duration, check_at_least
from udfs.errors import ArtifactError
from udfs.models.catalog import MAX_PERIODS
from udfs.models.places import AllowedPlaces
from udfs.models.signatures import TrustedKey
from udfs.records import END, ModelId
from udfs.remotes import REMOTES
from udfs.remotes.credentials import Credentials
from udfs.scorers import FORMATS

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END)


class ModelsConfig(Section, frozen=True):
    """Serving."""

    default: str | None = None
    """The model of events that name none."""
    formats: tuple[str, ...] = (*FORMATS, *REMOTES)
    """Formats that may be published, of files and of servers. The libraries of files' formats are imported
    when a worker starts."""
    max_loaded: PositiveInt | None = None
    """An older name of ``loaded_models.max``."""
    report_interval: Duration = Duration(2)
    """How often a subtask says again how many events its models scored, where that has changed."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.formats if name not in (*FORMATS, *REMOTES)]:
            known = ", ".join((*FORMATS, *REMOTES))
            raise ValueError(f"formats: unknown format {unknown[0]!r}; known: {known}")


class FallbackConfig(Section, frozen=True):
    """Another model's version scores in place of one that is missing or failed."""

    fallback: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[1-9][0-9]{0,9}" + END)]
    """``OTHER:VERSION``, which the prediction names."""

    def __post_init__(self) -> None:
        ModelId.parse(self.fallback)


class HoldConfig(Section, frozen=True):
    """How long and how much to hold for a model that is not there yet, per subtask."""

    hold: Duration = Duration(30)
    max_events: PositiveInt = 10_000
    max_bytes: ByteSize = ByteSize(16 * 1024 * 1024)

    def __post_init__(self) -> None:
        check_at_least("hold", self.hold, 0.001)


class LoadingConfig(Section, frozen=True):
    """Loading a version beside the stream."""

    trial_process: bool = True
    """Load and check a version in a process of its own first: what kills that process hurts no job."""
    deadline: Duration = Duration(300)
    """For all of one load: fetching, the trial, loading, checking."""
    fetch_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    """How often to try where trying again can help; with growing waits between."""
    max_memory: ByteSize = ByteSize(8 * 1024 * 1024 * 1024)
    """Most memory that the trial's process may use."""

    def __post_init__(self) -> None:
        check_at_least("deadline", self.deadline, 0.1)
        check_at_least("max_memory", self.max_memory, 256 * 1024 * 1024)


class LoadedModelsConfig(Section, frozen=True):
    """What a subtask keeps loaded. Beyond a bound the least recently used is closed, and loaded on demand."""

    max: PositiveInt = 200
    """Most versions; but what scores the last two periods of each model is never closed, nor what an event
    asked for before it was scored: with more models than this, more versions are loaded."""
    max_bytes: ByteSize = ByteSize(8 * 1024 * 1024 * 1024)
    """Most memory, as far as it is known: what loading took in the trial, else the artifact's size. The same
    versions stay beyond it."""
    idle: Duration = Duration(60)
    """A version that nothing needs any more is closed when it has not scored for so long."""


class OffloadConfig(Section, frozen=True):
    """Scoring beside the event path: servers, and worker processes."""

    credentials: dict[str, Credentials] = msgspec.field(default_factory=dict)
    """What models' option ``credentials`` may name: where secrets are, never a secret itself."""
    max_memory: ByteSize = ByteSize(4 * 1024 * 1024 * 1024)
    """Most resident memory of one worker process; one that takes more is ended, and another started."""

    def __post_init__(self) -> None:
        check_at_least("max_memory", self.max_memory, 256 * 1024 * 1024)
        for name in self.credentials:
            if not _NAME.match(name):
                raise ValueError(
                    f"credentials: expected a name of up to 128 letters, digits, dots, _ and -, got {name!r}"
                )


class ArtifactsConfig(Section, frozen=True):
    """The bytes of models, as they are kept for loading."""

    max_bytes: ByteSize = ByteSize(1024 * 1024 * 1024)
    cache_folder: str | None = None
    """Where artifacts are kept by sha256; by default the user's own below the worker's temporary folder."""
    cache_max_bytes: ByteSize = ByteSize(10 * 1024 * 1024 * 1024)
    """Most bytes in that folder; beyond it the least recently used artifacts are removed."""
    allow: tuple[str, ...] = ()
    """URIs of the folders, buckets or files that artifacts may come from, and of servers that may be asked;
    none: inline artifacts only."""
    allow_private_addresses: tuple[str, ...] = ()
    """Hosts of ``allow`` whose names may have loopback, private or link-local addresses."""
    timeout: Duration = Duration(60)
    """For the whole fetch of one artifact."""
    s3: dict[str, Any] = msgspec.field(default_factory=dict)
    """Options of s3fs, such as ``endpoint_url`` and ``region``."""

    def __post_init__(self) -> None:
        check_at_least("timeout", self.timeout, 0.001)
        try:
            AllowedPlaces(self.allow, self.allow_private_addresses)
        except ArtifactError as error:
            raise ValueError(f"allow: {error}") from error


class CatalogConfig(Section, frozen=True):
    """Bounds of the catalog."""

    max_bytes: ByteSize = ByteSize(64 * 1024 * 1024)
    """Most bytes of inline artifacts in all."""
    max_periods: Annotated[int, msgspec.Meta(ge=2, le=1000)] = MAX_PERIODS
    """Most periods of a model's timeline. An activation beyond it forgets the oldest: events of their times
    become dead letters, and versions that were retired and scored them leave."""
    allow_unsafe_control_topic: bool = False
    """Start though the control topic is compacted or expires, which can lose models."""


class KeyConfig(Section, frozen=True):
    """A key whose signed updates the job takes."""

    public: str
    """Base64 of the 32 bytes of an Ed25519 public key, as `modelstream keys new` says it."""
    models: tuple[str, ...] = ()
    """Names of the models that it may change: ``fraud-*``; none: every model."""


class UpdatesConfig(Section, frozen=True):
    """Who may change models."""

    require_signature: bool = False
    """Refuse updates that none of the keys signed, and signed ones that are sent again."""
    keys: dict[str, KeyConfig] = msgspec.field(default_factory=dict)
    """By id."""

    def __post_init__(self) -> None:
        if self.require_signature and not self.keys:
            raise ValueError("require_signature: no update could be signed: keys has none")
        ids: dict[bytes, str] = {}
        for key_id, trusted in self.trusted().items():
            other = ids.setdefault(trusted.public_bytes(), key_id)
            if other != key_id:
                raise ValueError(f"keys.{key_id}: the same key as {other}")

    def trusted(self) -> dict[str, TrustedKey]:
        """The keys, by id."""
        keys = {}
        for key_id, key in self.keys.items():
            try:
                keys[key_id] = TrustedKey(key_id, key.public, key.models)
            except ValueError as error:
                raise ValueError(f"keys.{key_id}: {error}") from error
        return keys
