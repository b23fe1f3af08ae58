"""Records on their way through the job: from Kafka into Python and back to Kafka."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.topics import create_job_topics, read_all, send, topics_named
from jobs.config import TopicsConfig
from tests.waiting import wait_until

EVENTS = 3000
KEYS = 17
BATCH_BYTES = 4 * 1024 * 1024
HOUR_AGO = time.time_ns() // 1_000_000 - 3_600_000
"""Not older: a topic's retention counts from the timestamps of its records."""


@dataclass(frozen=True)
class Run:
    """What a run of the echo job read and wrote."""

    topics: TopicsConfig
    sent: Sequence[Record]
    predictions: Sequence[Record]
    dead_letters: Sequence[Record]
    statuses: Sequence[Record]
    parallelism: int


def events() -> list[Record]:
    """Events of some keys and of none, some with headers, and three that end as dead letters."""
    made = [
        Record(
            b'{"id":%d}' % number,
            None if number % 10 == 0 else b"key-%d" % (number % KEYS),
            (("traceparent", b"00-%d" % number), ("ms-stage", b"old")) if number % 5 == 0 else (),
            HOUR_AGO + number,
        )
        for number in range(EVENTS)
    ]
    broken = [
        Record(b"not JSON \xff", b"key-0", (("trace", b"1"),), HOUR_AGO + 123),
        Record(None, b"key-1", (), HOUR_AGO + 124),
        Record(b"", None, (), HOUR_AGO + 125),
    ]
    large = Record(b'{"id":"large","pad":"' + b"x" * (BATCH_BYTES + 1) + b'"}', b"key-2")
    return [*made, *broken, large]


@pytest.fixture(
    scope="module",
    params=itertools.product(("thread", "process"), ((1, "at-least-once"), (2, "exactly-once"))),
    ids=lambda param: f"{param[0]}-{param[1][0]}-{param[1][1]}",
)
def run(request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    execution, (parallelism, delivery) = request.param
    prefix = f"connectors-{execution}-{parallelism}"
    topics = topics_named(prefix)
    large = {"max.message.bytes": "20000000"}
    create_job_topics(broker.bootstrap, topics, partitions=2, configs={"events": large, "predictions": large})
    sent = events()
    send(broker.bootstrap, topics.events, sent)
    send(broker.bootstrap, topics.control, [b"update-%d" % number for number in range(5)])

    settings = {
        "bootstrap": broker.bootstrap,
        "topics": msgspec.structs.asdict(topics),
        "execution": execution,
        "parallelism": parallelism,
        "delivery": delivery,
        "start_offset": 2,
    }
    run_job(settings, tmp_path_factory.mktemp("job"))
    predictions, dead_letters = read_outcomes(broker, topics, len(sent))
    statuses = read_all(broker.bootstrap, topics.model_status)
    return Run(topics, sent, predictions, dead_letters, statuses, parallelism)


def read_outcomes(broker: Broker, topics: TopicsConfig, count: int) -> tuple[list[Record], list[Record]]:
    """Predictions and dead letters, once there are so many, or more."""

    def enough() -> tuple[list[Record], list[Record]] | None:
        predictions = read_all(broker.bootstrap, topics.predictions)
        dead_letters = read_all(broker.bootstrap, topics.dead_letters)
        return (predictions, dead_letters) if len(predictions) + len(dead_letters) >= count else None

    # A broker marks the end of a transaction shortly after it told the job that it is committed.
    return wait_until(enough, what=f"{count} predictions and dead letters") or ([], [])


def run_job(settings: object, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.echo_job", json.dumps(settings)]
    # An empty folder: a worker's first place to look for modules is where it was started.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stderr[-5000:]


def test_every_event_becomes_one_prediction_with_its_value(run: Run) -> None:
    expected = [event.value for event in run.sent if (event.value or b"").startswith(b"{")]

    assert sorted(record.value or b"" for record in run.predictions) == sorted(
        expected, key=lambda it: it or b""
    )


def test_events_of_one_key_keep_their_order(run: Run) -> None:
    order: dict[bytes, list[int]] = defaultdict(list)
    for record in run.predictions:
        number = json.loads(record.value or b"")["id"]
        if record.key is not None and number != "large":
            order[record.key].append(number)

    assert len(order) == KEYS
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_a_prediction_keeps_key_and_timestamp_of_its_event(run: Run) -> None:
    of_value = {event.value: event for event in run.sent if event.timestamp is not None}

    for record in run.predictions:
        event = of_value.get(record.value)
        if event is not None:
            assert (record.key, record.timestamp) == (event.key, event.timestamp)


def test_a_prediction_keeps_the_headers_of_its_event_but_those_of_modelstream(run: Run) -> None:
    of_value = {record.value: record for record in run.predictions}

    names = [[name for name, _ in of_value[b'{"id":%d}' % number].headers] for number in (5, 6)]

    assert names == [["traceparent", "ms-source"], ["ms-source"]]


def test_ms_source_says_where_each_event_was(run: Run, broker: Broker) -> None:
    read = read_all(broker.bootstrap, run.topics.events)
    places = {
        record.value: f"{run.topics.events}/{record.partition}/{record.offset}".encode() for record in read
    }

    assert {record.value: record.header("ms-source") for record in run.predictions} == {
        value: place for value, place in places.items() if (value or b"").startswith(b"{")
    }


def test_a_dead_letter_has_key_value_and_reason_of_its_event(run: Run) -> None:
    letters = {(record.key, record.value, record.header("ms-stage")) for record in run.dead_letters}

    assert letters == {
        (b"key-0", b"not JSON \xff", b"decode"),
        (b"key-1", None, b"decode"),
        (None, b"", b"decode"),
    }


def test_a_dead_letter_says_when_its_event_was(run: Run) -> None:
    assert {record.header("ms-timestamp") for record in run.dead_letters} == {
        b"%d" % (HOUR_AGO + 123),
        b"%d" % (HOUR_AGO + 124),
        b"%d" % (HOUR_AGO + 125),
    }


def test_every_subtask_gets_the_updates_from_the_offset_that_was_asked_for_in_order(run: Run) -> None:
    updates = [record.value for record in run.statuses if record.key == b"update"]

    assert sorted(updates) == sorted([b"update-2", b"update-3", b"update-4"] * run.parallelism)  # type: ignore[type-var]
    if run.parallelism == 1:
        assert updates == [b"update-2", b"update-3", b"update-4"]


def test_every_subtask_learns_that_the_input_ended_once_under_a_shard_of_its_own(run: Run) -> None:
    shards = [record.value for record in run.statuses if record.key == b"end of input"]

    assert len(shards) == len(set(shards)) == run.parallelism
