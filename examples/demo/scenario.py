"""What the demo sends: a steady stream of flowers, and a few things at their times."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from threading import Event as Flag
from typing import NamedTuple

from connectors.client import Record
from examples.demo.models import MODELS, publish
from examples.demo.tally import SPECIES
from examples.iris.train import SPECIES as TRUE_SPECIES
from udfs.records import ModelId

_TICK_SECONDS = 0.02

Send = Callable[[str, Record], None]
"""Sends a record to ``events`` or ``control``."""


class Step(NamedTuple):
    """Something that happens at a time of the stream, in seconds."""

    at: float
    says: str
    topic: str
    records: list[Record]


def steps(folder: Path) -> list[Step]:
    """What happens while the stream runs."""
    better, broken = ModelId("iris-onnx", 2), ModelId("iris-onnx", 3)
    content = (folder / "iris-2.onnx").read_bytes()
    return [
        Step(2.0, "six broken events", "events", _broken_events()),
        Step(4.0, "iris-onnx:2, which is right more often", "control", [publish(better, content)]),
        Step(7.0, "iris-onnx:3, cut in half", "control", [publish(broken, content[: len(content) // 2])]),
    ]


def stream(send: Send, folder: Path, seconds: float, stop: Flag, said: list[str]) -> int:
    """Send flowers at a steady rate, to each model its own, and the steps at their times.

    Args:
        send: sends a record; may be slow, the stream catches up.
        folder: the models and the flowers.
        seconds: how long.
        stop: ends the stream early.
        said: gets what each step is, as it happens.

    Returns:
        How many events were sent, the broken ones among them.
    """
    flowers = {name: _flowers(folder / "events.jsonl", name) for name in MODELS}
    waiting = steps(folder)
    started = time.monotonic()
    steady, broken = dict.fromkeys(MODELS, 0), 0
    while (elapsed := time.monotonic() - started) < seconds and not stop.wait(_TICK_SECONDS):
        while waiting and waiting[0].at <= elapsed:
            step = waiting.pop(0)
            said.append(step.says)
            for record in step.records:
                send(step.topic, record)
            broken += len(step.records) if step.topic == "events" else 0
        for name, model in MODELS.items():
            for _ in range(round(elapsed * model.per_second) - steady[name]):
                send("events", next(flowers[name]))
                steady[name] += 1
    return sum(steady.values()) + broken


def _flowers(path: Path, model: str) -> Iterator[Record]:
    """All flowers for a model, over and over."""
    flowers = [json.loads(line)["data"] for line in path.read_text(encoding="utf-8").splitlines()]
    for number, (data, species) in zip(count(), cycle(zip(flowers, TRUE_SPECIES, strict=True)), strict=False):
        value = json.dumps({"id": number, "model": model, "data": data}).encode()
        yield Record(value, b"meadow-%d" % (number % 50), ((SPECIES, species.encode()),), _now_ms())


def _broken_events() -> list[Record]:
    values = [
        b"not JSON",
        b'{"id": "no data", "model": "iris-onnx"}',
        b'{"id": "no such model", "data": {}}',
        b'{"id": "a field is missing", "model": "iris-onnx", "data": {"sepal_length": 5.1}}',
        b'{"id": "a field is missing", "model": "iris-remote", "data": {"sepal_length": 5.1}}',
        b'{"id": "text for a number", "model": "iris-pmml", "data": {"sepal_length": "long"}}',
    ]
    return [Record(value, b"broken", (), _now_ms()) for value in values]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
