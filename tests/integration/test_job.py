"""The whole job on a real broker, run as a program: bounded, in both execution modes."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec
import pytest

from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.topics import read_all, send, topics_named
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
from udfs.models.updates import PublishModel
from udfs.records import ModelId, ModelStatus

FLOWERS = 600
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Run:
    """What a run of the job was given, and what it wrote."""

    first_model: bytes
    sent: list[Record]
    predictions: list[Record]
    dead_letters: list[Record]
    statuses: list[ModelStatus]


@pytest.fixture(scope="module", params=["embedded", "process"])
def run(request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("job")
    model = iris_model(folder)
    topics = topics_named(f"job-{request.param}")
    create_roomy_topics(broker.bootstrap, topics)
    updates = [
        publish("iris", 1, model),
        publish("iris", 2, model[:100]),
        publish("iris", 3, model, sha256="0" * 64),
        publish("rosa", 1, b""),
        *(by_uri("thorn", version, uri) for version, uri in enumerate(URIS.values(), start=1)),
        publish("moss", 1, PMML),
        *(Record(value, b"iris") for value in MALFORMED_UPDATES.values()),
    ]
    flowers = [event(number) for number in range(FLOWERS)]
    broken = [Record(value, b"broken") for value, _ in BROKEN_EVENTS.values()]
    ahead = event(8_000_000)._replace(timestamp=int(time.time() * 1000) + DAY_MS)
    good = [event(9_000_000)]
    sent = [*flowers, *broken, ahead, *good]
    send(broker.bootstrap, topics.control, updates)
    send(broker.bootstrap, topics.events, sent)
    command = job_command(broker.bootstrap, topics, folder, request.param, {"events.bounded": "true"})
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-5000:]
    # The broker may still be writing the markers of the last transaction.
    wait_until(
        lambda: (
            len(read_all(broker.bootstrap, topics.predictions))
            + len(read_all(broker.bootstrap, topics.dead_letters))
            >= len(sent)
        ),
        what="every event's outcome",
    )
    return Run(
        model,
        sent,
        read_all(broker.bootstrap, topics.predictions),
        read_all(broker.bootstrap, topics.dead_letters),
        [
            msgspec.json.decode(record.value or b"", type=ModelStatus)
            for record in read_all(broker.bootstrap, topics.model_status)
        ],
    )


def test_every_event_is_a_prediction_or_a_dead_letter(run: Run) -> None:
    updates = [letter for letter in run.dead_letters if letter.header("ms-stage") == b"update"]

    assert len(run.predictions) + len(run.dead_letters) - len(updates) == len(run.sent)


def test_each_good_event_is_predicted_once_and_in_the_order_of_its_key(run: Run) -> None:
    ids = [json.loads(record.value or b"")["id"] for record in run.predictions]

    assert sorted(ids) == [*range(FLOWERS), 9_000_000]
    for key in range(7):
        of_key = [number for number in ids if number % 7 == key and number < FLOWERS]
        assert of_key == sorted(of_key)


def test_a_prediction_names_the_version_that_made_it(run: Run) -> None:
    update = msgspec.json.decode(publish("iris", 1, run.first_model).value or b"", type=PublishModel)
    expected = {"name": "iris", "version": 1, "sha256": update.identity()}

    assert [json.loads(record.value or b"")["model"] for record in run.predictions] == [expected] * 601


def test_a_prediction_is_what_the_model_says(run: Run) -> None:
    outputs = json.loads(run.predictions[0].value or b"")["outputs"]

    assert outputs["label"] == "setosa"


def test_a_prediction_keeps_the_key_the_headers_and_the_timestamp_of_its_event(run: Run) -> None:
    record = next(record for record in run.predictions if json.loads(record.value or b"")["id"] == 5)

    assert (record.key, record.timestamp) == (b"key-5", TIME_MS + 5)
    assert record.header("traceparent") == b"00-5"
    assert (record.header("ms-source") or b"").endswith(b"/0/5")


def test_a_timestamp_that_the_predictions_topic_refuses_is_a_dead_letter(run: Run) -> None:
    letters = [letter for letter in run.dead_letters if letter.header("ms-stage") == b"encode"]

    assert [json.loads(letter.value or b"")["id"] for letter in letters] == [8_000_000]


@pytest.mark.parametrize("name", MALFORMED_UPDATES)
def test_a_refused_update_is_one_dead_letter_with_its_own_bytes(run: Run, name: str) -> None:
    (letter,) = [letter for letter in run.dead_letters if letter.value == MALFORMED_UPDATES[name]]

    assert (letter.header("ms-stage"), letter.key) == (b"update", b"iris")


@pytest.mark.parametrize(
    "model",
    [b"iris:2", b"iris:3", b"rosa:1", b"moss:1", b"thorn:1", b"thorn:2", b"thorn:3", b"thorn:4", b"thorn:5"],
)
def test_a_version_that_fails_to_load_is_one_dead_letter(run: Run, model: bytes) -> None:
    (letter,) = [letter for letter in run.dead_letters if letter.header("ms-model") == model]

    assert letter.header("ms-stage") == b"update"
    assert json.loads(letter.value or b"")["model"] == msgspec.to_builtins(ModelId.parse(model.decode()))


def test_a_version_that_fails_to_load_says_why_and_never_replaces_one_that_works(run: Run) -> None:
    said = {(str(status.model), status.status): status.cause for status in run.statuses}

    assert ("iris:1", "active") in said
    assert "sha256" in (said["iris:3", "failed"] or "")
    assert (said["iris:2", "failed"] or "").startswith("ModelLoadError")
    assert said["rosa:1", "failed"] is not None


def test_a_missing_topic_is_said_before_anything_starts(broker: Broker) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.score_events", "--set", f"kafka.bootstrap_servers={broker.bootstrap}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "topics.events (ms.events)" in done.stderr.splitlines()[-1]
