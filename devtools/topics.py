"""A job's topics on a broker of this machine: made, filled, and read to their end."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.consumer.fetcher import ConsumerRecord

FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1"}
"""What the control topic must be: compaction or expiry would lose models."""

COMPACTED = {"cleanup.policy": "compact"}
"""What the model status topic is: the last word of each subtask on each version."""


@dataclass(frozen=True)
class JobTopics:
    """The names of a job's five topics."""

    events: str = "ms.events"
    control: str = "ms.control"
    predictions: str = "ms.predictions"
    dead_letters: str = "ms.dead-letters"
    model_status: str = "ms.model-status"


class Record(NamedTuple):
    """One record, to be sent or as read; ``timestamp`` in milliseconds since 1970, None for now."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int | None = None
    partition: int | None = None
    offset: int | None = None

    def header(self, name: str) -> bytes | None:
        """The last header of a name, None without one."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


def create_job_topics(
    bootstrap: str,
    topics: JobTopics,
    *,
    partitions: int = 1,
    configs: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Make a job's topics with the settings that the job asks for.

    Args:
        bootstrap: the broker's address.
        topics: their names.
        partitions: partitions of events, predictions and dead letters; control and status have one.
        configs: topic configs by field of JobTopics (``{"events": {"max.message.bytes": "20000000"}}``),
            over the usual ones.
    """
    usual = {"control": FOREVER, "model_status": COMPACTED}
    spread = {"events", "predictions", "dead_letters"}
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics(
            {
                name: {
                    "num_partitions": partitions if field in spread else 1,
                    "replication_factor": 1,
                    "configs": {**usual.get(field, {}), **(configs or {}).get(field, {})},
                }
                for field, name in vars(topics).items()
            },
            wait_for_metadata=True,
        )


def create_topic(
    bootstrap: str, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Make one topic, and wait until it has its leaders."""
    settings = {"num_partitions": partitions, "replication_factor": 1, "configs": dict(config or {})}
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics({name: settings}, wait_for_metadata=True)


def send(bootstrap: str, topic: str, records: Iterable[Record | bytes]) -> None:
    """Send records in order (values alone as bytes), and wait until the broker has them all.

    Raises:
        kafka.errors.KafkaError: the broker refused one.
    """
    # One request in flight and lingering keep order and speed; the largest record of a test is 10 MB.
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        linger_ms=5,
        batch_size=256 * 1024,
        max_in_flight_requests_per_connection=1,
        max_request_size=64 * 1024 * 1024,
    )
    try:
        sent = []
        for record in records:
            one = Record(record) if isinstance(record, bytes) else record
            sent.append(
                producer.send(
                    topic,
                    value=one.value,
                    key=one.key,
                    headers=list(one.headers),
                    partition=one.partition,
                    timestamp_ms=one.timestamp,
                )
            )
        for future in sent:
            future.get(timeout=30)
    finally:
        producer.close()


def read_all(bootstrap: str, topic: str, *, committed: bool = True, timeout: float = 30.0) -> list[Record]:
    """Read a topic from its beginning to the end that it has now.

    Args:
        bootstrap: the broker's address.
        topic: its name.
        committed: leave out what open and aborted transactions wrote (read_committed).
        timeout: seconds.

    Returns:
        The records, partition by partition, in the order of their offsets.

    Raises:
        TimeoutError: the end was not reached in time.
    """
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        fetch_max_bytes=128 * 1024 * 1024,
        max_partition_fetch_bytes=64 * 1024 * 1024,
    )
    with consumer:
        numbers = sorted(consumer.partitions_for_topic(topic) or ())
        if not numbers:
            raise LookupError(f"no topic {topic} on {bootstrap}")
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[Record]] = {partition: [] for partition in partitions}
        deadline = time.monotonic() + timeout
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the end of topic {topic} was not reached in {timeout:g} s")
            for partition, batch in consumer.poll(timeout_ms=200).items():
                found[partition] += [_record(one) for one in batch if one.offset < ends[partition]]
    return [record for partition in partitions for record in found[partition]]


def _record(one: ConsumerRecord) -> Record:
    return Record(one.value, one.key, tuple(one.headers), one.timestamp, one.partition, one.offset)
