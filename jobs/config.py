"""The job's configuration: frozen, typed, read from YAML; a wrong key is an error that names its path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from jobs.config_models import (
    ArtifactsConfig,
    CatalogConfig,
    FallbackConfig,
    HoldConfig,
    KeyConfig,
    LoadedModelsConfig,
    LoadingConfig,
    ModelsConfig,
    OffloadConfig,
    PositiveInt,
    UpdatesConfig,
)
from jobs.config_streams import BatchingConfig, CheckpointsConfig, EventsConfig, KafkaConfig, TopicsConfig
from jobs.config_tree import Section, read_tree, with_path_first
from jobs.units import decode_unit
from udfs.errors import ConfigError
from udfs.models.signatures import Verifier
from udfs.records import END

__all__ = [
    "ArtifactsConfig",
    "FallbackConfig",
    "HoldConfig",
    "JobConfig",
    "KeyConfig",
    "LoadingConfig",
    "OffloadConfig",
    "TopicsConfig",
    "UpdatesConfig",
    "load_config",
]

_DEFAULT_NAME = "modelstream"


class JobConfig(Section, frozen=True):
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
    missing_models: dict[str, Literal["hold", "dead-letter"] | FallbackConfig] = msgspec.field(
        default_factory=dict
    )
    """The same for single models, by name; ``hold`` is bounded by ``missing_model``."""
    loading: Literal["blocking"] | LoadingConfig = LoadingConfig()
    """``blocking``: versions load between two micro-batches, and all events wait."""
    loaded_models: LoadedModelsConfig = LoadedModelsConfig()
    offload: OffloadConfig = OffloadConfig()
    artifacts: ArtifactsConfig = ArtifactsConfig()
    catalog: CatalogConfig = CatalogConfig()
    updates: UpdatesConfig = UpdatesConfig()
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    flink: dict[str, str | int | bool | float] = msgspec.field(default_factory=dict)
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
