"""What each part of the graph is told, out of the job's configuration."""

from typing import Literal

from connectors.batching import BatchingSettings
from connectors.kafka import ControlSettings, EventsSettings, OutcomesSettings, StatusesSettings
from jobs.config import FallbackConfig, HoldConfig, JobConfig, LoadingConfig
from udfs.missing import MissingPolicies, Policy
from udfs.models.artifacts import ArtifactSettings
from udfs.models.pool import PoolBounds
from udfs.models.version_loading import LoadingSettings
from udfs.offload.opening import OffloadSettings
from udfs.outputs import OutputLimits
from udfs.records import ModelId
from udfs.score_batches import ServingSettings

_INTERVALS = {"embedded": 0.005, "process": 0.01}
"""Seconds between batches: a process beside Flink takes fewer of them."""
_CHECKPOINT_INTERVALS = {"exactly-once": 1.0, "at-least-once": 10.0}
"""Seconds between checkpoints."""


def events_settings(config: JobConfig) -> EventsSettings:
    """How events are read."""
    return EventsSettings(
        properties=config.kafka.consumer_properties(),
        topics=[config.topics.events],
        group_id=config.events.group_id or config.name,
        start=config.events.start,
        bounded=config.events.bounded,
    )


def control_settings(config: JobConfig) -> ControlSettings:
    """How model updates are read; a bounded run bounds them too."""
    return ControlSettings(
        properties=config.kafka.consumer_properties(),
        topic=config.topics.control,
        bounded=config.events.bounded,
    )


def batching_settings(config: JobConfig) -> BatchingSettings:
    """When a micro-batch leaves."""
    asked = config.batching.interval
    interval = _INTERVALS[config.execution] if asked is None else asked
    return BatchingSettings(
        max_events=config.batching.max_events,
        max_bytes=config.batching.max_bytes,
        interval_ms=round(interval * 1000),
        heartbeat_ms=round(config.batching.heartbeat * 1000),
    )


def checkpoint_interval_ms(config: JobConfig) -> int:
    """Time between checkpoints: exactly once, outcomes wait for one; else each is only a hiccup."""
    asked = config.checkpoints.interval
    return round((_CHECKPOINT_INTERVALS[config.delivery] if asked is None else asked) * 1000)


def serving_settings(config: JobConfig, limits: OutputLimits) -> ServingSettings:
    """What a subtask has to know."""
    missing = config.missing_model
    hold = missing if isinstance(missing, HoldConfig) else HoldConfig()
    blocking = isinstance(config.loading, str)
    loading = LoadingConfig() if isinstance(config.loading, str) else config.loading
    loaded = config.loaded_models
    return ServingSettings(
        job=config.name,
        limits=limits,
        formats=config.models.formats,
        default_model=config.models.default,
        loads_beside=not blocking,
        loading=LoadingSettings(
            trial_process=loading.trial_process and not blocking,
            deadline=float(loading.deadline),
            fetch_attempts=loading.fetch_attempts,
            max_memory=int(loading.max_memory),
        ),
        loaded=PoolBounds(config.models.max_loaded or loaded.max, int(loaded.max_bytes), float(loaded.idle)),
        offload=OffloadSettings(dict(config.offload.credentials), int(config.offload.max_memory)),
        max_catalog_bytes=config.catalog.max_bytes,
        max_periods=config.catalog.max_periods,
        max_batch=(config.batching.max_events, int(config.batching.max_bytes)),
        hold=(float(hold.hold), hold.max_events, int(hold.max_bytes)),
        missing=MissingPolicies(
            "hold" if isinstance(missing, HoldConfig) else missing,
            {name: _policy(policy) for name, policy in config.missing_models.items()},
        ),
        verifier=config.verifier(),
        time_field=config.events.time_field,
        report_interval=float(config.models.report_interval),
        artifacts=ArtifactSettings(
            folder=config.artifacts.cache_folder,
            max_bytes=int(config.artifacts.max_bytes),
            cache_max_bytes=int(config.artifacts.cache_max_bytes),
            timeout=float(config.artifacts.timeout),
            allow=config.artifacts.allow,
            allow_private_addresses=config.artifacts.allow_private_addresses,
            s3=config.artifacts.s3,
        ),
    )


def _policy(config: Literal["hold", "dead-letter"] | FallbackConfig) -> Policy:
    return ModelId.parse(config.fallback) if isinstance(config, FallbackConfig) else config


def outcomes_settings(config: JobConfig) -> OutcomesSettings:
    """How predictions and dead letters are written."""
    return OutcomesSettings(
        properties=config.kafka.producer_properties(),
        predictions=config.topics.predictions,
        dead_letters=config.topics.dead_letters,
        delivery=config.delivery,
        accept_lost_transactions=config.lost_transactions == "accept",
        transactional_id_prefix=f"modelstream-{config.name}",
    )


def statuses_settings(config: JobConfig) -> StatusesSettings:
    """How model statuses are written."""
    return StatusesSettings(properties=config.kafka.producer_properties(), topic=config.topics.model_status)
