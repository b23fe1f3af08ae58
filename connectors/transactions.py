"""Sending records, and remembering of which they were made: either both happen, or neither."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from connectors.client import Client, Record


class Committed(NamedTuple):
    """How far a consumer group is with a partition, and what it noted beside that."""

    offset: int
    note: str = ""


class Transactions:
    """Transactions of one consumer group over one topic; see `transactions`.

    Another client that begins transactions of the same group ends this one's: its next one fails.

    Args:
        producer: whose transactions were initialised.
        consumer: of the group, to which the partitions of the topic are assigned.
        group: the group.
    """

    def __init__(self, producer: KafkaProducer, consumer: KafkaConsumer, group: str) -> None:
        self._producer = producer
        self._consumer = consumer
        self._group = group

    def committed(self) -> dict[int, Committed]:
        """What the group has committed, by partition; partitions of which it has nothing are left out."""
        found = {}
        for partition in self._consumer.assignment():
            committed = self._consumer.committed(partition, metadata=True)
            if committed is not None:
                found[partition.partition] = Committed(committed.offset, committed.metadata)
        return found

    def send(self, records: Iterable[tuple[str, Record]], committed: Mapping[int, Committed]) -> None:
        """Send records and commit, in one transaction.

        Args:
            records: each with the topic that it goes to.
            committed: what to commit, by partition of the group's topic.
        """
        (topic,) = {partition.topic for partition in self._consumer.assignment()}
        self._producer.begin_transaction()
        for name, record in records:
            self._producer.send(
                name,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp,
            )
        offsets = {
            TopicPartition(topic, partition): OffsetAndMetadata(one.offset, one.note, -1)
            for partition, one in committed.items()
        }
        self._producer.send_offsets_to_transaction(offsets, self._group)
        self._producer.commit_transaction()


@contextmanager
def transactions(client: Client, topic: str, group: str) -> Iterator[Transactions]:
    """Begin transactions of a consumer group.

    Args:
        client: how to reach Kafka.
        topic: what the group has read.
        group: its name, also the transactions'.

    Raises:
        TopicError: Kafka can't be reached or refuses, or another began transactions of the group.
    """
    with (
        client.consumer(topic, group_id=group) as consumer,
        closing(client.new_producer(transactional_id=group)) as producer,
    ):
        producer.init_transactions()
        yield Transactions(producer, consumer, group)
