"""A model moves from inline to worker processes to a real server while a real job scores; others go on."""

import json
import subprocess
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import pytest

from connectors.client import Record
from devtools import ROOT, model_servers
from devtools.broker import Broker
from devtools.processes import kill_session, start
from devtools.topics import read_all, topics_named
from examples.iris import train
from tests.integration.command_line import CommandLine
from tests.integration.records import FIELDS
from tests.integration.scoring_job import create_roomy_topics, job_command
from tests.integration.streams import KEYS, Stream
from tests.waiting import wait_until

PLACES = {
    "inline": ("onnx",),
    "offloaded": ("onnx", "--execution", "offload"),
    "remote": ("open-inference",),
}
"""Where the versions of `moving` are scored, in their order, and what says so."""


@dataclass(frozen=True)
class Moved:
    """What a run wrote, and what the commands said."""

    sent: int
    predictions: list[Record]
    dead_letters: list[Record]
    published: dict[str, subprocess.CompletedProcess[str]]
    """By place."""
    unreachable: subprocess.CompletedProcess[str]
    """The publication of a server that is not there."""
    statuses: list[dict[str, Any]]

    def said(self) -> list[dict[str, Any]]:
        """The predictions' values."""
        return [json.loads(record.value or b"") for record in self.predictions]


@pytest.fixture(scope="module", params=["embedded", "process"])
def moved(request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    folder = tmp_path_factory.mktemp("offload")
    train.write_onnx(train.fit_logistic_regression(), folder / "iris.onnx")
    job = f"offload-{request.param}"
    topics = topics_named(job)
    create_roomy_topics(broker.bootstrap, topics)
    modelstream = CommandLine(broker.bootstrap, topics, job)
    stream = Stream(broker.bootstrap, topics.events, ("moving", "staying"), batch=5)
    with model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as server:
        process = start(
            job_command(
                *(broker.bootstrap, topics, folder, request.param),
                {
                    "name": job,
                    "checkpoints.interval": "300ms",
                    "missing_model.hold": "1min",
                    "artifacts.allow": json.dumps([server.grpc_url, "grpc://127.0.0.1:1"]),
                },
            ),
            folder / "log",
            folder=ROOT,
        )
        local = [str(folder / "iris.onnx"), "--option", f"fields={FIELDS}"]
        remote = ["--option", f"url={server.grpc_url}", "--option", "model=iris"]
        remote += ["--option", f"fields={FIELDS}"]

        def publish(reference: str, place: str, *more: str) -> subprocess.CompletedProcess[str]:
            where = remote if place == "remote" else local
            wait = ("--wait", "--timeout", "200s")
            done = modelstream(
                "models", "publish", reference, "--format", *PLACES[place], *where, *more, *wait
            )
            assert done.returncode == 0, f"{done.stdout}{done.stderr}{(folder / 'log').read_text()[-3000:]}"
            return done

        try:
            publish("staying:1", "inline")
            published = {"inline": publish("moving:1", "inline")}
            with stream.running():
                for version, place in enumerate(PLACES, start=1):
                    if version > 1:
                        published[place] = publish(f"moving:{version}", place)
                    wait_until(
                        partial(is_last, broker, topics.predictions, version),
                        what=f"predictions of version {version}",
                    )
            gone = ["--option", "url=grpc://127.0.0.1:1", "--option", "model=iris"]
            unreachable = modelstream(
                *("models", "publish", "moving:4", "--format", "open-inference", *gone),
                *("--wait", "--timeout", "200s"),
            )
            stream.send("moving")
            wait_until(
                lambda: len(read_all(broker.bootstrap, topics.predictions)) >= stream.sent,
                what="every prediction",
            )
            statuses = modelstream.json("models", "status")
        finally:
            kill_session(process)
    return Moved(
        stream.sent,
        read_all(broker.bootstrap, topics.predictions),
        [one for one in read_all(broker.bootstrap, topics.dead_letters) if b"type" not in (one.value or b"")],
        published,
        unreachable,
        statuses,
    )


def is_last(broker: Broker, topic: str, version: int) -> bool:
    """Whether all of the last predictions of `moving` are of a version."""
    values = [json.loads(one.value or b"")["model"] for one in read_all(broker.bootstrap, topic)]
    last = [value["version"] for value in values if value["name"] == "moving"][-20:]
    return len(last) == 20 and set(last) == {version}


def test_every_event_has_one_prediction(moved: Moved) -> None:
    assert sorted(said["id"] for said in moved.said()) == [*range(moved.sent)]
    assert moved.dead_letters == []


def test_each_place_scores_in_its_turn(moved: Moved) -> None:
    by_event = sorted(
        (said["id"], said["model"]["version"]) for said in moved.said() if said["model"]["name"] == "moving"
    )

    assert [version for version, _ in groupby(version for _, version in by_event)] == [1, 2, 3]


@pytest.mark.parametrize("model", ["moving", "staying"])
def test_predictions_of_one_key_keep_the_order_of_its_events(moved: Moved, model: str) -> None:
    for key in range(KEYS):
        numbers = [
            json.loads(one.value or b"")["id"]
            for one in moved.predictions
            if one.key == b"key-%d" % key and json.loads(one.value or b"")["model"]["name"] == model
        ]
        assert numbers == sorted(numbers)
        assert numbers


def test_a_worker_process_says_what_the_model_says_inline(moved: Moved) -> None:
    outputs = {
        said["model"]["version"]: said["outputs"]
        for said in moved.said()
        if said["model"]["name"] == "moving"
    }

    assert outputs[2] == outputs[1]


def test_the_prediction_names_the_descriptor_of_what_was_asked(moved: Moved) -> None:
    named = {said["model"]["version"]: said["model"]["sha256"] for said in moved.said()[-100:]}
    known = {
        one["model"]["version"]: one["sha256"] for one in moved.statuses if one["model"]["name"] == "moving"
    }

    assert named[3] == known[3]


def test_a_server_that_is_not_there_is_said_when_it_is_published(moved: Moved) -> None:
    said = moved.unreachable.stdout + moved.unreachable.stderr

    assert moved.unreachable.returncode == 1, said
    assert "moving:4 failed" in said
    assert "grpc://127.0.0.1:1" in said


def test_a_version_that_can_not_be_reached_leaves_the_one_before_serving(moved: Moved) -> None:
    last = [said["model"]["version"] for said in moved.said() if said["id"] >= moved.sent - 5]

    assert last == [3] * 5
