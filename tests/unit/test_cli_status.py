"""`modelstream models status`, where several jobs write to the same topics."""

import msgspec
import pytest
from typer.testing import CliRunner, Result

from cli import model_lists, models
from tests.unit.test_cli_changes import ScriptedJob, nobody
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId, ModelStatus


def of_two_jobs() -> list[ModelStatus]:
    words = (("iris:1", "job"), ("iris:1", "other"), ("rose:1", "other"))
    return [ModelStatus(job, ModelId.parse(of), "ready", 0, 1, 0, "0" * 64, "now") for of, job in words]


def show(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Have statuses of two jobs shown, of whose models iris:1 and rose:1 are published."""
    published = [
        PublishModel(ModelId(name, 1), "onnx", Artifact("0" * 64, inline=b"")) for name in ("iris", "rose")
    ]
    topics = ScriptedJob(published, nobody, of_two_jobs())
    monkeypatch.setattr(model_lists, "Control", lambda config: topics)
    return CliRunner().invoke(models.app, ["status", "--set", "name=job", *arguments])


def test_statuses_of_other_jobs_are_shown_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(monkeypatch).stdout.splitlines()

    assert [line.split()[:2] for line in lines] == [
        ["job", "model"],
        ["job", "iris:1"],
        ["other", "iris:1"],
        ["other", "rose:1"],
    ]


@pytest.mark.parametrize(
    ("job", "shown"),
    [("job", [["iris:1", "ready"], ["rose:1", "-"]]), ("other", [["iris:1", "ready"], ["rose:1", "ready"]])],
)
def test_one_job_is_shown_without_its_name(
    monkeypatch: pytest.MonkeyPatch, job: str, shown: list[list[str]]
) -> None:
    head, *lines = show(monkeypatch, "--job", job).stdout.splitlines()

    assert head.split()[:2] == ["model", "status"]
    assert [line.split()[:2] for line in lines] == shown


def test_programs_get_the_job_that_they_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(monkeypatch, "iris", "--job", "other", "--json").stdout.splitlines()

    assert [msgspec.json.decode(line)["job"] for line in lines] == ["other"]


def test_a_job_that_said_nothing_is_told_with_those_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    done = show(monkeypatch, "--job", "jib")

    assert done.stderr == "no job of the name jib has said anything; there are words of job, other\n"
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [["iris:1", "-"], ["rose:1", "-"]]
