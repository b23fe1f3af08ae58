"""Kafka: the job's sources and sinks, and what it asks the cluster before it starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from py4j.protocol import Py4JJavaError
from pyflink.common import WatermarkStrategy
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetResetStrategy,
    KafkaOffsetsInitializer,
    KafkaTopicPartition,
)
from pyflink.util.java_utils import to_jarray

from connectors import _java
from udfs.batches import EventBatch, decode_events
from udfs.errors import ConfigError

CHUNK_BYTES = 16 * 1024 * 1024
"""How much of a topic is in memory at once while it is read."""

_CONSUMER_DEFAULTS = {"isolation.level": "read_committed"}
_EVENTS_DEFAULTS = {"partition.discovery.interval.ms": "60000"}
_CONTROL_DEFAULTS = {"partition.discovery.interval.ms": "-1"}
_PRODUCER_DEFAULTS = {
    "linger.ms": "2",
    "batch.size": "262144",
    "max.request.size": "33554432",
}
"""Of these the last leaves the limit to the topics; it is the default of ``buffer.memory``."""
_TRANSACTION_DEFAULTS = {"transaction.timeout.ms": "900000"}
"""15 minutes, the most that a broker takes by default; Flink's own default is more."""


@dataclass(frozen=True, kw_only=True)
class EventsSettings:
    """How events are read."""

    properties: Mapping[str, str]
    """Of the consumer, by Java's names; ``bootstrap.servers`` among them."""
    topics: Sequence[str]
    group_id: str
    start: Literal["earliest", "latest", "committed"]
    """Where a job without a checkpoint starts; ``committed``: at the group's offsets, else earliest."""
    bounded: bool = False
    """Stop at the end that the topics have when the job starts."""


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """How model updates are read."""

    properties: Mapping[str, str]
    topic: str
    bounded: bool = False


@dataclass(frozen=True, kw_only=True)
class OutcomesSettings:
    """How predictions and dead letters are written."""

    properties: Mapping[str, str]
    """Of the producer, by Java's names; ``bootstrap.servers`` among them."""
    predictions: str
    dead_letters: str
    delivery: Literal["exactly-once", "at-least-once"]
    transactional_id_prefix: str
    """Unique to the job in its Kafka cluster."""
    accept_lost_transactions: bool = False
    """Log what Kafka has aborted before it was committed, and go on, rather than fail."""


@dataclass(frozen=True, kw_only=True)
class StatusesSettings:
    """How model statuses are written."""

    properties: Mapping[str, str]
    topic: str


class TopicDescription(NamedTuple):
    """A topic as the cluster has it."""

    partitions: int
    settings: Mapping[str, str]
    """``cleanup.policy``, ``retention.ms``, ``max.message.bytes``, ... as the broker says them."""


class TopicContents(NamedTuple):
    """Records of a topic of one partition, one after another."""

    records: EventBatch
    next_offset: int
    """The first offset that was not read."""


def read_events(env: StreamExecutionEnvironment, settings: EventsSettings) -> DataStream:
    """Read events, whole: ``Row(BYTES envelope, BYTES value)``, see `udfs.batches`."""
    starts = {
        "earliest": KafkaOffsetsInitializer.earliest,
        "latest": KafkaOffsetsInitializer.latest,
        "committed": lambda: KafkaOffsetsInitializer.committed_offsets(KafkaOffsetResetStrategy.EARLIEST),
    }
    properties = {**_EVENTS_DEFAULTS, **settings.properties, "group.id": settings.group_id}
    builder = _source_builder(properties, settings.topics, starts[settings.start](), settings.bounded)
    return _add_source(env, builder, "read events")


def read_updates(
    env: StreamExecutionEnvironment, settings: ControlSettings, start_offset: int = 0
) -> DataStream:
    """Read model updates in the order of their offsets: ``Row(BYTES envelope, BYTES value)``.

    Args:
        env: the environment.
        settings: which topic, and how.
        start_offset: the first offset to read in a job without a checkpoint.
    """
    start = KafkaOffsetsInitializer.offsets({KafkaTopicPartition(settings.topic, 0): start_offset})
    client = {name: value for name, value in settings.properties.items() if name != "group.id"}
    builder = _source_builder({**_CONTROL_DEFAULTS, **client}, [settings.topic], start, settings.bounded)
    return _add_source(env, builder, "read updates").set_parallelism(1)


def write_outcomes(outcomes: DataStream, settings: OutcomesSettings) -> None:
    """Write predictions and dead letters, as `connectors.batching.split_outcomes` gives them.

    Both leave through one sink: with exactly-once delivery, in one transaction a checkpoint. The job fails
    where Kafka has aborted a transaction that a checkpoint wants committed.
    """
    serializer = _java.flink().OutcomeSerializer(settings.predictions, settings.dead_letters)
    if settings.delivery == "exactly-once":
        properties = {**_TRANSACTION_DEFAULTS, **settings.properties}
        builder = _sink_builder(properties, serializer, "EXACTLY_ONCE")
        sink = _java.flink().OutcomesSink(
            builder.setTransactionalIdPrefix(settings.transactional_id_prefix).build(),
            _java.properties(properties),
            settings.accept_lost_transactions,
        )
    else:
        sink = _sink_builder(settings.properties, serializer, "AT_LEAST_ONCE").build()
    _add_sink(outcomes, sink, "write outcomes")


def write_statuses(statuses: DataStream, settings: StatusesSettings) -> None:
    """Write model statuses, ``Row(BYTES key, BYTES value)``, at least once and at once."""
    serializer = _java.flink().StatusSerializer(settings.topic)
    sink = _sink_builder(settings.properties, serializer, "AT_LEAST_ONCE").build()
    _add_sink(statuses, sink, "write statuses")


def producer_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """What the job's producers get, where properties leave something to modelstream's defaults."""
    return {**_PRODUCER_DEFAULTS, **properties}


def describe_topics(
    properties: Mapping[str, str], topics: Sequence[str], timeout_seconds: float = 30
) -> dict[str, TopicDescription]:
    """Describe topics; one that does not exist is left out.

    Args:
        properties: of the client, by Java's names.
        topics: their names.
        timeout_seconds: how long to wait for the cluster.

    Raises:
        ConfigError: the cluster can't be reached, or refuses.
    """
    names = _java.jvm().java.util.ArrayList()
    for topic in topics:
        names.add(topic)
    try:
        described = _java.flink().Topics.describe(
            _java.properties(properties), names, round(timeout_seconds * 1000)
        )
    except Py4JJavaError as error:
        raise _config_error(error, properties, timeout_seconds) from error
    return {
        name: TopicDescription(int(settings.pop("partitions")), settings)
        for name, settings in ((name, dict(settings)) for name, settings in dict(described).items())
    }


def read_topic_to_end(
    properties: Mapping[str, str], topic: str, timeout_seconds: float = 30, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[TopicContents]:
    """Read a topic of one partition from its beginning to the end that it has now, a chunk at a time.

    Args:
        properties: of the consumer, by Java's names.
        topic: its name.
        timeout_seconds: how long to wait for the cluster, and for the next records of the topic.
        chunk_bytes: how many bytes of records make a chunk; its last record may go beyond.

    Yields:
        The chunks, at least one; the last one's ``next_offset`` is the end of the topic.

    Raises:
        ConfigError: the cluster can't be reached, or refuses, or stops giving records.
    """
    consumer = _java.properties({**_CONSUMER_DEFAULTS, **properties})
    timeout_ms = round(timeout_seconds * 1000)
    start, end = 0, -1
    while start != end:
        try:
            reading = _java.flink().Topics.read(consumer, topic, start, end, chunk_bytes, timeout_ms)
        except Py4JJavaError as error:
            raise _config_error(error, properties, timeout_seconds) from error
        start, end = reading.nextOffset(), reading.endOffset()
        yield TopicContents(decode_events(reading.batch()), start)


def _source_builder(
    properties: Mapping[str, str], topics: Sequence[str], start: KafkaOffsetsInitializer, bounded: bool
) -> Any:
    builder = (
        _java.jvm()
        .org.apache.flink.connector.kafka.source.KafkaSource.builder()
        .setProperties(_java.properties({**_CONSUMER_DEFAULTS, **properties}))
        .setTopics(to_jarray(_java.jvm().String, list(topics)))
        .setStartingOffsets(start._j_initializer)
        .setDeserializer(_java.flink().RecordDeserializer())
    )
    return builder.setBounded(KafkaOffsetsInitializer.latest()._j_initializer) if bounded else builder


def _add_source(env: StreamExecutionEnvironment, builder: Any, name: str) -> DataStream:
    no_watermarks = WatermarkStrategy.no_watermarks()._j_watermark_strategy
    j_env = env._j_stream_execution_environment
    return DataStream(j_env.fromSource(builder.build(), no_watermarks, name).uid(name.replace(" ", "-")))


def _sink_builder(properties: Mapping[str, str], serializer: Any, guarantee: str) -> Any:
    guarantees = _java.jvm().org.apache.flink.connector.base.DeliveryGuarantee
    return (
        _java.jvm()
        .org.apache.flink.connector.kafka.sink.KafkaSink.builder()
        .setKafkaProducerConfig(_java.properties(producer_properties(properties)))
        .setRecordSerializer(serializer)
        .setDeliveryGuarantee(getattr(guarantees, guarantee))
    )


def _add_sink(stream: DataStream, sink: Any, name: str) -> None:
    stream._j_data_stream.sinkTo(sink).name(name).uid(name.replace(" ", "-"))


def _config_error(error: Py4JJavaError, properties: Mapping[str, str], seconds: float) -> ConfigError:
    servers = properties.get("bootstrap.servers")
    kind, message = _java.root_cause(error)
    if kind == "TimeoutException":
        return ConfigError(f"Kafka at {servers} did not answer within {seconds:g} s: {message}")
    return ConfigError(f"Kafka at {servers}: {kind}: {message}")
