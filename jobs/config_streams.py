"""The configuration of the streams: Kafka, topics, events, micro-batches, checkpoints."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from jobs.config_tree import Section
from jobs.units import ByteSize, Duration, check_at_least, check_at_most
from udfs.records import END

Topic = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}" + END)]


class KafkaConfig(Section, frozen=True):
    """How to reach Kafka: any client property passes through."""

    bootstrap_servers: str = "localhost:9092"
    properties: dict[str, str | int | bool | float] = msgspec.field(default_factory=dict)
    """For every client of the job, by Java's names (``security.protocol``, ``sasl.jaas.config``, ...)."""
    consumer: dict[str, str | int | bool | float] = msgspec.field(default_factory=dict)
    """For the job's consumers alone, over ``properties``."""
    producer: dict[str, str | int | bool | float] = msgspec.field(default_factory=dict)
    """For the job's producers alone, over ``properties``."""
    command_line: dict[str, str | int | bool | float] = msgspec.field(default_factory=dict)
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


class TopicsConfig(Section, frozen=True):
    """The names of the topics."""

    events: Topic = "ms.events"
    control: Topic = "ms.control"
    predictions: Topic = "ms.predictions"
    dead_letters: Topic = "ms.dead-letters"
    model_status: Topic = "ms.model-status"


class EventsConfig(Section, frozen=True):
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


class BatchingConfig(Section, frozen=True):
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


class CheckpointsConfig(Section, frozen=True):
    """Checkpoints; the folder is the cluster's (``execution.checkpointing.dir``) unless named here."""

    interval: Duration | None = None
    """None: a second where outcomes wait for checkpoints (exactly-once), else ten."""
    timeout: Duration = Duration(600)
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.interval is not None:
            check_at_least("interval", self.interval, 0.01)
        check_at_least("timeout", self.timeout, 0.01)
