"""The same events and updates give the same predictions, however many subtasks read them and how fast."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from connectors.client import Record
from devtools import ROOT
from devtools.broker import Broker
from devtools.topics import create_topic, read_all, send, topics_named
from tests.integration.records import TIME_MS, event, publish
from tests.integration.scoring_job import create_roomy_topics, iris_model, job_command
from tests.waiting import wait_until
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel, encode_update
from udfs.records import ModelId

EVENTS = 700
SWITCHES = [(2, TIME_MS + 200), (1, TIME_MS + 400), (2, TIME_MS + 401)]
"""Versions, and the event times from which they are active, after version 1."""
RUNS = {
    "one subtask": {"parallelism": "1"},
    "two subtasks": {"parallelism": "2"},
    "slowly, one event a poll": {
        "parallelism": "1",
        "batching.max_events": "3",
        "kafka.consumer": '{"max.poll.records": "1"}',
    },
    "in a process": {"parallelism": "2", "execution": "process"},
    "loads block": {"parallelism": "1", "loading": "blocking"},
}


@dataclass(frozen=True)
class Replays:
    """What each run wrote, by key and id."""

    predictions: dict[str, list[Record]]

    def canonical(self, run: str) -> list[tuple[bytes | None, bytes | None, object, int | None]]:
        """Predictions as bytes, in an order that does not depend on partitions."""
        return sorted(
            ((one.key, one.value, one.headers, one.timestamp) for one in self.predictions[run]),
            key=lambda one: json.loads(one[1] or b"")["id"],
        )


@pytest.fixture(scope="module")
def replays(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Replays:
    folder = tmp_path_factory.mktemp("replay")
    model = iris_model(folder)
    topics = topics_named("replay")
    create_roomy_topics(broker.bootstrap, topics)
    second = msgspec.json.decode(publish("iris", 2, model).value or b"", type=PublishModel)
    staged = msgspec.structs.replace(second, activate=False, checks=())
    updates: list[ModelUpdate] = [staged]
    updates += [ActivateModel(ModelId("iris", v), effective_from=since) for v, since in SWITCHES]
    send(
        broker.bootstrap,
        topics.control,
        [publish("iris", 1, model), *(Record(encode_update(one), b"iris") for one in updates)],
    )
    send(broker.bootstrap, topics.events, [event(number) for number in range(EVENTS)])
    predictions = {
        name: _run(broker, folder / str(number), settings, f"replay-{number}")
        for number, (name, settings) in enumerate(RUNS.items())
    }
    return Replays(predictions)


def _run(broker: Broker, folder: Path, settings: dict[str, str], name: str) -> list[Record]:
    """One run of the job over all events, with outputs of its own."""
    folder.mkdir()
    inputs = topics_named("replay")
    outputs = {"predictions": f"{name}-predictions", "dead_letters": f"{name}-dead-letters"}
    for topic in outputs.values():
        create_topic(broker.bootstrap, topic)
    everything = {
        "execution": "embedded",
        **settings,
        "events.bounded": "true",
        "events.group_id": name,
        **{f"topics.{field}": topic for field, topic in outputs.items()},
        "name": name,
    }
    command = job_command(broker.bootstrap, inputs, folder, everything["execution"], everything)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-5000:]
    wait_until(
        lambda: len(read_all(broker.bootstrap, outputs["predictions"])) >= EVENTS, what="the predictions"
    )
    assert read_all(broker.bootstrap, outputs["dead_letters"]) == []
    return read_all(broker.bootstrap, outputs["predictions"])


def test_each_event_is_scored_by_the_version_of_its_time(replays: Replays) -> None:
    def active(number: int) -> int:
        return 1 if number < 200 or number == 400 else 2

    said = {
        one["id"]: one["model"]["version"]
        for one in (json.loads(record.value or b"") for record in replays.predictions["one subtask"])
    }

    assert said == {number: active(number) for number in range(EVENTS)}


@pytest.mark.parametrize("run", [name for name in RUNS if name != "one subtask"])
def test_a_replay_gives_byte_identical_predictions(replays: Replays, run: str) -> None:
    assert replays.canonical(run) == replays.canonical("one subtask")


@pytest.mark.parametrize("run", RUNS)
def test_the_order_of_each_key_is_kept(replays: Replays, run: str) -> None:
    by_key: dict[bytes | None, list[int]] = {}
    for record in replays.predictions[run]:
        by_key.setdefault(record.key, []).append(json.loads(record.value or b"")["id"])

    assert all(ids == sorted(ids) for ids in by_key.values())
