"""The job's configuration: frozen, typed, read from YAML; a wrong key is an error that names its path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from jobs.config_tree import read_tree, with_path_first
from jobs.units import ByteSize, Duration, check_at_least, check_at_most, decode_unit
from udfs.errors import ArtifactError, ConfigError
from udfs.models.catalog import MAX_PERIODS
from udfs.models.places import AllowedPlaces
from udfs.models.signatures import TrustedKey, Verifier
from udfs.records import END, ModelId
from udfs.scorers import FORMATS

Topic = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}" + END)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class _Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class KafkaConfig(_Config, frozen=True):
    """How to reach Kafka: any client property passes through."""

    bootstrap_servers: str = "localhost:9092"
    properties: dict[str, str | int | bool | float] = {}
    """For every client of the job, by Java's names (``security.protocol``, ``sasl.jaas.config``, ...)."""
    consumer: dict[str, str | int | bool | float] = {}
    """For the job's consumers alone, over ``properties``."""
    producer: dict[str, str | int | bool | float] = {}
    """For the job's producers alone, over ``properties``."""
    command_line: dict[str, str | int | bool | float] = {}
    """For the other commands, by kafka-python's names (``security_protocol``, ``ssl_cafile``, ...)."""

    def client_settings(self) -> dict[str, str | int | bool | float]:
        """kafka-python's settings of the command line's clients."""
        return {"bootstrap_servers": self.bootstrap_servers, **self.command_line}

    def consumer_properties(self) -> dict[str, str]:
        """Java properties of the job's consumers and admin clients."""
        return self._java({**self.properties, **self.consumer})

    def producer_properties(self) -> dict[str, str]:
        """Java properties of the job's producers."""
        return self._java({**self.properties, **self.producer})

    def _java(self, properties: Mapping[str, str | int | bool | float]) -> dict[str, str]:
        texts = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in properties.items()}
        return {"bootstrap.servers": self.bootstrap_servers, **texts}


class TopicsConfig(_Config, frozen=True):
    """The names of the topics."""

    events: Topic = "ms.events"
    control: Topic = "ms.control"
    predictions: Topic = "ms.predictions"
    dead_letters: Topic = "ms.dead-letters"
    model_status: Topic = "ms.model-status"


class EventsConfig(_Config, frozen=True):
    """How events are read."""

    start: Literal["earliest", "latest", "committed"] = "committed"
    """Where a job without a checkpoint starts; ``committed``: at the group's offsets, else earliest."""
    group_id: str | None = None
    """Consumer group; by default the job's name."""
    bounded: bool = False
    """Stop at the end that the topics have when the job starts."""
    time_field: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """The field of an event's value that says its time, in milliseconds since 1970 or as RFC 3339
    (``occurred_on``, ``data.at``); None: the Kafka record's timestamp."""


class BatchingConfig(_Config, frozen=True):
    """Micro-batches: what one subtask scores in one call."""

    max_events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    max_bytes: ByteSize = ByteSize(4 * 1024 * 1024)
    interval: Duration | None = None
    """Least time between two batches that are not full: at low rates the first event waits for nothing.
    By default 5 ms, and 10 ms where ``execution`` is ``process``, which takes fewer batches a second."""
    heartbeat: Duration = Duration(0.2)
    """After this long without an event an empty batch lets the job report and release what it holds."""

    def __post_init__(self) -> None:
        check_at_least("max_bytes", self.max_bytes, 1024)
        check_at_most("max_bytes", self.max_bytes, 512 * 1024 * 1024)
        check_at_least("interval", self.interval or 0, 0)
        check_at_least("heartbeat", self.heartbeat, 0.01)


class ArtifactsConfig(_Config, frozen=True):
    """The bytes of models, as they are kept for loading."""

    max_bytes: ByteSize = ByteSize(1024 * 1024 * 1024)
    cache_folder: str | None = None
    """Where artifacts are kept by sha256; by default the user's own below the worker's temporary folder."""
    cache_max_bytes: ByteSize = ByteSize(10 * 1024 * 1024 * 1024)
    """Most bytes in that folder; beyond it the least recently used artifacts are removed."""
    allow: tuple[str, ...] = ()
    """URIs of the folders, buckets or files that artifacts may come from; none: inline only."""
    allow_private_addresses: tuple[str, ...] = ()
    """Hosts of ``allow`` whose names may have loopback, private or link-local addresses."""
    timeout: Duration = Duration(60)
    """For the whole fetch of one artifact."""
    s3: dict[str, Any] = {}
    """Options of s3fs, such as ``endpoint_url`` and ``region``."""

    def __post_init__(self) -> None:
        check_at_least("timeout", self.timeout, 0.001)
        try:
            AllowedPlaces(self.allow, self.allow_private_addresses)
        except ArtifactError as error:
            raise ValueError(f"allow: {error}") from error


class CatalogConfig(_Config, frozen=True):
    """Bounds of the catalog."""

    max_bytes: ByteSize = ByteSize(64 * 1024 * 1024)
    """Most bytes of inline artifacts in all."""
    max_periods: Annotated[int, msgspec.Meta(ge=2, le=1000)] = MAX_PERIODS
    """Most periods of a model's timeline. An activation beyond it forgets the oldest: events of their times
    become dead letters, and versions that were retired and scored them leave."""
    allow_unsafe_control_topic: bool = False
    """Start though the control topic is compacted or expires, which can lose models."""


class KeyConfig(_Config, frozen=True):
    """A key whose signed updates the job takes."""

    public: str
    """Base64 of the 32 bytes of an Ed25519 public key, as `modelstream keys new` says it."""
    models: tuple[str, ...] = ()
    """Names of the models that it may change: ``fraud-*``; none: every model."""


class UpdatesConfig(_Config, frozen=True):
    """Who may change models."""

    require_signature: bool = False
    """Refuse updates that none of the keys signed, and signed ones that are sent again."""
    keys: dict[str, KeyConfig] = {}
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


class HoldConfig(_Config, frozen=True):
    """How long and how much to hold for a model that is not there yet, per subtask."""

    hold: Duration = Duration(30)
    max_events: PositiveInt = 10_000
    max_bytes: ByteSize = ByteSize(16 * 1024 * 1024)

    def __post_init__(self) -> None:
        check_at_least("hold", self.hold, 0.001)


class ModelsConfig(_Config, frozen=True):
    """Serving."""

    default: str | None = None
    """The model of events that name none."""
    formats: tuple[str, ...] = ("onnx", "pfa", "pmml", "tensorflow")
    """Formats that may be published; their libraries are imported when a worker starts."""
    max_loaded: PositiveInt | None = None
    """An older name of ``loaded_models.max``."""
    report_interval: Duration = Duration(2)
    """How often a subtask says again how many events its models scored, where that has changed."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.formats if name not in FORMATS]:
            raise ValueError(f"formats: unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}")


class LoadingConfig(_Config, frozen=True):
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


class LoadedModelsConfig(_Config, frozen=True):
    """What a subtask keeps loaded. Beyond a bound the least recently used is closed, and loaded on demand."""

    max: PositiveInt = 200
    """Most versions; but what scores the last two periods of each model is never closed, nor what an event
    asked for before it was scored: with more models than this, more versions are loaded."""
    max_bytes: ByteSize = ByteSize(8 * 1024 * 1024 * 1024)
    """Most memory, as far as it is known: what loading took in the trial, else the artifact's size. The same
    versions stay beyond it."""
    idle: Duration = Duration(60)
    """A version that nothing needs any more is closed when it has not scored for so long."""


class FallbackConfig(_Config, frozen=True):
    """Another model's version scores in place of one that is missing or failed."""

    fallback: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}:[1-9][0-9]{0,9}" + END)]
    """``OTHER:VERSION``, which the prediction names."""

    def __post_init__(self) -> None:
        ModelId.parse(self.fallback)


class CheckpointsConfig(_Config, frozen=True):
    """Checkpoints; the folder is the cluster's (``execution.checkpointing.dir``) unless named here."""

    interval: Duration | None = None
    """None: a second where outcomes wait for checkpoints (exactly-once), else ten."""
    timeout: Duration = Duration(600)
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.interval is not None:
            check_at_least("interval", self.interval, 0.01)
        check_at_least("timeout", self.timeout, 0.01)


_DEFAULT_NAME = "modelstream"


class JobConfig(_Config, frozen=True):
    """A scoring job."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END)] = _DEFAULT_NAME
    """Names the job, its consumer group and its transactions: unique per Kafka cluster."""
    parallelism: PositiveInt | None = None
    """By default the cluster's."""
    execution: Literal["embedded", "process"] = "embedded"
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    lost_transactions: Literal["fail", "accept"] = "fail"
    """What a start does whose checkpoint has outcomes that Kafka has aborted meanwhile."""
    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    events: EventsConfig = EventsConfig()
    batching: BatchingConfig = BatchingConfig()
    models: ModelsConfig = ModelsConfig()
    missing_model: Literal["dead-letter"] | HoldConfig = HoldConfig()
    """What becomes of events whose model is missing or failed."""
    missing_models: dict[str, Literal["hold", "dead-letter"] | FallbackConfig] = {}
    """The same for single models, by name; ``hold`` is bounded by ``missing_model``."""
    loading: Literal["blocking"] | LoadingConfig = LoadingConfig()
    """``blocking``: versions load between two micro-batches, and all events wait."""
    loaded_models: LoadedModelsConfig = LoadedModelsConfig()
    artifacts: ArtifactsConfig = ArtifactsConfig()
    catalog: CatalogConfig = CatalogConfig()
    updates: UpdatesConfig = UpdatesConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    flink: dict[str, str | int | bool | float] = {}
    """Any Flink setting, over what the job sets itself."""

    def __post_init__(self) -> None:
        if self.updates.require_signature and self.name == _DEFAULT_NAME:
            raise ValueError(
                "name: with updates.require_signature a job needs a name of its own: what is signed for "
                f"{_DEFAULT_NAME!r} would be right in every job that has no other"
            )

    def verifier(self) -> Verifier:
        """What the job asks of the signatures of updates."""
        updates = self.updates
        return Verifier(self.name, self.topics.control, updates.trusted(), updates.require_signature)


def load_config(path: Path | None, settings: Sequence[str] = ()) -> JobConfig:
    """Read a configuration.

    Args:
        path: a YAML file, None for the defaults.
        settings: ``key=value`` texts, applied over the file; the key is a dotted path
            (``batching.max_events=500``), the value YAML. A key with dots of its own is put in
            brackets: ``kafka.properties[security.protocol]=SSL``.

    Raises:
        ConfigError: an unreadable file, or an unknown or wrong key; the text begins with its path.
    """
    tree = read_tree(path, settings)
    try:
        return msgspec.convert(tree, JobConfig, dec_hook=decode_unit)
    except msgspec.ValidationError as error:
        raise ConfigError(with_path_first(str(error))) from error
