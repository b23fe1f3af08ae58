"""`modelstream models publish` of versions that are scored beside the stream."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import models
from cli.changes import make_change
from cli.control import warning_of_place
from cli.reports import report
from jobs.config import ArtifactsConfig, JobConfig
from tests.unit.test_cli_changes import CONFIG, ScriptedJob, nobody
from udfs.errors import ModelstreamError
from udfs.formats import Format
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId
from udfs.remotes import REMOTES

URL = "grpc://127.0.0.1:8081"
REMOTE = ["fraud:3", "--format", "open-inference", "--option", f"url={URL}", "--option", "model=fraud"]
REST = ["fraud:3", "--format", "rest", "--option", "url=http://127.0.0.1:1"]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ScriptedJob:
    """A job that takes what the command sends."""
    made = ScriptedJob([], nobody)
    monkeypatch.setattr(models, "Control", lambda config, key: made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(b"model")
    return path


def publish(*arguments: str | Path) -> str:
    """Publish; returns what was said.

    Raises:
        ModelstreamError: the command failed.
    """
    done = CliRunner().invoke(models.app, ["publish", *map(str, arguments)])
    if isinstance(done.exception, ModelstreamError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stderr


def sent(job: ScriptedJob) -> dict[str, Any]:
    """The update that was sent, as it is written."""
    (update,) = job.sent
    written: dict[str, Any] = json.loads(encode_update(update))
    return written


def test_a_remote_is_published_without_a_file(job: ScriptedJob) -> None:
    said = publish(*REMOTE, "--option", "version=3")

    assert sent(job) | {"occurred_on": None} == {
        "type": "publish_model",
        "model": {"name": "fraud", "version": 3},
        "format": "open-inference",
        "artifact": None,
        "activate": True,
        "options": {"url": URL, "model": "fraud", "version": "3"},
        "checks": [],
        "occurred_on": None,
        "effective_from": None,
    }
    assert f"published fraud:3 and activated it: open-inference, {URL}" in said


def test_an_option_that_is_a_json_object_is_sent_as_it_was_written(job: ScriptedJob) -> None:
    publish(*REST, "--option", 'headers={"x-team": "a=b"}')

    assert sent(job)["options"]["headers"] == '{"x-team": "a=b"}'


def test_what_a_server_scores_may_be_said_to_be_offloaded(job: ScriptedJob) -> None:
    publish(*REMOTE, "--execution", "offload")

    assert "execution" not in sent(job)


def test_a_local_model_is_offloaded_where_that_is_asked_for(job: ScriptedJob, file: Path) -> None:
    said = publish("fraud:2", file, "--format", "onnx", "--execution", "offload")

    assert sent(job)["execution"] == "offload"
    assert "published fraud:2 and activated it: onnx, offloaded, artifact inline" in said


@pytest.mark.parametrize("more", [(), ("--execution", "inline")])
def test_a_local_model_is_scored_inline_otherwise(
    job: ScriptedJob, file: Path, more: tuple[str, ...]
) -> None:
    publish("fraud:2", file, "--format", "onnx", *more)

    assert "execution" not in sent(job)


WRONG: dict[str, tuple[list[str], str]] = {
    "a file of a remote": (
        ["fraud:3", "FILE", "--format", "rest", "--option", "url=http://a"],
        "format rest has no artifact: the server has the model; leave it out",
    ),
    "an upload of a remote": (
        [*REMOTE, "--upload", "s3://models"],
        "s3://models: format open-inference has no",
    ),
    "a place of a remote": (
        [*REMOTE, "--uri", "s3://models/m"],
        "s3://models/m: format open-inference has no",
    ),
    "a remote without a url": (["fraud:3", "--format", "mlflow"], "format mlflow needs --option url=..."),
    "a url that is none": (
        ["fraud:3", "--format", "rest", "--option", "url=127.0.0.1:80"],
        "127.0.0.1:80: expected a URI of",
    ),
    "a url of another kind": (
        ["fraud:3", "--format", "rest", "--option", "url=s3://a"],
        "s3://a: expected a URI of",
    ),
    "an inline remote": ([*REMOTE, "--execution", "inline"], "--execution inline: a server scores models of"),
    "a mistyped option": (
        [*REST, "--option", "repeatible=true"],
        "unknown option 'repeatible' (did you mean 'repeatable'?); known: batch, ",
    ),
    "a mistyped option of offloading": (
        [*REST, "--option", "in_flihgt=4"],
        "(did you mean 'in_flight'?); known: batch, ",
    ),
    "an option that is of nobody": (
        [*REST, "--option", "colour=red"],
        "unknown option 'colour'; known: batch, body, credentials, error, headers, inputs, method, output, "
        "repeatable, url; of offloading: attempts, deadline, fallback, in_flight, max_batch, ",
    ),
    "a protocol's option of a wrong type": (
        [*REST, "--option", "repeatable=perhaps"],
        "option repeatable: expected true or false, got 'perhaps'",
    ),
    "an option of offloading of a wrong type": (
        [*REST, "--option", "deadline=soon"],
        "option deadline: expected seconds",
    ),
    "an option that is missing": (
        ["fraud:3", "--format", "open-inference", "--option", f"url={URL}"],
        "option model is missing",
    ),
    "workers of a server": ([*REST, "--option", "workers=2"], "option workers: a server scores fraud:3; the"),
    "requests in flight to worker processes": (
        ["fraud:3", "FILE", "--format", "onnx", "--execution", "offload", "--option", "in_flight=4"],
        "the option workers says how many there are",
    ),
    "a wrong number of workers": (
        ["fraud:3", "FILE", "--format", "onnx", "--execution", "offload", "--option", "workers=no"],
        "option workers: expected a number",
    ),
    "workers of a version that is scored inline": (
        ["fraud:3", "FILE", "--format", "onnx", "--option", "workers=4"],
        "option workers: only a version that is offloaded has it: say --execution offload",
    ),
    "a fallback of a version that is said to be scored inline": (
        [*["fraud:3", "FILE", "--format", "pfa", "--execution", "inline"], "--option", "fallback=iris:1"],
        "option fallback: only a version that is offloaded has it: say --execution offload",
    ),
    "no file": (["fraud:3", "--format", "onnx"], "format onnx needs ARTIFACT, the model's file"),
    "no such format": (["fraud:3", "--format", "soap"], "unknown format 'soap'; there are onnx, "),
}


@pytest.mark.parametrize(("arguments", "line"), WRONG.values(), ids=list(WRONG))
def test_what_can_not_be_published_is_told_and_not_sent(
    job: ScriptedJob, file: Path, arguments: list[str], line: str
) -> None:
    with pytest.raises(ModelstreamError) as error:
        publish(*(str(file) if text == "FILE" else text for text in arguments))

    assert line in str(error.value)
    assert job.sent == []


def test_a_file_is_not_copied_where_its_options_are_refused(
    job: ScriptedJob, file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    offloaded = [
        "fraud:3",
        str(file),
        "--format",
        "onnx",
        "--execution",
        "offload",
        "--upload",
        f"file:{folder}",
    ]

    with pytest.raises(ModelstreamError, match="option in_flight"):
        publish(*offloaded, "--option", "in_flight=4")
    assert not folder.exists()

    publish(*offloaded)
    assert [*folder.iterdir()] != []


def test_credentials_need_not_be_there_where_a_version_is_published_from(job: ScriptedJob) -> None:
    publish(*REST, "--option", "credentials=bank")

    assert sent(job)["options"]["credentials"] == "bank"


def test_where_a_protocol_is_not_installed_the_job_alone_checks_its_options(
    job: ScriptedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REMOTES, "rest", Format("nowhere", "rest", ("nowhere",), ()))

    assert "its options are checked by the job alone" in publish(*REST, "--option", "colour=red")
    assert sent(job)["options"]["colour"] == "red"


@pytest.mark.parametrize(
    "option", ["token=s3cr3t", "Authorization=Bearer s3cr3t", "url=https://me:s3cr3t@models.example"]
)
def test_a_secret_is_refused_before_anybody_could_read_it(job: ScriptedJob, option: str) -> None:
    url = [] if option.startswith("url") else ["--option", f"url={URL}"]

    with pytest.raises(ModelstreamError) as error:
        publish("fraud:3", "--format", "rest", *url, "--option", option)

    assert "s3cr3t" not in str(error.value)
    assert job.sent == []


def test_another_execution_is_told_with_those_that_there_are(file: Path) -> None:
    arguments = ["publish", "fraud:3", str(file), "--format", "onnx", "--execution", "async"]

    done = CliRunner().invoke(models.app, arguments)

    assert done.exit_code == 2
    assert "'inline', 'offload'" in done.stderr


def remote(url: str = URL) -> PublishModel:
    return PublishModel(ModelId("fraud", 3), "open-inference", options={"url": url})


@pytest.mark.parametrize(
    ("url", "warned"), [(URL, False), ("grpc://127.0.0.1:8082", True), ("http://127.0.0.1:8081", True)]
)
def test_who_publishes_a_server_that_may_not_be_asked_is_warned(url: str, warned: bool) -> None:
    config = JobConfig(artifacts=ArtifactsConfig(allow=(URL,)))

    assert (warning_of_place(config, remote(url)) is not None) is warned


def test_an_inline_artifact_needs_no_allowed_place() -> None:
    local = PublishModel(ModelId("fraud", 3), "onnx", Artifact("0" * 64, inline=b""), options={"url": URL})

    assert warning_of_place(JobConfig(), local) is None


def test_a_remote_that_is_published_again_is_so_already(capsys: pytest.CaptureFixture[str]) -> None:
    change = make_change(ScriptedJob([remote()], nobody), remote())

    report([change], CONFIG, as_json=False)

    assert not change.changed
    assert "fraud:3 is so already" in capsys.readouterr().err
