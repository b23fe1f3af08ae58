"""Sending records, and remembering of which others they were made: either both happen, or neither."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from connectors.client import Client, Record


class Committed(NamedTuple):
    """How far a consumer group is with a partition, and what it noted beside that."""

    offset: int
    note: str = ""


def read_committed(client: Client, topic: str, group: str) -> dict[int, Committed]:
    """What a consumer group has committed, by partition; partitions of which it has nothing are left out.

    Raises:
        TopicError: Kafka can't be reached or refuses.
    """
    with client.consumer(topic, group_id=group) as consumer:
        found = {one.partition: consumer.committed(one, metadata=True) for one in consumer.assignment()}
    return {
        partition: Committed(committed.offset, committed.metadata)
        for partition, committed in found.items()
        if committed is not None
    }


class Transactions:
    """Transactions of one consumer group over one topic; see `transactions`."""

    def __init__(self, producer: KafkaProducer, topic: str, group: str) -> None:
        self._producer = producer
        self._topic = topic
        self._group = group

    def send(self, records: Iterable[tuple[str, Record]], committed: Mapping[int, Committed]) -> None:
        """Send records and commit, in one transaction.

        Args:
            records: each with the topic that it goes to.
            committed: what to commit, by partition of the group's topic.
        """
        offsets = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(one.offset, one.note, -1)
            for partition, one in committed.items()
        }
        self._producer.begin_transaction()
        try:
            for topic, record in records:
                self._producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp,
                )
            self._producer.send_offsets_to_transaction(offsets, self._group)
            self._producer.commit_transaction()
        except KafkaError:
            with suppress(KafkaError):  # the first error says more
                self._producer.abort_transaction()
            raise


@contextmanager
def transactions(client: Client, topic: str, group: str) -> Iterator[Transactions]:
    """Begin transactions of a consumer group, and end those that another client began for it.

    What the group has committed is to be read after this, so that it stays what was read.

    Args:
        client: how to reach Kafka.
        topic: what the group reads.
        group: its name, also the transactions'.

    Raises:
        TopicError: Kafka can't be reached or refuses, or another client began transactions of the group.
    """
    with client.errors_of(topic), closing(client.new_producer(transactional_id=group)) as producer:
        producer.init_transactions()
        yield Transactions(producer, topic, group)
