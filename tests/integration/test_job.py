"""The whole job on a real broker, run as a program: bounded, in both execution modes."""

import hashlib
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
from devtools.topics import create_job_topics, read_all, send, topics_named
from examples.iris import train
from tests.waiting import wait_until
from udfs.models.updates import ActivateModel, Artifact, PublishModel, encode_update
from udfs.records import ModelId, ModelStatus

FIELDS = "sepal_length,sepal_width,petal_length,petal_width"
FLOWERS = 600
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
DAY_MS = 24 * 3600 * 1000
# Older records than the topics' retention would be deleted under the test.
TIME_MS = int(time.time() * 1000) - 3_600_000


def publish(name: str, version: int, content: bytes, sha256: str | None = None) -> Record:
    update = PublishModel(
        ModelId(name, version),
        "onnx",
        Artifact(sha256=sha256 or hashlib.sha256(content).hexdigest(), inline=content),
        options={"fields": FIELDS},
    )
    return Record(encode_update(update), name.encode())


def event(number: int, model: str = "iris", data: object = SETOSA) -> Record:
    value = json.dumps({"id": number, "model": model, "data": data}).encode()
    return Record(
        value, b"key-%d" % (number % 7), (("traceparent", b"00-%d" % number),), TIME_MS + number % 1000
    )


URIS = {
    "unreachable": "http://127.0.0.1:1/models/thorn.onnx",
    "forbidden": "http://127.0.0.1:2/models/thorn.onnx",
    "a missing file": "file:///modelstream/no/such/file.onnx",
    "outside the allowed path": "http://127.0.0.1:1/models/../secrets/thorn.onnx",
}
ALLOWED = '["http://127.0.0.1:1/models", "file:///modelstream/no"]'


def by_uri(name: str, version: int, uri: str) -> Record:
    artifact = Artifact(sha256="1" * 64, uri=uri)
    return Record(encode_update(PublishModel(ModelId(name, version), "onnx", artifact)), name.encode())


BROKEN = {
    "not JSON": (b"not JSON", "decode"),
    "JSON but no object": (b"[1, 2]", "decode"),
    "invalid UTF-8": (b'{"id": "\xff\xfe"}', "decode"),
    "deep nesting": (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "decode"),
    "null value": (None, "decode"),
    "no data": (b'{"model": "iris"}', "decode"),
    "no model": (b'{"data": {}}', "resolve"),
    "unknown model": (b'{"model": "rose", "data": {}}', "resolve"),
    "unknown version": (b'{"model": "iris:9", "data": {}}', "resolve"),
    "missing field": (b'{"model": "iris", "data": {"sepal_length": 1}}', "score"),
    "wrong type": (json.dumps({"model": "iris", "data": {**SETOSA, "petal_width": "x"}}).encode(), "score"),
    "wrong shape": (b'{"model": "iris", "data": [1.0, 2.0]}', "score"),
    "wrong rank": (b'{"model": "iris", "data": [[[1.0, 2.0, 3.0, 4.0]]]}', "score"),
    "3 MB": (b'{"model": "iris", "data": "' + b"x" * 3_000_000 + b'"}', "score"),
    "10 MB": (b'{"model": "iris", "data": "' + b"x" * 10_000_000 + b'"}', "score"),
}


def update(**fields: object) -> bytes:
    """A control record by hand: what `encode_update` would never write."""
    return json.dumps(fields).encode()


IRIS_2 = {"name": "iris", "version": 2}
MALFORMED_UPDATES = {
    "not JSON": b"not an update",
    "a null value": b"null",
    "no object": b"[]",
    "an unknown type": update(type="delete_model", model=IRIS_2),
    "an unknown field": update(type="activate_model", model=IRIS_2, when="now"),
    "version 0": update(type="activate_model", model={"name": "iris", "version": 0}),
    "version -1": update(type="activate_model", model={"name": "iris", "version": -1}),
    'version "2"': update(type="activate_model", model={"name": "iris", "version": "2"}),
    "version 1.5": update(type="activate_model", model={"name": "iris", "version": 1.5}),
    "activating what is not published": encode_update(ActivateModel(ModelId("iris", 77))),
    "retiring what is active": update(type="retire_model", model={"name": "iris", "version": 3}),
    "retiring what is not published": update(type="retire_model", model={"name": "iris", "version": 78}),
}
"""Updates that never change the catalog; each is a dead letter."""


@dataclass(frozen=True)
class Run:
    """What a run of the job was given, and what it wrote."""

    first_model: bytes
    sent: list[Record]
    predictions: list[Record]
    dead_letters: list[Record]
    statuses: list[ModelStatus]

    def dead_letter(self, value: bytes | None) -> Record:
        """The one dead letter with this value."""
        (found,) = [letter for letter in self.dead_letters if letter.value == value]
        return found


@pytest.fixture(scope="module", params=["embedded", "process"])
def run(request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("job")
    train.write_onnx(train.fit_logistic_regression(), folder / "model.onnx")
    model = (folder / "model.onnx").read_bytes()
    topics = topics_named(f"job-{request.param}")
    large = {"max.message.bytes": "20000000", "message.timestamp.after.max.ms": str(2**62)}
    create_job_topics(
        broker.bootstrap,
        topics,
        configs={"events": large, "dead_letters": {"max.message.bytes": "5000000"}},
    )
    updates = [
        publish("iris", 1, model),
        publish("iris", 2, model[:100]),
        publish("iris", 3, model, sha256="0" * 64),
        publish("rosa", 1, b""),
        *(by_uri("thorn", version, uri) for version, uri in enumerate(URIS.values(), start=1)),
        publish("moss", 1, b'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/></PMML>'),
        *(Record(value, b"iris") for value in MALFORMED_UPDATES.values()),
    ]
    flowers = [event(number) for number in range(FLOWERS)]
    broken = [Record(value, b"broken", (("trace", b"1"),), TIME_MS) for value, _ in BROKEN.values()]
    ahead = event(8_000_000)._replace(timestamp=int(time.time() * 1000) + DAY_MS)
    good = [event(9_000_000)]
    sent = [*flowers, *broken, ahead, *good]
    send(broker.bootstrap, topics.control, updates)
    send(broker.bootstrap, topics.events, sent)
    settings = {
        "name": f"job-{request.param}",
        "execution": request.param,
        "parallelism": 1,
        "kafka.bootstrap_servers": broker.bootstrap,
        "events.bounded": "true",
        "artifacts.allow": ALLOWED,
        "artifacts.cache_folder": str(folder / "cache"),
        "checkpoints.folder": (folder / "checkpoints").as_uri(),
        "flink[restart-strategy.type]": "disable",
        **{f"topics.{field}": topic for field, topic in msgspec.structs.asdict(topics).items()},
    }
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.score_events", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
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


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "10 MB"])
def test_a_broken_event_is_a_dead_letter_with_its_own_bytes_and_the_stage(run: Run, name: str) -> None:
    value, stage = BROKEN[name]

    letter = run.dead_letter(value)

    assert letter.header("ms-stage") == stage.encode()
    assert (letter.key, letter.header("trace")) == (b"broken", b"1")
    assert letter.header("ms-timestamp") == b"%d" % TIME_MS


def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(run: Run) -> None:
    (letter,) = [letter for letter in run.dead_letters if letter.header("ms-truncated")]

    original = BROKEN["10 MB"][0] or b""
    assert letter.header("ms-truncated") == b"%d" % len(original)
    assert len(letter.value or b"") > 4_900_000
    assert original.startswith(letter.value or b"-")
    assert letter.header("ms-source") is not None


def test_a_timestamp_that_the_predictions_topic_refuses_is_a_dead_letter(run: Run) -> None:
    letters = [letter for letter in run.dead_letters if letter.header("ms-stage") == b"encode"]

    assert [json.loads(letter.value or b"")["id"] for letter in letters] == [8_000_000]


@pytest.mark.parametrize("name", MALFORMED_UPDATES)
def test_a_refused_update_is_one_dead_letter_with_its_own_bytes(run: Run, name: str) -> None:
    letter = run.dead_letter(MALFORMED_UPDATES[name])

    assert (letter.header("ms-stage"), letter.key) == (b"update", b"iris")


@pytest.mark.parametrize(
    "model", [b"iris:2", b"iris:3", b"rosa:1", b"moss:1", b"thorn:1", b"thorn:2", b"thorn:3", b"thorn:4"]
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
