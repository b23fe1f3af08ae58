"""The job's configuration: frozen, typed, read from YAML; a wrong key is an error that names its path."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from udfs.errors import ArtifactError, ConfigError
from udfs.models.places import AllowedPlaces
from udfs.records import END
from udfs.scorers import FORMATS

Topic = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}" + END)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class Duration(float):
    """Seconds; in YAML a number of seconds, or text such as ``250ms``, ``30s``, ``5min``, ``1h``."""


class ByteSize(int):
    """Bytes; in YAML a number of bytes, or text such as ``512KiB``, ``4MiB``, ``1GiB``."""


def _check_at_least(key: str, value: float, least: float) -> None:
    if value < least:
        raise ValueError(f"{key}: expected at least {least:g}, got {value:g}")


def _check_at_most(key: str, value: float, most: float) -> None:
    if value > most:
        raise ValueError(f"{key}: expected at most {most:g}, got {value:g}")


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
        _check_at_least("max_bytes", self.max_bytes, 1024)
        _check_at_most("max_bytes", self.max_bytes, 512 * 1024 * 1024)
        _check_at_least("interval", self.interval or 0, 0)
        _check_at_least("heartbeat", self.heartbeat, 0.01)


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
        _check_at_least("timeout", self.timeout, 0.001)
        try:
            AllowedPlaces(self.allow, self.allow_private_addresses)
        except ArtifactError as error:
            raise ValueError(f"allow: {error}") from error


class CatalogConfig(_Config, frozen=True):
    """Bounds of the catalog."""

    max_bytes: ByteSize = ByteSize(64 * 1024 * 1024)
    """Most bytes of inline artifacts in all."""
    allow_unsafe_control_topic: bool = False
    """Start though the control topic is compacted or expires, which can lose models."""


class HoldConfig(_Config, frozen=True):
    """How long and how much to hold for a model that is not there yet, per subtask."""

    hold: Duration = Duration(30)
    max_events: PositiveInt = 10_000
    max_bytes: ByteSize = ByteSize(16 * 1024 * 1024)

    def __post_init__(self) -> None:
        _check_at_least("hold", self.hold, 0.001)


class ModelsConfig(_Config, frozen=True):
    """Serving."""

    default: str | None = None
    """The model of events that name none."""
    formats: tuple[str, ...] = ("onnx", "pfa", "pmml", "tensorflow")
    """Formats that may be published; their libraries are imported when a worker starts."""
    max_loaded: PositiveInt = 200
    """Loaded versions a subtask; beyond it the least recently used is closed, and loaded again on demand."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.formats if name not in FORMATS]:
            raise ValueError(f"formats: unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}")


class CheckpointsConfig(_Config, frozen=True):
    """Checkpoints; the folder is the cluster's (``execution.checkpointing.dir``) unless named here."""

    interval: Duration | None = None
    """None: a second where outcomes wait for checkpoints (exactly-once), else ten."""
    timeout: Duration = Duration(600)
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.interval is not None:
            _check_at_least("interval", self.interval, 0.01)
        _check_at_least("timeout", self.timeout, 0.01)


class JobConfig(_Config, frozen=True):
    """A scoring job."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END)] = "modelstream"
    """Names the job, its consumer group and its transactions: unique per Kafka cluster."""
    parallelism: PositiveInt | None = None
    """By default the cluster's."""
    execution: Literal["embedded", "process"] = "embedded"
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    events: EventsConfig = EventsConfig()
    batching: BatchingConfig = BatchingConfig()
    models: ModelsConfig = ModelsConfig()
    missing_model: Literal["dead-letter"] | HoldConfig = HoldConfig()
    artifacts: ArtifactsConfig = ArtifactsConfig()
    catalog: CatalogConfig = CatalogConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    flink: dict[str, str | int | bool | float] = {}
    """Any Flink setting, over what the job sets itself."""


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
    tree = _read_yaml(path) if path is not None else {}
    for setting in settings:
        _apply_setting(tree, setting)
    try:
        return msgspec.convert(tree, JobConfig, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(_with_path_first(str(error))) from error


_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|min|h)?$")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "min": 60.0, "h": 3600.0}
_SIZE = re.compile(r"^(\d+)\s*(B|KiB|MiB|GiB)?$")
_BYTES = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _decode(kind: type, value: object) -> object:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        if kind is Duration:
            match = _DURATION.match(str(value))
            if match:
                return Duration(float(match[1]) * _SECONDS[match[2]])
            raise ValueError(f"expected a duration such as 250ms, 30s or 5min, got {value!r}")
        if kind is ByteSize:
            match = _SIZE.match(str(value))
            if match:
                return ByteSize(int(match[1]) * _BYTES[match[2]])
            raise ValueError(f"expected a size such as 512KiB or 4MiB, got {value!r}")
    raise ValueError(f"expected {'a duration' if kind is Duration else 'a size'}, got {value!r}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(tree).__name__}")
    return tree


_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")


def _apply_setting(tree: dict[str, Any], setting: str) -> None:
    key, separator, text = setting.partition("=")
    steps = [name or bracketed for name, bracketed in _STEP.findall(key)]
    if not separator or not steps:
        raise ConfigError(f"--set {setting}: expected key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: not YAML: {' '.join(str(error).split())}") from error
    for step in steps[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{key}: {step} is a value, not a group of keys")
    tree[steps[-1]] = value


def _with_path_first(message: str) -> str:
    """msgspec says ``Expected `int`, got `str` - at `$.batching.max_events```; the path should lead."""
    text, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        return f"{path}{'.' if path else ''}{unknown[1]}: unknown key"
    return f"{path}: {text[0].lower()}{text[1:]}" if path else text
