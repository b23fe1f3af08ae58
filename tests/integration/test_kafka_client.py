"""What the job asks Kafka before it starts."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from kafka import KafkaProducer

from connectors.client import Record
from connectors.kafka import TopicContents, describe_topics, read_topic_to_end
from devtools.broker import Broker
from devtools.topics import create_topic, send
from tests.conftest import MakeTopics
from tests.integration.java_client import JavaClient
from tests.ports import held_port
from udfs.batches import decode_envelope
from udfs.errors import ConfigError


@pytest.fixture(scope="module")
def client() -> Iterator[JavaClient]:
    with JavaClient() as running:
        yield running


def read_chunks(*args: Any) -> list[TopicContents]:
    return list(read_topic_to_end(*args))


def read(client: JavaClient, broker: Broker, topic: str) -> TopicContents:
    """The records of a topic that fits one chunk."""
    (contents,) = client.call(read_chunks, {"bootstrap.servers": broker.bootstrap}, topic)
    return contents


def test_a_topic_is_described_with_its_partitions_and_settings(client: JavaClient, broker: Broker) -> None:
    create_topic(broker.bootstrap, "described", 3, {"retention.ms": "1234", "cleanup.policy": "compact"})

    described = client.call(describe_topics, {"bootstrap.servers": broker.bootstrap}, ["described"])[
        "described"
    ]

    assert described.partitions == 3
    assert described.settings["retention.ms"] == "1234"
    assert described.settings["cleanup.policy"] == "compact"
    assert {
        "max.message.bytes",
        "message.timestamp.type",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
    } <= described.settings.keys()


def test_a_topic_that_does_not_exist_is_left_out(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    events = topics().events

    described = client.call(describe_topics, {"bootstrap.servers": broker.bootstrap}, ["nowhere", events])

    assert set(described) == {events}


def silence_of(port: int) -> AbstractContextManager[object]:
    return pytest.raises(ConfigError, match=rf"^Kafka at 127\.0\.0\.1:{port} did not answer within 1 s")


def test_a_broker_that_does_not_answer_is_named(client: JavaClient) -> None:
    with held_port() as port, silence_of(port):
        client.call(describe_topics, {"bootstrap.servers": f"127.0.0.1:{port}"}, ["events"], 1)


def test_reading_from_a_broker_that_does_not_answer_ends(client: JavaClient) -> None:
    with held_port() as port, silence_of(port):
        client.call(read_chunks, {"bootstrap.servers": f"127.0.0.1:{port}"}, "control", 1)


def test_a_wrong_client_property_is_named(client: JavaClient, broker: Broker) -> None:
    properties = {"bootstrap.servers": broker.bootstrap, "security.protocol": "NONSENSE"}

    with pytest.raises(ConfigError, match=r"security\.protocol"):
        client.call(describe_topics, properties, ["events"])


def test_the_control_topic_is_read_from_its_beginning_to_its_end(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    control = topics().control
    send(broker.bootstrap, control, [Record(b"first", b"iris"), Record(None, b"iris"), Record(b"third")])

    contents = read(client, broker, control)

    assert contents.records.values == [b"first", b"", b"third"]
    envelopes = [decode_envelope(contents.records.envelope(index)) for index in range(3)]
    assert [(it.topic, it.offset, it.key, it.null_value) for it in envelopes] == [
        (control, 0, b"iris", False),
        (control, 1, b"iris", True),
        (control, 2, None, False),
    ]
    assert contents.next_offset == 3


def test_an_empty_topic_is_read_at_once(client: JavaClient, broker: Broker, topics: MakeTopics) -> None:
    contents = read(client, broker, topics().control)

    assert (contents.records.values, contents.next_offset) == ([], 0)


def test_reading_ends_behind_the_marks_of_transactions(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    control = topics().control
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=control)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(control, b"committed")
    producer.commit_transaction()
    producer.begin_transaction()
    producer.send(control, b"aborted")
    producer.flush()
    producer.abort_transaction()
    producer.close()

    contents = read(client, broker, control)

    assert contents.records.values == [b"committed"]
    assert contents.next_offset == 4


def test_many_large_records_are_read_whole(client: JavaClient, broker: Broker, topics: MakeTopics) -> None:
    control = topics().control
    values = [bytes([number]) * 500_000 for number in range(20)]
    send(broker.bootstrap, control, values)

    assert read(client, broker, control).records.values == values


def test_a_group_and_its_offsets_do_not_matter(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    control = topics().control
    send(broker.bootstrap, control, [b"first"])
    properties = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": "someone",
        "enable.auto.commit": "true",
        "auto.offset.reset": "latest",
    }

    for _ in range(2):
        (contents,) = client.call(read_chunks, properties, control)
        assert contents.records.values == [b"first"]


def test_a_topic_larger_than_a_chunk_is_read_whole_and_in_order(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    control = topics().control
    values = [b"%d" % number * 500 for number in range(100)]
    send(broker.bootstrap, control, values)

    chunks = client.call(read_chunks, {"bootstrap.servers": broker.bootstrap}, control, 10, 8 * 1024)

    sizes = [sum(map(len, chunk.records.values)) for chunk in chunks]
    assert len(chunks) > 5
    assert max(sizes) < 8 * 1024 + 1000
    assert [value for chunk in chunks for value in chunk.records.values] == values
    assert chunks[-1].next_offset == 100


def test_a_chunk_that_ends_with_the_topic_is_the_last(
    client: JavaClient, broker: Broker, topics: MakeTopics
) -> None:
    control = topics().control
    send(broker.bootstrap, control, [b"x" * 2000] * 2)

    chunks = client.call(read_chunks, {"bootstrap.servers": broker.bootstrap}, control, 10, 1000)

    assert [chunk.next_offset for chunk in chunks] == [1, 2]
