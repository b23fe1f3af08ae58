"""Latency of one model while another, large one gets a new version; and a plot of it."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx
from confluent_kafka import Producer
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks import latency, programs
from benchmarks.stand import Stand
from connectors.client import Client, Record
from devtools.processes import ProcessError
from devtools.topics import create_topic, send
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId, ModelStatus

PLOT = Path(__file__).parents[1] / "docs" / "images" / "switch.png"
_PER_SECOND = 2000
_START_SECONDS = 60.0
_WARM_SECONDS = 25.0
_CALM_SECONDS = 10.0
_BURNER_SECONDS = 10.0
_PAUSE_SECONDS = 3.0
_SWITCH_SECONDS = 30.0
_AFTER_SECONDS = 1.0
_DRAWN_AFTER_SECONDS = 3.0
_ONNX_SIDE = 5000
"""A square of this side of 4-byte numbers has 100 MB."""
_KERAS_LAYERS = 100


class Switch(NamedTuple):
    """What was seen of the one model while the other's new version was loaded and took over."""

    calm_p99: float
    """ms, before."""
    burner_p99: float
    """ms, while a process that has nothing to do with the job keeps a core busy, and gives way to nobody."""
    p99: float
    """ms, from the publication until a second after the new version serves."""
    longest_gap: float
    """ms without an outcome in that time."""
    load_seconds: float
    """From the publication until the new version serves."""
    sent_at: NDArray[np.float64]
    """When each event was sent: seconds since the publication."""
    milliseconds: NDArray[np.float64]
    """Its latency."""

    @property
    def ratio(self) -> float:
        """The p99 while it loads beside the p99 before."""
        return self.p99 / self.calm_p99


class LargeModel(NamedTuple):
    """A model that takes long to load."""

    name: str
    format: str
    files: tuple[Path, Path]
    """Its first version, and the second."""


def make_large_models(folder: Path) -> list[LargeModel]:
    """Two versions each of an ONNX of 100 MB, and of a TensorFlow model that takes seconds to load."""
    squares = [folder / f"square-{version}.onnx" for version in (1, 2)]
    for version, path in enumerate(squares, 1):
        weights = np.random.default_rng(version).random((_ONNX_SIDE, _ONNX_SIDE), np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "weights"], ["y"])],
            "square",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", _ONNX_SIDE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", _ONNX_SIDE])],
            [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    deep = [folder / f"deep-{version}.keras" for version in (1, 2)]
    source = (
        "import keras, sys\n"
        "for path in sys.argv[1:]:\n"
        f"    layers = [keras.layers.Dense(16) for _ in range({_KERAS_LAYERS})]\n"
        "    keras.Sequential([keras.Input((4,)), *layers]).save(path)\n"
    )
    # In a process of its own: TensorFlow keeps its threads and memory.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", source, *deep], check=True, env=environment, capture_output=True)
    return [
        LargeModel("an ONNX model of 100 MB", "onnx", (squares[0], squares[1])),
        LargeModel("a TensorFlow model of 100 layers", "tensorflow", (deep[0], deep[1])),
    ]


def measure(stand: Stand, large: LargeModel, *, blocking: bool) -> Switch:
    """Publish the second version of a large model to a job that scores irises at a steady rate.

    Raises:
        ProcessError: the job did not start, did not answer, or did not load the model in time.
    """
    events = f"switch-{stand.number()}"
    create_topic(stand.bootstrap, events)
    first_version, second_version = (_publication(large, version) for version in (1, 2))
    settings = {
        "artifacts.allow": json.dumps([large.files[0].parent.as_uri()]),
        # Each is loaded for the first time.
        "artifacts.cache_folder": str(stand.folder / events),
        **({"loading": "blocking"} if blocking else {}),
    }
    program, topics = programs.job_with_topics(stand, events, delivery="at-least-once", settings=settings)
    producer = Producer({"bootstrap.servers": stand.bootstrap, "linger.ms": 0})
    with stand.running(program):
        _publish(stand, topics.control, first_version)
        wait_until_active(stand.bootstrap, topics.model_status, first_version.model)
        sent = [latency.wait_for_the_first(stand, program, producer, events)]
        first = sent[0]

        def work() -> None:
            seconds = _WARM_SECONDS + _BURNER_SECONDS + _PAUSE_SECONDS + _CALM_SECONDS + _SWITCH_SECONDS
            sent.append(latency.send(producer, events, _PER_SECOND, seconds))

        sender = threading.Thread(target=work, name="sender")
        sender.start()
        time.sleep(_WARM_SECONDS)
        burnt_from = time.time()
        _burn_a_core(_BURNER_SECONDS)
        time.sleep(_PAUSE_SECONDS + _CALM_SECONDS)
        published_at = time.time()
        _publish(stand, topics.control, second_version)
        ready_at = wait_until_active(stand.bootstrap, topics.model_status, second_version.model)
        sender.join()
        latency.wait_for_all(stand, program, sum(sent))
        found = list(latency.read(stand, program, first, sum(sent) - first))
    sent_at = np.array([at for at, _ in found], np.float64) / 1000 - published_at
    appended_at = np.array([at for _, at in found], np.float64) / 1000 - published_at
    milliseconds: NDArray[np.float64] = (appended_at - sent_at) * 1000.0
    load_seconds = ready_at - published_at
    calm = milliseconds[(sent_at > -_CALM_SECONDS) & (sent_at < 0)]
    burnt_from -= published_at
    burnt = milliseconds[(sent_at >= burnt_from) & (sent_at < burnt_from + _BURNER_SECONDS)]
    until = load_seconds + _AFTER_SECONDS
    switching = milliseconds[(sent_at >= 0) & (sent_at < until)]
    arrived = np.sort(appended_at)
    # The pause that begins before the end counts whole.
    begun = (arrived[:-1] >= 0) & (arrived[:-1] < until)
    return Switch(
        float(np.percentile(calm, 99)),
        float(np.percentile(burnt, 99)),
        float(np.percentile(switching, 99)),
        float(np.diff(arrived)[begun].max() * 1000),
        load_seconds,
        sent_at,
        milliseconds,
    )


def plot(runs: dict[str, Switch], path: Path) -> None:
    """Draw the latency of each run over time, with the load and the switch marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(runs), 1, figsize=(9, 2.2 * len(runs)), sharex=True, sharey=True)
    drawn_until = max(run.load_seconds for run in runs.values()) + _DRAWN_AFTER_SECONDS
    for axis, (name, run) in zip(np.atleast_1d(axes), runs.items(), strict=True):
        axis.plot(run.sent_at, run.milliseconds, ".", markersize=1)
        axis.axvspan(0, run.load_seconds, color="orange", alpha=0.25, label="published, until it serves")
        axis.axvline(run.load_seconds, color="red", linewidth=1, label="the switch")
        axis.set_yscale("log")
        axis.set_xlim(-_CALM_SECONDS, drawn_until)
        axis.set_ylabel("ms")
        title = f"{name}: p99 {run.calm_p99:.0f} ms before, {run.p99:.0f} ms while it loads"
        axis.set_title(title, fontsize="medium")
        axis.legend(loc="upper right")
    figure.supxlabel("seconds since the publication of the new version")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _burn_a_core(seconds: float) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) as process:
        time.sleep(seconds)
        process.kill()


def _publication(large: LargeModel, version: int) -> PublishModel:
    file = large.files[version - 1]
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return PublishModel(ModelId("large", version), large.format, Artifact(sha256, uri=file.as_uri()))


def _publish(stand: Stand, topic: str, update: PublishModel) -> None:
    send(stand.bootstrap, topic, [Record(encode_update(update), update.model.name.encode())])


def wait_until_active(bootstrap: str, topic: str, model: ModelId) -> float:
    """When a subtask said that a version is active: seconds since 1970, by its clock."""
    client = Client({"bootstrap_servers": bootstrap})
    deadline = time.monotonic() + _START_SECONDS
    try:
        for records in client.follow(topic, from_beginning=True):
            for record in records:
                status = msgspec.json.decode(record.value or b"", type=ModelStatus)
                if status.model == model and status.status == "failed":
                    raise ProcessError(f"{model}: {status.cause}")
                if status.model == model and status.status == "active":
                    return datetime.fromisoformat(status.at).timestamp()
            if time.monotonic() > deadline:
                break
    finally:
        client.close()
    raise ProcessError(f"{model} was not active in {_START_SECONDS:g} s")
