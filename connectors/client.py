"""Kafka without Flink, over kafka-python: what the command line and the tests read and write.

https://kafka-python.readthedocs.io
"""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError
from kafka.producer.future import FutureRecordMetadata

from udfs.errors import ConfigError, TopicError

_LARGEST_RECORD = 64 * 1024 * 1024
_REPLY_SECONDS = 30.0
_MOST_UNANSWERED = 10_000
_POLL_MS = 200

_DEFAULTS = {"bootstrap_timeout_ms": 10_000, "max_block_ms": 10_000, "allow_auto_create_topics": False}
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


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


@dataclass(frozen=True)
class Topic:
    """A topic as it should be made, or as it is."""

    name: str
    partitions: int = 1
    replication_factor: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    """``cleanup.policy``, ``retention.ms``, ... by Kafka's names."""


class Client:
    """Reads and writes topics. Every reading is read_committed unless it says otherwise.

    Every method raises TopicError where Kafka can't be reached or refuses.

    Args:
        settings: by kafka-python's names; ``bootstrap_servers`` among them. Each of its clients
            takes those that it knows.

    Raises:
        ConfigError: none of its clients knows a setting.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        _check(settings)
        self._settings = {**_DEFAULTS, **settings}
        self._producer: KafkaProducer | None = None
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        if self._producer is not None:
            self._producer.close()

    def create_topics(self, topics: Iterable[Topic]) -> list[str]:
        """Make those topics that are not there; those that are stay as they are.

        Returns:
            The names of those that were made.
        """
        made = []
        with self._admin() as admin:
            for topic in topics:
                options = {
                    "num_partitions": topic.partitions,
                    "replication_factor": topic.replication_factor,
                    "configs": dict(topic.settings),
                }
                try:
                    admin.create_topics({topic.name: options}, wait_for_metadata=True)
                except TopicAlreadyExistsError:
                    continue
                made.append(topic.name)
        return made

    def describe_topics(self, names: Sequence[str]) -> dict[str, Topic]:
        """Those of the named topics that are there, with all their settings."""
        with self._admin() as admin:
            there = [topic for topic in admin.describe_topics(list(names)) if not topic["error_code"]]
            asked = [ConfigResource(ConfigResourceType.TOPIC, topic["name"]) for topic in there]
            said = admin.describe_configs(asked, config_filter="all") if asked else {}
        settings: dict[str, dict[str, Any]] = next(iter(said.values()), {})
        return {
            topic["name"]: Topic(
                topic["name"],
                len(topic["partitions"]),
                len(topic["partitions"][0]["replica_nodes"]),
                {key: str(one["value"]) for key, one in settings[topic["name"]].items()},
            )
            for topic in there
        }

    def send(self, topic: str, records: Iterable[Record]) -> int:
        """Send records in order, and wait until the brokers have them all.

        Returns:
            How many there were.
        """
        with self.errors_of(topic):
            # A producer asks for a topic that is not there until its time is up.
            if topic not in self._seen and topic not in self.describe_topics([topic]):
                raise self._missing(topic)
            self._seen.add(topic)
            sent = 0
            waiting: deque[FutureRecordMetadata] = deque()
            for one in records:
                waiting.append(self._send_one(topic, one))
                sent += 1
                if len(waiting) > _MOST_UNANSWERED:
                    waiting.popleft().get(timeout=_REPLY_SECONDS)
            for future in waiting:
                future.get(timeout=_REPLY_SECONDS)
            return sent

    def read_to_end(self, topic: str, *, committed: bool = True, seconds: float = 30.0) -> list[Record]:
        """Read a topic to the end that it has now.

        Args:
            topic: its name.
            committed: leave out what open and aborted transactions wrote.
            seconds: how long nothing may come.

        Returns:
            The records, partition by partition, in the order of their offsets.
        """
        with self.consumer(topic, committed=committed) as consumer:
            partitions = sorted(consumer.assignment())
            ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
            found: dict[TopicPartition, list[Record]] = {partition: [] for partition in partitions}
            deadline = time.monotonic() + seconds
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                if time.monotonic() > deadline:
                    raise TopicError(f"{topic}: not at its end, and nothing came for {seconds:g} s")
                came = consumer.poll(timeout_ms=_POLL_MS)
                if came:
                    deadline = time.monotonic() + seconds
                for partition, records in came.items():
                    found[partition] += [_record(one) for one in records if one.offset < ends[partition]]
        return [record for partition in partitions for record in found[partition]]

    def follow(self, topic: str, *, from_beginning: bool = False) -> Generator[list[Record], None, None]:
        """Read a topic as it grows, for ever: what came, a list at a time, empty when nothing did.

        Closing the generator closes its connection.
        """
        with self.consumer(topic, from_end=not from_beginning) as consumer:
            while True:
                batches = consumer.poll(timeout_ms=_POLL_MS).values()
                yield [_record(one) for batch in batches for one in batch]

    def _send_one(self, topic: str, one: Record) -> FutureRecordMetadata:
        return self._producing().send(
            topic,
            value=one.value,
            key=one.key,
            headers=list(one.headers),
            partition=one.partition,
            timestamp_ms=one.timestamp,
        )

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        with self.errors_of("topics"), self._make(KafkaAdminClient, {}, {}) as admin:
            yield admin

    def _producing(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = self.new_producer()
        return self._producer

    def new_producer(self, **settings: Any) -> KafkaProducer:
        """A producer; whoever asked for it closes it.

        Args:
            settings: over the client's own.
        """
        # One request in flight and lingering keep order and speed.
        usual = {
            "acks": "all",
            "linger_ms": 5,
            "batch_size": 256 * 1024,
            "max_in_flight_requests_per_connection": 1,
            "max_request_size": _LARGEST_RECORD,
        }
        return self._make(KafkaProducer, usual, settings)

    @contextmanager
    def consumer(
        self, topic: str, *, committed: bool = True, from_end: bool = False, **settings: Any
    ) -> Iterator[KafkaConsumer]:
        """A consumer of all partitions of a topic.

        Args:
            topic: its name.
            committed: leave out what open and aborted transactions wrote.
            from_end: begin at the end, not at the beginning.
            settings: over the client's own.
        """
        usual = {
            "enable_auto_commit": False,
            "fetch_max_bytes": 2 * _LARGEST_RECORD,
            "max_partition_fetch_bytes": _LARGEST_RECORD,
        }
        isolation = "read_committed" if committed else "read_uncommitted"
        # What is read here must not move the offsets of a group that the settings name.
        own = {"isolation_level": isolation, "group_id": None, **settings}
        with self.errors_of(topic), self._make(KafkaConsumer, usual, own) as consumer:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise self._missing(topic)
            consumer.assign([TopicPartition(topic, number) for number in numbers])
            if from_end:
                consumer.seek_to_end()
                for partition in consumer.assignment():
                    consumer.position(partition)  # the end of now, not that of the first poll
            else:
                consumer.seek_to_beginning()
            yield consumer

    @property
    def _address(self) -> str:
        return str(self._settings.get("bootstrap_servers"))

    def _make(self, kind: type[Any], usual: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        """One of kafka-python's clients, with the usual settings, the user's over them, its own over both."""
        known = {key: value for key, value in self._settings.items() if key in kind.DEFAULT_CONFIG}
        try:
            return kind(**{**usual, **known, **own})
        except KafkaTimeoutError as error:
            seconds = known["bootstrap_timeout_ms"] / 1000
            raise TopicError(f"Kafka at {self._address} did not answer within {seconds:g} s") from error
        except (TypeError, ValueError, AssertionError, OSError) as error:
            raise ConfigError(f"kafka.command_line: {type(error).__name__}: {error}") from error

    @contextmanager
    def errors_of(self, topic: str) -> Iterator[None]:
        """Say errors of kafka-python, whose subject is a topic, as TopicError."""
        try:
            yield
        except KafkaError as error:
            raise TopicError(f"{topic}: Kafka at {self._address}: {error}") from error

    def _missing(self, topic: str) -> TopicError:
        return TopicError(
            f"{topic}: no such topic in Kafka at {self._address}; see `modelstream topics create`"
        )


def _record(one: ConsumerRecord) -> Record:
    return Record(one.value, one.key, tuple(one.headers), one.timestamp, one.partition, one.offset)


def _check(settings: Mapping[str, Any]) -> None:
    known = {key for kind in (KafkaAdminClient, KafkaConsumer, KafkaProducer) for key in kind.DEFAULT_CONFIG}
    unknown = ", ".join(f"kafka.command_line.{key}" for key in settings if key not in known)
    if unknown:
        raise ConfigError(f"{unknown}: kafka-python has no such setting")
    protocol = settings.get("security_protocol", "PLAINTEXT")
    # kafka-python would talk to the broker in the clear where it does not know the protocol.
    if protocol not in _PROTOCOLS:
        raise ConfigError(
            f"kafka.command_line.security_protocol: expected one of {', '.join(_PROTOCOLS)}, got {protocol!r}"
        )
    if str(protocol).startswith("SASL") and not settings.get("sasl_mechanism"):
        raise ConfigError(f"kafka.command_line.sasl_mechanism: missing, which {protocol} needs")
