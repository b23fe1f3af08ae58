"""What the demo sends: a steady stream of flowers, and a few things at their times."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from threading import Event as Flag
from typing import Any, NamedTuple

from connectors.client import Record
from examples.demo.tally import SPECIES
from examples.iris.train import FIELDS
from examples.iris.train import SPECIES as TRUE_SPECIES
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId

FILES = {
    "iris-onnx": ("onnx", "iris-1.onnx"),
    "iris-pmml": ("pmml", "iris.pmml"),
    "iris-pfa": ("pfa", "iris.pfa"),
    "iris-tf": ("tensorflow", "iris-tf.zip"),
}
"""Each model's format and file."""
EVENTS_PER_SECOND = 2000
_TICK_SECONDS = 0.02

Send = Callable[[str, Record], None]
"""Sends a record to ``events`` or ``control``."""


class Step(NamedTuple):
    """Something that happens at a time of the stream, in seconds."""

    at: float
    says: str
    topic: str
    records: list[Record]


def publish(model: ModelId, format_name: str, content: bytes) -> Record:
    """The update that publishes and activates a version."""
    options: dict[str, Any] = {"fields": ",".join(FIELDS)} if format_name == "onnx" else {}
    artifact = Artifact(sha256=hashlib.sha256(content).hexdigest(), inline=content)
    return Record(
        encode_update(PublishModel(model, format_name, artifact, options=options)), model.name.encode()
    )


def first_models(folder: Path) -> list[Record]:
    """Version 1 of the classifier in four formats."""
    return [
        publish(ModelId(name, 1), format_name, (folder / file).read_bytes())
        for name, (format_name, file) in FILES.items()
    ]


def steps(folder: Path) -> list[Step]:
    """What happens while the stream runs."""
    better, broken = ModelId("iris-onnx", 2), ModelId("iris-onnx", 3)
    content = (folder / "iris-2.onnx").read_bytes()
    return [
        Step(2.0, "five broken events", "events", _broken_events()),
        Step(4.0, "iris-onnx:2, which is right more often", "control", [publish(better, "onnx", content)]),
        Step(
            7.0,
            "iris-onnx:3, cut in half",
            "control",
            [publish(broken, "onnx", content[: len(content) // 2])],
        ),
    ]


def stream(send: Send, folder: Path, seconds: float, stop: Flag, said: list[str]) -> int:
    """Send flowers at a steady rate, a quarter to each model, and the steps at their times.

    Args:
        send: sends a record; may be slow, the stream catches up.
        folder: the models and the flowers.
        seconds: how long.
        stop: ends the stream early.
        said: gets what each step is, as it happens.

    Returns:
        How many events were sent, the broken ones among them.
    """
    flowers = _flowers(folder / "events.jsonl")
    waiting = steps(folder)
    started = time.monotonic()
    steady = broken = 0
    while (elapsed := time.monotonic() - started) < seconds and not stop.wait(_TICK_SECONDS):
        while waiting and waiting[0].at <= elapsed:
            step = waiting.pop(0)
            said.append(step.says)
            for record in step.records:
                send(step.topic, record)
            broken += len(step.records) if step.topic == "events" else 0
        for _ in range(round(elapsed * EVENTS_PER_SECOND) - steady):
            send("events", next(flowers))
            steady += 1
    return steady + broken


def _flowers(path: Path) -> Iterator[Record]:
    flowers = [json.loads(line)["data"] for line in path.read_text(encoding="utf-8").splitlines()]
    known = cycle(zip(flowers, TRUE_SPECIES, strict=True))
    for number, model in zip(count(), cycle(FILES), strict=False):
        # A flower for all four models, then the next.
        if number % len(FILES) == 0:
            data, species = next(known)
        value = json.dumps({"id": number, "model": model, "data": data}).encode()
        yield Record(value, b"meadow-%d" % (number % 50), ((SPECIES, species.encode()),), _now_ms())


def _broken_events() -> list[Record]:
    values = [
        b"not JSON",
        b'{"id": "no data", "model": "iris-onnx"}',
        b'{"id": "no such model", "data": {}}',
        b'{"id": "a field is missing", "model": "iris-onnx", "data": {"sepal_length": 5.1}}',
        b'{"id": "text for a number", "model": "iris-pmml", "data": {"sepal_length": "long"}}',
    ]
    return [Record(value, b"broken", (), _now_ms()) for value in values]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
