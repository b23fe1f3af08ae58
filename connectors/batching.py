"""Micro-batches: records gathered in Java, scored in Python in one call, split in Java."""

from dataclasses import dataclass

from pyflink.common import Types
from pyflink.datastream import DataStream, KeyedStream, OutputTag

from connectors import _java

_BATCH = Types.ROW([Types.PRIMITIVE_ARRAY(Types.BYTE())])


@dataclass(frozen=True, kw_only=True)
class BatchingSettings:
    """When a micro-batch leaves."""

    max_events: int
    """Most events of a batch."""
    max_bytes: int
    """Most bytes of a batch; a larger event is a batch of its own."""
    interval_ms: int
    """Least time between two batches of a subtask that are not full."""
    heartbeat_ms: int
    """Time without a batch after which an empty one leaves."""


def micro_batches(events: DataStream, settings: BatchingSettings) -> KeyedStream:
    """Gather records into event batches (see `udfs.batches`), keyed by their subtask's shard.

    Records of one key stay in their order. Nothing is held over a checkpoint.

    Args:
        events: ``Row(BYTES envelope, BYTES value)``, as `connectors.kafka.read_events` gives.
        settings: when a batch leaves.

    Returns:
        A keyed stream of ``Row(BYTES batch)``; the key is the shard that the batch names.
    """
    flink = _java.flink()
    operator = flink.MicroBatchOperator(
        settings.max_events, settings.max_bytes, settings.interval_ms, settings.heartbeat_ms
    )
    j_batches = (
        events._j_data_stream.keyBy(flink.ShuffleKey())
        .transform("gather micro-batches", flink.MicroBatchOperator.TYPE, operator)
        .uid("gather-micro-batches")
    )
    # PyFlink's own key_by is a Python operator. The batches are where their shard belongs already.
    j_keyed = _java.jvm().org.apache.flink.streaming.api.datastream.DataStreamUtils.reinterpretAsKeyedStream(
        j_batches, _java.jvm().KeyByKeySelector(), Types.ROW([Types.INT()]).get_java_type_info()
    )
    return KeyedStream(j_keyed, _BATCH, DataStream(j_batches))


def split_outcomes(batches: DataStream) -> DataStream:
    """Split outcome batches (see `udfs.batches`) into outcomes.

    Args:
        batches: ``Row(BYTES outcomes)``.

    Returns:
        ``Row(BYTE kind, BYTES envelope, BYTES value, BYTES details)``, for
        `connectors.kafka.write_outcomes`.
    """
    # A new chain: the thread that waits for Python should not have to send as well.
    return DataStream(
        batches._j_data_stream.flatMap(_java.flink().OutcomeSplitter())
        .startNewChain()
        .name("split outcomes")
        .uid("split-outcomes")
    )


def side_output(stream: DataStream, tag: OutputTag) -> DataStream:
    """A side output as it is; PyFlink's own method sends every record through Python once more."""
    return DataStream(stream._j_data_stream.getSideOutput(tag.get_java_output_tag()))
