"""The commands of models as programs: what they write, what Kafka then holds, and what they refuse."""

import hashlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.client import Record
from devtools import ROOT
from tests.integration.command_line import CommandLine
from udfs.models.updates import Artifact, PublishModel, decode_update
from udfs.records import ModelId, ModelStatus


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
