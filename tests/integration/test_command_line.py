"""The commands on a real broker, each as a program: what they write, and what Kafka then holds."""

import hashlib
import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.client import Client, Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.topics import create_topic, topics_named
from jobs.config import TopicsConfig
from tests.conftest import MakeTopics
from tests.integration.command_line import CommandLine
from tests.ports import held_port
from udfs.models.updates import Artifact, PublishModel, decode_update
from udfs.records import ModelId, ModelStatus, Prediction, ServedModel

# Older records than the topics' retention would be deleted under the test, and later ones than now refused.
TIME_MS = int(time.time()) * 1000 - 3_600_000
RFC_3339 = datetime.fromtimestamp(TIME_MS / 1000, UTC).isoformat()


@pytest.fixture
def modelstream(broker: Broker, topics: MakeTopics) -> CommandLine:
    made = topics()
    return CommandLine(broker.bootstrap, made, made.events)


@pytest.fixture
def nowhere(broker: Broker) -> CommandLine:
    """The command, with topics that are not there."""
    return CommandLine(broker.bootstrap, topics_named("nowhere"), "nowhere")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "iris.onnx"
    path.write_bytes(b"a model")
    return path


# --- topics create --------------------------------------------------------------------------------------


def test_topics_are_created_with_the_settings_that_the_job_asks_for(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("created"), "created")

    rows = command.json("topics", "create", "--partitions", "3")

    assert [row["created"] for row in rows] == [True] * 5
    with Client({"bootstrap_servers": broker.bootstrap}) as client:
        made = client.describe_topics([row["topic"] for row in rows])
    assert made["created-events"].partitions == 3
    assert made["created-control"].partitions == 1
    assert made["created-control"].settings["cleanup.policy"] == "delete"
    assert made["created-control"].settings["retention.ms"] == "-1"
    assert made["created-model-status"].settings["cleanup.policy"] == "compact"


def test_topics_that_are_there_stay_and_what_is_wrong_with_them_is_said(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("wrong"), "wrong")
    create_topic(broker.bootstrap, "wrong-control", 2, {"cleanup.policy": "compact"})

    control = next(row for row in command.json("topics", "create") if row["topic"] == "wrong-control")

    assert control["created"] is False
    assert "partitions 2, not 1" in control["differs"]
    assert "cleanup.policy=compact, not delete" in control["differs"]
    assert len(command.json("topics", "create")) == 5


def test_more_copies_than_brokers_are_refused_in_one_line(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("copies"), "copies")

    assert "eplication" in command.refused("topics", "create", "--replication-factor", "3")


# --- models ---------------------------------------------------------------------------------------------


def publish(modelstream: CommandLine, model: str, artifact: Path, *more: str) -> list[Any]:
    return modelstream.json("models", "publish", model, str(artifact), "--format", "onnx", *more)


def updates(modelstream: CommandLine) -> list[Any]:
    return [decode_update(record.value or b"") for record in modelstream.read(modelstream.topics.control)]


def test_a_small_model_is_published_inline(modelstream: CommandLine, artifact: Path) -> None:
    said = publish(modelstream, "iris:1", artifact, "--option", "fields=a,b")

    (record,) = modelstream.read(modelstream.topics.control)
    update = decode_update(record.value or b"")
    assert isinstance(update, PublishModel)
    assert (record.key, update.model, update.activate) == (b"iris", ModelId("iris", 1), True)
    assert update.artifact == Artifact(hashlib.sha256(b"a model").hexdigest(), inline=b"a model")
    assert update.options == {"fields": "a,b"}
    (row,) = said
    assert (row["model"], row["type"], row["changed"]) == ("iris:1", "publish_model", True)


def test_a_large_model_is_refused_with_what_to_do(modelstream: CommandLine, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(512 * 1024 + 1))

    line = modelstream.refused("models", "publish", "iris:1", str(large), "--format", "onnx")

    assert "--upload URI" in line
    assert updates(modelstream) == []


def test_a_large_model_is_uploaded_under_its_sha256(modelstream: CommandLine, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(512 * 1024 + 1))
    sha256 = hashlib.sha256(large.read_bytes()).hexdigest()
    folder = tmp_path / "models" / "iris"

    publish(modelstream, "iris:1", large, "--upload", folder.as_uri())

    (update,) = updates(modelstream)
    assert update.artifact == Artifact(sha256, uri=f"{folder.as_uri()}/{sha256}")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(sha256, large.read_bytes())]


@pytest.mark.parametrize(("allowed", "warned"), [(True, False), (False, True)])
def test_a_place_that_the_job_may_not_fetch_from_is_said(
    modelstream: CommandLine, artifact: Path, tmp_path: Path, allowed: bool, warned: bool
) -> None:
    folder = (tmp_path / "models").as_uri()
    allow = ["--set", f"artifacts.allow=[{folder}]"] if allowed else []

    done = modelstream(
        "models", "publish", "iris:1", str(artifact), "--format", "onnx", "--upload", folder, *allow
    )

    assert done.returncode == 0
    assert ("will not load it" in done.stderr) is warned


def test_checks_go_with_the_model(modelstream: CommandLine, artifact: Path, tmp_path: Path) -> None:
    checks = tmp_path / "checks.jsonl"
    checks.write_text('{"data": [1], "outputs": 2, "tolerance": 0.5}\n{"data": [2], "outputs": 3}\n')

    publish(modelstream, "iris:1", artifact, "--check", str(checks))

    (update,) = updates(modelstream)
    assert [(check.data, check.outputs, check.tolerance) for check in update.checks] == [
        ([1], 2, 0.5),
        ([2], 3, 0.0),
    ]


def test_the_same_again_changes_nothing_and_says_so(modelstream: CommandLine, artifact: Path) -> None:
    publish(modelstream, "iris:1", artifact)

    (said,) = publish(modelstream, "iris:1", artifact)

    assert said["changed"] is False
    assert len(modelstream.json("models", "list")) == 1


def test_the_same_again_is_sent_so_that_a_job_where_it_failed_tries_again(
    modelstream: CommandLine, artifact: Path
) -> None:
    publish(modelstream, "iris:1", artifact)

    publish(modelstream, "iris:1", artifact)

    assert len(updates(modelstream)) == 2


def test_the_catalog_is_listed(modelstream: CommandLine, artifact: Path) -> None:
    publish(modelstream, "iris:1", artifact)
    publish(modelstream, "iris:2", artifact, "--no-activate", "--option", "batch_axis=none")

    rows = modelstream.json("models", "list")

    assert [(row["model"], row["version"], row["active"]) for row in rows] == [
        ("iris", 1, True),
        ("iris", 2, False),
    ]
    assert rows[1]["options"] == {"batch_axis": "none"}
    assert rows[0]["artifact"] == {"sha256": hashlib.sha256(b"a model").hexdigest(), "inline_bytes": 7}


def test_versions_are_activated_and_retired(modelstream: CommandLine, artifact: Path) -> None:
    publish(modelstream, "iris:1", artifact)
    publish(modelstream, "iris:2", artifact, "--no-activate")

    modelstream.json("models", "activate", "iris:2")
    modelstream.json("models", "retire", "iris:1")

    assert [(row["version"], row["active"]) for row in modelstream.json("models", "list")] == [(2, True)]


def test_a_whole_model_is_retired(modelstream: CommandLine, artifact: Path) -> None:
    publish(modelstream, "iris:1", artifact)
    publish(modelstream, "rose:1", artifact)

    modelstream.json("models", "retire", "iris", "--all")

    assert [row["model"] for row in modelstream.json("models", "list")] == ["rose"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish", "iris:1", "OTHER", "--format", "onnx"], "another descriptor"),
        (["publish", "iris:1", "ARTIFACT", "--format", "onnx", "--option", "a=b"], "another descriptor"),
        (["activate", "iris:2"], "iris:2 can't be activated: it is not published"),
        (["retire", "iris:1"], "it is active"),
        (["retire", "iris:2"], "it is not published"),
        (["retire", "rose", "--all"], "rose can't be retired: it is not published"),
    ],
)
def test_what_the_catalog_would_refuse_is_not_sent(
    modelstream: CommandLine, artifact: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "other").write_bytes(b"another model")
    files = {"ARTIFACT": str(artifact), "OTHER": str(tmp_path / "other")}
    publish(modelstream, "iris:1", artifact)

    line = modelstream.refused("models", *(files.get(text, text) for text in arguments))

    assert said in line
    assert len(updates(modelstream)) == 1


# --- models status --------------------------------------------------------------------------------------


def status(version: int, subtask: int, phase: Any, parallelism: int = 2, name: str = "iris") -> Record:
    said = ModelStatus(
        "job", ModelId(name, version), phase, subtask, parallelism, 0, "0" * 64, "2026-11-23T10:00:00Z"
    )
    return Record(msgspec.json.encode(said), said.key())


def test_the_last_word_of_each_subtask_is_the_status(modelstream: CommandLine) -> None:
    said = [
        status(1, 0, "ready"),
        status(1, 1, "failed"),
        status(1, 0, "active"),
        Record(b"no status", b"other"),
        status(1, 0, "ready", name="rose"),
    ]
    modelstream.send(modelstream.topics.model_status, said)

    rows = modelstream.json("models", "status", "iris")

    assert [(row["subtask"], row["status"]) for row in rows] == [(0, "active"), (1, "failed")]


def test_statuses_are_watched_until_ctrl_c(modelstream: CommandLine) -> None:
    modelstream.send(modelstream.topics.model_status, [status(1, 0, "ready")])
    with subprocess.Popen(
        modelstream.arguments("models", "status", "--watch", "--json"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as watching:
        assert watching.stdout is not None
        try:
            first = json.loads(watching.stdout.readline())
            modelstream.send(modelstream.topics.model_status, [status(2, 0, "ready")])
            second = json.loads(watching.stdout.readline())
            watching.send_signal(signal.SIGINT)
            _, errors = watching.communicate(timeout=60)
        finally:
            watching.kill()

    assert [first["model"]["version"], second["model"]["version"]] == [1, 2]
    assert (watching.returncode, errors) == (130, b"")


# --- events ---------------------------------------------------------------------------------------------


def test_events_are_sent_as_they_are_with_key_and_time(modelstream: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = [
        b'{"id": 1, "data": {"customer": "c-1"}, "at": %d}' % TIME_MS,
        b'{"id": 2,  "data": {"customer": 7}, "at": "%s"}' % RFC_3339.encode(),
    ]
    file.write_bytes(b"\n\n".join(lines) + b"\n")

    done = modelstream("events", "send", str(file), "--key", "data.customer", "--timestamp", "at")

    assert (done.returncode, done.stdout) == (0, "")
    assert f"sent 2 events to {modelstream.topics.events}" in done.stderr
    assert [(one.value, one.key, one.timestamp) for one in modelstream.read(modelstream.topics.events)] == [
        (lines[0], b"c-1", TIME_MS),
        (lines[1], b"7", TIME_MS),
    ]


def test_events_come_from_standard_input_without_a_key(modelstream: CommandLine) -> None:
    assert modelstream("events", "send", "-", stdin=b'{"id": 1}').returncode == 0

    assert [(one.value, one.key) for one in modelstream.read(modelstream.topics.events)] == [
        (b'{"id": 1}', None)
    ]


def test_a_line_that_is_not_json_is_named_and_those_before_it_were_sent(modelstream: CommandLine) -> None:
    line = modelstream.refused("events", "send", "-", stdin=b'{"id": 1}\n\n{"id": 2\n{"id": 3}\n')

    assert "line 3" in line
    assert "1 events before it were sent" in line
    assert [one.value for one in modelstream.read(modelstream.topics.events)] == [b'{"id": 1}']


def predict(number: int, model: str = "iris") -> Record:
    made = Prediction(number, ServedModel(model, 1, "0" * 64), {"label": "setosa"})
    return Record(msgspec.json.encode(made), b"k", (("ms-source", b"events/0/%d" % number),))


def test_predictions_of_one_model_are_read_from_the_beginning(modelstream: CommandLine) -> None:
    made = [predict(1), Record(b"no prediction"), predict(2, "rose"), predict(3), predict(4)]
    modelstream.send(modelstream.topics.predictions, made)

    rows = modelstream.json("events", "tail", "--from-beginning", "--limit", "2", "--model", "iris")

    assert [(row["id"], row["key"], row["source"]) for row in rows] == [
        (1, "k", "events/0/1"),
        (3, "k", "events/0/3"),
    ]


def test_what_an_open_transaction_wrote_is_not_shown(modelstream: CommandLine) -> None:
    with Client({"bootstrap_servers": modelstream.bootstrap}) as client:
        producer = client.new_producer(transactional_id=modelstream.job)
        try:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send(modelstream.topics.dead_letters, b"open").get(timeout=30)

            assert modelstream.json("dead-letters", "list") == []
        finally:
            producer.abort_transaction()
            producer.close()


# --- dead letters ---------------------------------------------------------------------------------------


def letter(
    value: bytes | None, stage: str, topic: str, *more: tuple[str, bytes], model: str = "iris"
) -> Record:
    return Record(
        value,
        b"key",
        (
            ("trace", b"1"),
            ("ms-source", f"{topic}/0/7".encode()),
            ("ms-timestamp", b"%d" % TIME_MS),
            ("ms-stage", stage.encode()),
            ("ms-error", b"SomeError"),
            ("ms-message", b"why"),
            ("ms-model", model.encode()),
            ("ms-at", b"2026-11-23T10:00:00.000+00:00"),
            *more,
        ),
    )


@pytest.fixture
def letters(modelstream: CommandLine) -> list[Record]:
    """Dead letters of several stages, on their topic; one was cut, one came from the control topic."""
    events = modelstream.topics.events
    made = [
        letter(b"first", "score", events),
        letter(b"second", "decode", events),
        letter(None, "decode", events),
        letter(b"cut", "score", events, ("ms-truncated", b"5000")),
        letter(b"update", "update", modelstream.topics.control),
        letter(b"last", "score", events, model="rose:2"),
    ]
    modelstream.send(modelstream.topics.dead_letters, made)
    return made


def values(modelstream: CommandLine) -> list[bytes | None]:
    return [record.value for record in modelstream.read(modelstream.topics.events)]


def test_dead_letters_are_listed_with_why(modelstream: CommandLine, letters: list[Record]) -> None:
    rows = modelstream.json("dead-letters", "list", "--stage", "score")

    assert [(row["model"], row["bytes"], row["cut"]) for row in rows] == [
        ("iris", 5, False),
        ("iris", 3, True),
        ("rose:2", 4, False),
    ]
    assert (rows[0]["error"], rows[0]["message"]) == ("SomeError", "why")
    assert rows[0]["source"] == f"{modelstream.topics.events}/0/7"


def test_the_newest_dead_letters_are_listed(modelstream: CommandLine, letters: list[Record]) -> None:
    assert [row["offset"] for row in modelstream.json("dead-letters", "list", "--limit", "2")] == [4, 5]


def test_replay_sends_the_records_that_were_to_where_they_came_from(
    modelstream: CommandLine, letters: list[Record]
) -> None:
    done = modelstream("dead-letters", "replay")

    assert (done.returncode, done.stdout) == (0, "")
    sent = modelstream.read(modelstream.topics.events)
    assert [record.value for record in sent] == [b"first", b"second", None, b"last"]
    assert {(record.key, record.headers, record.timestamp) for record in sent} == {
        (b"key", (("trace", b"1"),), TIME_MS)
    }
    assert [record.value for record in modelstream.read(modelstream.topics.control)] == [b"update"]


def test_a_dead_letter_that_was_cut_is_not_sent_and_said(
    modelstream: CommandLine, letters: list[Record]
) -> None:
    done = modelstream("dead-letters", "replay")

    assert done.stderr.splitlines() == [
        "replayed 5 dead letters",
        "not replayed: the dead letter at 0/3 was cut",
    ]


def test_replay_sends_once_across_runs_and_stages(modelstream: CommandLine, letters: list[Record]) -> None:
    modelstream("dead-letters", "replay", "--stage", "decode")
    assert values(modelstream) == [b"second", None]

    modelstream("dead-letters", "replay", "--model", "rose")
    assert values(modelstream) == [b"second", None, b"last"]

    modelstream("dead-letters", "replay", "--limit", "1")
    modelstream("dead-letters", "replay")
    modelstream("dead-letters", "replay")
    assert values(modelstream) == [b"second", None, b"last", b"first"]

    modelstream.send(modelstream.topics.dead_letters, [letter(b"new", "score", modelstream.topics.events)])
    modelstream("dead-letters", "replay")
    assert values(modelstream) == [b"second", None, b"last", b"first", b"new"]


def test_replay_again_sends_what_was_sent(modelstream: CommandLine, letters: list[Record]) -> None:
    modelstream("dead-letters", "replay", "--stage", "decode")

    modelstream("dead-letters", "replay", "--stage", "decode", "--again")

    assert values(modelstream) == [b"second", None] * 2


def test_a_dry_run_sends_and_remembers_nothing(modelstream: CommandLine, letters: list[Record]) -> None:
    rows = modelstream.json("dead-letters", "replay", "--dry-run")

    assert [row["sent"] for row in rows] == [False] * 6
    assert values(modelstream) == []
    modelstream("dead-letters", "replay", "--stage", "decode")
    assert values(modelstream) == [b"second", None]


def test_replay_to_a_topic_that_is_gone_sends_nothing(modelstream: CommandLine) -> None:
    made = [letter(b"a", "score", modelstream.topics.events), letter(b"b", "score", "gone")]
    modelstream.send(modelstream.topics.dead_letters, made)

    assert "gone: no such topic" in modelstream.refused("dead-letters", "replay")
    assert values(modelstream) == []


# --- Kafka that is not as it should be ------------------------------------------------------------------

EVERY_COMMAND = [
    ["models", "publish", "iris:1", "ARTIFACT", "--format", "onnx"],
    ["models", "activate", "iris:1"],
    ["models", "retire", "iris:1"],
    ["models", "list"],
    ["models", "status"],
    ["models", "status", "--watch"],
    ["events", "send", "ARTIFACT"],
    ["events", "tail"],
    ["dead-letters", "list"],
    ["dead-letters", "replay"],
]


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=lambda arguments: " ".join(arguments[:2]))
def test_a_missing_topic_is_named_in_one_line(
    nowhere: CommandLine, artifact: Path, arguments: list[str]
) -> None:
    line = nowhere.refused(*(str(artifact) if text == "ARTIFACT" else text for text in arguments))

    assert "nowhere-" in line
    assert "no such topic" in line


@pytest.mark.parametrize("arguments", [*EVERY_COMMAND, ["topics", "create"]], ids=" ".join)
def test_a_broker_that_does_not_answer_is_named_in_one_line(artifact: Path, arguments: list[str]) -> None:
    given = [str(artifact) if text == "ARTIFACT" else text for text in arguments]

    with held_port() as port:
        command = CommandLine(f"127.0.0.1:{port}", TopicsConfig(), "job")
        line = command.refused(*given, "--set", "kafka.command_line.bootstrap_timeout_ms=300")

    assert line == f"modelstream: Kafka at 127.0.0.1:{port} did not answer within 0.3 s"


def test_a_reader_that_goes_away_is_no_error(modelstream: CommandLine) -> None:
    modelstream.send(modelstream.topics.predictions, [predict(number) for number in range(5000)])
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        modelstream.arguments("events", "tail", "--from-beginning"),
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=240,
        check=False,
    )

    os.close(writing)
    assert done.stderr == b""
