"""A real job is changed while events come; a replay then says what the live run said."""

import json
import subprocess
from bisect import bisect_left
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.processes import kill_session, start
from devtools.topics import create_topic, read_all, topics_named
from examples.iris import train
from jobs.config import TopicsConfig
from tests.integration.command_line import CommandLine
from tests.integration.records import FIELDS
from tests.integration.scoring_job import create_roomy_topics, job_command
from tests.integration.streams import Stream
from tests.waiting import wait_until

SETTINGS = {"checkpoints.interval": "300ms", "missing_model.hold": "1min"}
AHEAD_MS = 3000
"""From a rollback to the event time that it names."""
LATE_EVENTS = 100
"""Events that a last activation comes too late for."""


@dataclass(frozen=True)
class Lived:
    """What a live run and replays of the same topics wrote, and what the commands said."""

    parallelism: int
    live: list[Record]
    replayed: dict[int, list[Record]]
    """By parallelism."""
    switched: subprocess.CompletedProcess[str]
    rolled_back: subprocess.CompletedProcess[str]
    broken: subprocess.CompletedProcess[str]
    too_late: subprocess.CompletedProcess[str]
    statuses: list[dict[str, Any]]
    late: list[dict[str, Any]]
    """The statuses of the activation that came too late."""


def predictions(broker: Broker, topics: TopicsConfig) -> list[Record]:
    return sorted(
        read_all(broker.bootstrap, topics.predictions), key=lambda one: json.loads(one.value or b"")["id"]
    )


@pytest.fixture(scope="module", params=[1, 2], ids=["one subtask", "two subtasks"])
def lived(request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    parallelism: int = request.param
    folder = tmp_path_factory.mktemp("live")
    for version, fit in ((1, train.fit_logistic_regression), (2, train.fit_discriminant_analysis)):
        train.write_onnx(fit(), folder / f"iris-{version}.onnx")
    (folder / "iris-3.onnx").write_bytes(b"no model")
    job = f"live-{parallelism}"
    topics = topics_named(job)
    create_roomy_topics(broker.bootstrap, topics)
    modelstream = CommandLine(broker.bootstrap, topics, job)
    stream = Stream(broker.bootstrap, topics.events)

    def publish(version: int, *more: str) -> subprocess.CompletedProcess[str]:
        file = str(folder / f"iris-{version}.onnx")
        of = ("--format", "onnx", "--option", f"fields={FIELDS}")
        return modelstream("models", "publish", f"iris:{version}", file, *of, *more)

    def wait_for_version(version: int, predictions_of_it: int = 1) -> None:
        def are_there() -> bool:
            last = read_all(broker.bootstrap, topics.predictions)[-predictions_of_it:]
            return all(b'"version":%d' % version in (one.value or b"") for one in last)

        wait_until(are_there, what=f"predictions of version {version}")

    settings = {**SETTINGS, "name": job, "parallelism": str(parallelism)}
    process = start(
        job_command(broker.bootstrap, topics, folder, "embedded", settings), folder / "log", folder=ROOT
    )
    try:
        first = publish(1, "--effective-from", "1", "--wait", "--timeout", "200s")
        assert first.returncode == 0, first.stdout + first.stderr
        with stream.running():
            wait_until(lambda: read_all(broker.bootstrap, topics.predictions), what="the first predictions")
            with stream.still():
                ready = ("--activate-when", "ready-everywhere", "--margin", "3s", "--timeout", "200s")
                switched = publish(2, *ready)
            said = f"{switched.stdout}{switched.stderr}{(folder / 'log').read_text()[-2000:]}"
            assert switched.returncode == 0, said
            wait_for_version(2)
            with stream.still() as now:
                back = ("--effective-from", str(now + AHEAD_MS), "--wait", "--timeout", "200s")
                rolled_back = modelstream("models", "rollback", "iris", *back)
            broken = publish(3, "--activate-when", "ready-everywhere", "--timeout", "200s")
            wait_for_version(1, 2 * LATE_EVENTS)  # by key, not by time: with two subtasks they mix
        wait_until(lambda: len(predictions(broker, topics)) == stream.sent, what="every prediction")
        live = predictions(broker, topics)
        statuses = wait_until(
            lambda: _counted(modelstream, 2 * parallelism), what="the counts of all that is active"
        )
        replayed = {one: _replay(broker, topics, folder, live, one) for one in (1, 2)}
        passed = str(sorted(one.timestamp or 0 for one in live)[-LATE_EVENTS])
        too_late = modelstream(
            "models", "activate", "iris:2", "--effective-from", passed, "--wait", "--timeout", "200s"
        )
        late = [one for one in modelstream.json("models", "status") if one["status"] == "late"]
    finally:
        kill_session(process)
    return Lived(parallelism, live, replayed, switched, rolled_back, broken, too_late, statuses, late)


def _counted(modelstream: CommandLine, count: int) -> list[dict[str, Any]]:
    """The statuses of what is active, once all are there and have counts; else nothing."""
    active = [one for one in modelstream.json("models", "status") if one["status"] == "active"]
    return active if len(active) == count and all(one["scored"] for one in active) else []


def _replay(
    broker: Broker, topics: TopicsConfig, folder: Path, live: list[Record], parallelism: int
) -> list[Record]:
    """All at once, as fast as it goes."""
    name = f"{topics.events}-again-{parallelism}"
    outputs = topics_named(name)
    names = {"predictions": outputs.predictions, "dead_letters": outputs.dead_letters}
    for topic in names.values():
        create_topic(broker.bootstrap, topic)
    again = folder / f"again-{parallelism}"
    again.mkdir()
    settings = {"name": name, "parallelism": str(parallelism), "events.bounded": "true"}
    settings |= {f"topics.{field}": topic for field, topic in names.items()}
    command = job_command(broker.bootstrap, topics, again, "embedded", settings)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    wait_until(lambda: len(predictions(broker, outputs)) >= len(live), what="the replayed predictions")
    return predictions(broker, outputs)


def everything_of(record: Record) -> tuple[object, ...]:
    return record.key, record.value, record.headers, record.timestamp


def test_the_command_says_from_which_event_time_on_every_subtask_switches(lived: Lived) -> None:
    said = lived.switched.stdout + lived.switched.stderr

    assert f"iris:2 is ready in {subtasks(lived)}" in said
    assert "activated iris:2, from the event time" in said
    assert "late" not in said


def test_a_rollback_goes_back_to_the_version_before(lived: Lived) -> None:
    said = lived.rolled_back.stdout + lived.rolled_back.stderr

    assert lived.rolled_back.returncode == 0, said
    assert f"iris:1 is active in {subtasks(lived)}" in said
    assert "late" not in said


def test_every_subtask_switches_at_the_same_event_times(lived: Lived) -> None:
    scored = sorted(
        (one.timestamp or 0, json.loads(one.value or b"")["model"]["version"]) for one in lived.live
    )

    assert [version for version, _ in groupby(version for _, version in scored)] == [1, 2, 1]


def test_a_version_that_fails_anywhere_changes_nothing(lived: Lived) -> None:
    said = lived.broken.stdout + lived.broken.stderr

    assert lived.broken.returncode == 1
    assert "iris:3 failed in subtask 1" in said
    assert "not an ONNX model" in said
    assert "iris:3 was not activated: nothing has changed" in said


def test_status_says_what_each_subtask_scored(lived: Lived) -> None:
    said = sorted((one["model"]["version"], one["subtask"]) for one in lived.statuses)

    assert said == [(version, subtask) for version in (1, 2) for subtask in range(lived.parallelism)]


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_replay_gives_what_the_live_run_gave(lived: Lived, parallelism: int) -> None:
    assert [*map(everything_of, lived.replayed[parallelism])] == [*map(everything_of, lived.live)]


def test_an_activation_that_comes_too_late_says_how_many_events_it_missed(lived: Lived) -> None:
    times = sorted(one.timestamp or 0 for one in lived.live)
    missed = len(times) - bisect_left(times, lived.late[0]["effective_from"])

    assert "iris:2 was late in subtask 1" in lived.too_late.stdout + lived.too_late.stderr
    assert sum(one["late_events"] for one in lived.late) == missed


def subtasks(lived: Lived) -> str:
    return f"all {lived.parallelism} subtasks" if lived.parallelism > 1 else "the subtask"
