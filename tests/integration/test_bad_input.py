"""Bad records one by one on a running job: each is a dead letter, and a good event behind it is scored."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import msgspec
import pytest

from connectors.client import Client, Record
from devtools import ROOT, processes
from devtools.broker import Broker
from devtools.topics import topics_named
from jobs.config import TopicsConfig
from tests.integration.records import (
    BROKEN_EVENTS,
    MALFORMED_UPDATES,
    PMML,
    TIME_MS,
    URIS,
    by_uri,
    event,
    publish,
)
from tests.integration.scoring_job import create_roomy_topics, iris_model, job_command
from tests.waiting import wait_until
from udfs.records import ModelStatus

_SECONDS = 120.0


@dataclass
class Job:
    """A job that runs, and what it has written so far."""

    process: Popen[bytes]
    client: Client
    topics: TopicsConfig
    model: bytes
    _numbers: Iterator[int]
    _streams: dict[str, Iterator[list[Record]]]
    _records: dict[str, list[Record]]

    def read(self, topic: str) -> list[Record]:
        """All records of an output topic that have come."""
        self._records[topic] += next(self._streams[topic])
        assert self.process.poll() is None, "the job has ended"
        return self._records[topic]

    def dead_letter_of(self, topic: str, record: Record) -> Record:
        """Send a bad record, then a good event: the record's dead letter, once the event is predicted."""
        before = len(self._records[self.topics.dead_letters])
        good = next(self._numbers)
        self.client.send(topic, [record])
        self.client.send(self.topics.events, [event(good)])
        wait_until(lambda: len(self.read(self.topics.dead_letters)) > before, _SECONDS, "a dead letter")
        wait_until(lambda: good in self.predicted(), _SECONDS, "the prediction of the good event")
        (letter,) = self.read(self.topics.dead_letters)[before:]
        return letter

    def predicted(self) -> list[int]:
        """The ids of the events that were predicted."""
        return [
            msgspec.json.decode(record.value or b"")["id"] for record in self.read(self.topics.predictions)
        ]

    def statuses(self) -> list[ModelStatus]:
        """All that was said of models."""
        return [
            msgspec.json.decode(record.value or b"", type=ModelStatus)
            for record in self.read(self.topics.model_status)
        ]


@pytest.fixture(scope="module", params=["embedded", "process"])
def job(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Job]:
    folder: Path = tmp_path_factory.mktemp("bad-input")
    model = iris_model(folder)
    topics = topics_named(f"bad-input-{request.param}")
    create_roomy_topics(broker.bootstrap, topics)
    settings = {
        "events.start": "earliest",
        "missing_model.hold": "100ms",
        "checkpoints.interval": "100ms",
    }
    outputs = (topics.predictions, topics.dead_letters, topics.model_status)
    command = job_command(broker.bootstrap, topics, folder, request.param, settings)
    process = processes.start(command, folder / "job.log", folder=ROOT)
    with Client({"bootstrap_servers": broker.bootstrap, "max_request_size": 20_000_000}) as client:
        streams = {topic: client.follow(topic, from_beginning=True) for topic in outputs}
        try:
            client.send(topics.control, [publish("iris", 1, model), publish("rosa", 1, model)])
            running = Job(
                process,
                client,
                topics,
                model,
                itertools.count(1),
                dict(streams),
                {topic: [] for topic in outputs},
            )
            client.send(topics.events, [event(0)])
            wait_until(lambda: running.predicted() == [0], _SECONDS, "the first prediction")
            yield running
        finally:
            for stream in streams.values():
                stream.close()
            processes.stop(process)


@pytest.mark.parametrize("name", [name for name in BROKEN_EVENTS if name != "10 MB"])
def test_a_broken_event_is_a_dead_letter_with_its_own_bytes_and_the_stage(job: Job, name: str) -> None:
    value, stage = BROKEN_EVENTS[name]

    letter = job.dead_letter_of(job.topics.events, Record(value, b"broken", (("trace", b"1"),), TIME_MS))

    assert letter.header("ms-stage") == stage.encode()
    assert (letter.value, letter.key, letter.header("trace")) == (value, b"broken", b"1")
    assert letter.header("ms-timestamp") == b"%d" % TIME_MS
    assert (letter.header("ms-source") or b"").startswith(f"{job.topics.events}/0/".encode())


def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(job: Job) -> None:
    original = BROKEN_EVENTS["10 MB"][0] or b""

    letter = job.dead_letter_of(job.topics.events, Record(original))

    assert letter.header("ms-truncated") == b"%d" % len(original)
    assert len(letter.value or b"") > 4_900_000
    assert original.startswith(letter.value or b"-")
    assert letter.header("ms-source") is not None


def test_an_event_of_tomorrow_is_a_dead_letter_where_the_predictions_topic_refuses_it(job: Job) -> None:
    tomorrow = event(8_000_000)
    tomorrow = tomorrow._replace(timestamp=(tomorrow.timestamp or 0) + 48 * 3600 * 1000)

    letter = job.dead_letter_of(job.topics.events, tomorrow)

    assert (letter.header("ms-stage"), letter.value) == (b"encode", tomorrow.value)


@pytest.mark.parametrize("name", MALFORMED_UPDATES)
def test_a_refused_update_is_a_dead_letter_with_its_own_bytes(job: Job, name: str) -> None:
    value = MALFORMED_UPDATES[name]

    letter = job.dead_letter_of(job.topics.control, Record(value, b"iris"))

    assert (letter.header("ms-stage"), letter.value, letter.key) == (b"update", value, b"iris")


def test_an_update_without_a_value_is_a_dead_letter(job: Job) -> None:
    letter = job.dead_letter_of(job.topics.control, Record(None, b"iris"))

    assert (letter.header("ms-stage"), letter.value, letter.key) == (b"update", None, b"iris")


@pytest.mark.parametrize("place", URIS)
def test_an_artifact_that_can_not_be_fetched_is_a_dead_letter_and_a_status(job: Job, place: str) -> None:
    model, version = "thorn", 1 + [*URIS].index(place)
    update = by_uri(model, version, URIS[place])

    letter = job.dead_letter_of(job.topics.control, update)

    assert (letter.header("ms-stage"), letter.value) == (b"update", update.value)
    failed = ("failed", f"{model}:{version}")
    wait_until(
        lambda: failed in [(said.status, str(said.model)) for said in job.statuses()], _SECONDS, "its status"
    )


@pytest.mark.parametrize(
    "version", [2, 3, 4, 5], ids=["truncated", "another sha256", "empty", "another format"]
)
def test_a_broken_artifact_is_a_dead_letter_and_the_model_goes_on_serving(job: Job, version: int) -> None:
    content, sha256 = {
        2: (job.model[:100], None),
        3: (job.model, "0" * 64),
        4: (b"", None),
        5: (PMML, None),
    }[version]
    update = publish("iris", version, content, sha256)

    letter = job.dead_letter_of(job.topics.control, update)

    assert (letter.header("ms-stage"), letter.value) == (b"update", update.value)
    latest = job.read(job.topics.predictions)[-1]
    assert msgspec.json.decode(latest.value or b"")["model"]["version"] == 1


def test_no_bad_record_has_a_second_dead_letter(job: Job) -> None:
    job.dead_letter_of(job.topics.events, Record(b"the last", None))

    sources = [letter.header("ms-source") for letter in job.read(job.topics.dead_letters)]
    assert len(sources) == len(set(sources))
