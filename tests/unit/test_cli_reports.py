"""What the commands say of changes, and the exit status that goes with it."""

import re

import msgspec
import pytest

from cli.changes import Change, make_change
from cli.control import warning_of_place
from cli.reports import EXIT_STATUS, describe_change, progress, report
from jobs.config import ArtifactsConfig, JobConfig
from tests.unit.test_cli_changes import CONFIG, ScriptedJob, by_all, iris, nobody, said
from udfs.models.updates import Artifact, ModelUpdate, PublishModel
from udfs.records import ModelId, ModelStatus


def lines_of(capsys: pytest.CaptureFixture[str], change: Change) -> tuple[int, str]:
    status = report([change], CONFIG, as_json=False)
    return status, capsys.readouterr().err


def change_with(*words: ModelStatus, update: ModelUpdate | None = None) -> Change:
    return make_change(ScriptedJob([], lambda update: words), update or iris(1), seconds=60)


def test_a_change_everywhere_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = lines_of(capsys, change_with(*by_all(1, "active")))

    assert status == 0
    assert "published iris:1 and activated it: onnx, inline" in text
    assert "iris:1 is active in all 2 subtasks of job" in text


def test_an_artifact_that_was_moved_is_not_said_to_activate_its_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = ScriptedJob([iris(1), iris(2)], nobody)
    moved = Artifact(sha256="1" * 64, uri="s3://models/iris")

    _, text = lines_of(capsys, make_change(job, msgspec.structs.replace(iris(1), artifact=moved)))

    assert "published iris:1: onnx, s3://models/iris" in text
    assert "it is not active: see `modelstream models activate`" in text


def test_a_failure_is_status_1_with_subtask_and_cause(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = lines_of(capsys, change_with(said(1, "failed", subtask=1, cause="not a model")))

    assert status == 1
    assert "iris:1 failed in subtask 2 of 2: not a model" in text


def failed_everywhere(*before: ModelStatus) -> Change:
    job = ScriptedJob([iris(1)], lambda update: by_all(2, "failed", cause="not a model"), before)
    return make_change(job, iris(2), seconds=60)


def test_a_failure_says_what_still_serves(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = lines_of(capsys, failed_everywhere(*by_all(1, "active")))

    assert text.endswith("iris:2 failed in subtask 2 of 2: not a model\niris:1 still serves\n")


def test_a_failure_says_that_nothing_serves(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = lines_of(capsys, failed_everywhere())

    assert text.endswith("not a model\nno version of iris serves\n")


def test_a_failure_in_some_subtasks_says_what_serves_in_each(capsys: pytest.CaptureFixture[str]) -> None:
    words = [said(2, "active", parallelism=3), *(said(2, "failed", subtask=n, parallelism=3) for n in (1, 2))]
    before = [said(1, "active", subtask=1, parallelism=3), said(1, "closed", subtask=2, parallelism=3)]
    job = ScriptedJob([iris(1)], lambda update: words, before)

    _, text = lines_of(capsys, make_change(job, iris(2), seconds=60))

    assert "\niris:2 serves in subtask 1 of 3\n" in text
    assert "\niris:1 still serves in subtask 2 of 3\n" in text
    assert "\nno version of iris serves in subtask 3 of 3\n" in text


def test_a_failure_says_in_which_subtasks_what_serves_may_still_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [said(2, "failed", cause="not a model"), said(2, "loading", subtask=1)]
    job = ScriptedJob([iris(1)], lambda update: words, by_all(1, "active"))

    _, text = lines_of(capsys, make_change(job, iris(2), seconds=60))

    assert text.endswith(
        "iris:1 still serves\nsubtask 2 of 2 may still change: no last word from there yet\n"
    )


def test_programs_get_what_serves_after_a_failure() -> None:
    row = describe_change(failed_everywhere(said(1, "active")))

    assert row["serving"] == [{"model": "iris:1", "subtasks": [0]}, {"model": None, "subtasks": [1]}]


def test_what_serves_is_not_said_where_nothing_failed(capsys: pytest.CaptureFixture[str]) -> None:
    change = change_with(*by_all(1, "active"))

    assert "serves" not in lines_of(capsys, change)[1]
    assert describe_change(change)["serving"] == []


def test_silence_is_another_status_with_what_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = lines_of(capsys, change_with())

    assert status not in (0, 1)
    assert "no subtask of job said anything in time: is a job of this name running" in text
    assert "dead-letters list --stage update" in text


def test_who_is_slow_is_said_with_its_last_word(capsys: pytest.CaptureFixture[str]) -> None:
    _, text = lines_of(capsys, change_with(said(1, "active"), said(1, "loading", subtask=1)))

    assert "subtask 2 of 2 did not say it of iris:1 in time: it last said loading" in text


def test_late_events_are_said_with_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    late = said(1, "late", subtask=1, effective_from=7000, late_events=4)

    status, text = lines_of(capsys, change_with(*by_all(1, "active"), late))

    assert status == 0
    assert "iris:1 was late in subtask 2 of 2: 4 events at or past 1970-01-01T00:00:07.000Z" in text


def test_programs_get_every_word_with_all_fields() -> None:
    row = describe_change(change_with(*by_all(1, "active")))

    assert (row["outcome"], row["changed"], row["silent"]) == ("everywhere", True, [])
    subtasks = row["subtasks"]
    assert isinstance(subtasks, list)
    assert [set(one) == set(ModelStatus.__struct_fields__) for one in subtasks] == [True, True]


def test_a_terminal_shows_who_has_said_what(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    job = ScriptedJob([], lambda update: [said(1, "loading", subtask=1, cause="fetching again")])

    with progress() as show:
        make_change(job, iris(1), seconds=60, show=show)

    shown = capsys.readouterr().err
    assert re.search(r"iris:1 +1 of 2 +-", shown)
    assert re.search(r"iris:1 +2 of 2 +loading +fetching again", shown)


def test_what_is_no_terminal_shows_nothing_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as show:
        assert show is None

    assert capsys.readouterr().err == ""


def test_every_outcome_has_an_exit_status() -> None:
    assert EXIT_STATUS["everywhere"] == EXIT_STATUS[None] == 0
    assert 0 < EXIT_STATUS["failed"] != EXIT_STATUS["timeout"] > 0


@pytest.mark.parametrize(("allow", "warned"), [((), True), (("https://models.example/",), False)])
def test_a_place_that_the_configuration_does_not_allow_is_said(allow: tuple[str, ...], warned: bool) -> None:
    update = PublishModel(
        ModelId("iris", 1), "onnx", Artifact(sha256="1" * 64, uri="https://models.example/iris.onnx")
    )
    config = JobConfig(artifacts=ArtifactsConfig(allow=allow))

    assert (warning_of_place(config, update) is not None) is warned
