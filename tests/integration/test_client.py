"""Kafka without Flink: records in and out, and transactions that remember what they were made of."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from connectors.client import Client, Record, Topic
from connectors.transactions import Committed, read_committed, transactions
from devtools.broker import Broker
from jobs.config import TopicsConfig
from tests.conftest import MakeTopics
from udfs.errors import TopicError


@pytest.fixture
def client(broker: Broker) -> Iterator[Client]:
    with Client({"bootstrap_servers": broker.bootstrap}) as made:
        yield made


@pytest.fixture
def names(topics: MakeTopics) -> TopicsConfig:
    return topics(partitions=2)


def values(client: Client, topic: str) -> list[bytes | None]:
    return sorted((record.value for record in client.read_to_end(topic)), key=lambda value: value or b"")


def test_a_record_is_read_as_it_was_sent(client: Client, names: TopicsConfig) -> None:
    sent = Record(b"\x00\xff", b"key", (("a", b"1"), ("a", b"2")), 1_000_000_000_000, 1)

    assert client.send(names.control, [sent._replace(partition=0)]) == 1

    assert client.read_to_end(names.control) == [sent._replace(partition=0, offset=0)]
    assert sent.header("a") == b"2"


def test_more_records_than_wait_for_an_answer_keep_their_order(client: Client, names: TopicsConfig) -> None:
    count = 25_000

    assert client.send(names.control, (Record(b"%d" % number) for number in range(count))) == count

    assert [int(one.value or b"") for one in client.read_to_end(names.control)] == list(range(count))


def test_what_was_made_before_an_error_is_sent(client: Client, broker: Broker, names: TopicsConfig) -> None:
    def records() -> Iterator[Record]:
        yield Record(b"before")
        raise ValueError("no more")

    with (
        Client({"bootstrap_servers": broker.bootstrap}) as failing,
        pytest.raises(ValueError, match="no more"),
    ):
        failing.send(names.control, records())

    assert values(client, names.control) == [b"before"]


def test_a_topic_that_is_missing_is_said_at_once_and_not_made(client: Client) -> None:
    for read_or_send in (
        lambda: client.send("missing", [Record(b"x")]),
        lambda: client.read_to_end("missing"),
        lambda: next(client.follow("missing")),
    ):
        with pytest.raises(TopicError, match=r"^missing: no such topic"):
            read_or_send()

    assert client.describe_topics(["missing"]) == {}


def test_topics_that_are_there_stay_as_they_are(client: Client, names: TopicsConfig) -> None:
    planned = [Topic(names.control, 5), Topic(f"{names.control}-new", 3, settings={"retention.ms": "1000"})]

    assert client.create_topics(planned) == [f"{names.control}-new"]

    there = client.describe_topics([topic.name for topic in planned])
    assert [there[topic.name].partitions for topic in planned] == [1, 3]
    assert there[f"{names.control}-new"].settings["retention.ms"] == "1000"


def test_following_begins_at_the_end_or_at_the_beginning(client: Client, names: TopicsConfig) -> None:
    client.send(names.control, [Record(b"old")])
    new = client.follow(names.control)
    assert next(new) == []
    client.send(names.control, [Record(b"new")])

    assert next(records for records in new if records)[0].value == b"new"
    everything = client.follow(names.control, from_beginning=True)
    assert next(records for records in everything if records)[0].value == b"old"


# --- transactions ---------------------------------------------------------------------------------------


def test_records_and_what_is_remembered_come_together(client: Client, names: TopicsConfig) -> None:
    with transactions(client, names.dead_letters, names.events) as sending:
        assert read_committed(client, names.dead_letters, names.events) == {}
        sending.send(
            [(names.events, Record(b"a")), (names.control, Record(b"b"))],
            {0: Committed(7, "a note"), 1: Committed(2)},
        )

    assert (values(client, names.events), values(client, names.control)) == ([b"a"], [b"b"])
    assert read_committed(client, names.dead_letters, names.events) == {
        0: Committed(7, "a note"),
        1: Committed(2, ""),
    }


def test_neither_comes_when_a_record_is_refused(client: Client, names: TopicsConfig) -> None:
    too_large = Record(bytes(2_000_000))

    with (
        pytest.raises(TopicError),
        transactions(client, names.dead_letters, names.events) as sending,
    ):
        sending.send([(names.events, Record(b"small")), (names.events, too_large)], {0: Committed(1)})

    assert values(client, names.events) == []
    assert read_committed(client, names.dead_letters, names.events) == {}


def test_one_that_began_later_ends_the_earlier_one(client: Client, names: TopicsConfig) -> None:
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(TopicError))
        earlier = stack.enter_context(transactions(client, names.dead_letters, names.events))
        later = stack.enter_context(transactions(client, names.dead_letters, names.events))
        later.send([(names.events, Record(b"later"))], {0: Committed(1)})
        earlier.send([(names.events, Record(b"earlier"))], {0: Committed(1)})

    assert values(client, names.events) == [b"later"]
