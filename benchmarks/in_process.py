"""The engine without Flink or Kafka, beside a plain batched loop in the same process."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import orjson
from numpy.typing import NDArray

from benchmarks.figures import median
from benchmarks.stand import iris_event
from examples.iris.train import FIELDS
from udfs.engine import LoadedModel, score_values
from udfs.event_times import EventTimes
from udfs.records import ServedModel
from udfs.scorers import load_scorer

BATCH = 1000
_ROUNDS = 200
_SHA256 = "0" * 64


def measure(path: Path, repeats: int) -> tuple[float, float]:
    """Events a second of the engine and of the plain loop: medians of turns that alternate.

    Args:
        path: the ONNX model of the irises.
        repeats: how many turns.
    """
    values = [iris_event(number) for number in range(BATCH)]
    engine, loop = _engine(path), plain_batched_loop(path)
    rates: dict[str, list[float]] = {"engine": [], "loop": []}
    for _ in range(repeats):
        rates["engine"].append(_rate(engine, values))
        rates["loop"].append(_rate(loop, values))
    return median(rates["engine"]), median(rates["loop"])


def plain_batched_loop(path: Path) -> Callable[[list[bytes]], list[bytes]]:
    """What one would write by hand: JSON bytes in, JSON bytes out, a batch a call."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name

    def score(values: list[bytes]) -> list[bytes]:
        events = [orjson.loads(value) for value in values]
        rows = np.array([[event["data"][field] for field in FIELDS] for event in events], np.float32)
        labels, probabilities = session.run(None, {name: rows})
        return [
            orjson.dumps({"id": event["id"], "outputs": {"label": label, "probabilities": probability}})
            for event, label, probability in zip(events, labels.tolist(), probabilities.tolist(), strict=True)
        ]

    return score


def _engine(path: Path) -> Callable[[list[bytes]], Any]:
    served = ServedModel("iris", 1, _SHA256)
    scorer = load_scorer("onnx", path, {"fields": ",".join(FIELDS)})
    loaded = LoadedModel(served, scorer, msgspec.Raw(msgspec.json.encode(served)), 0.0, ())
    models, times = _Always(loaded), EventTimes(np.zeros(BATCH, np.int64), {})
    return lambda values: score_values(values, models, times, "iris")


class _Always:
    """Has one model score everything."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def serve(self, _reference: str, _at: int) -> LoadedModel:
        return self._model

    def boundaries(self, _reference: str) -> tuple[int, ...]:
        return ()

    def note(self, _reference: str, _model: LoadedModel, _at: NDArray[np.int64]) -> None: ...


def _rate(score: Callable[[list[bytes]], Any], values: list[bytes]) -> float:
    score(values)
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        score(values)
    return _ROUNDS * len(values) / (time.perf_counter() - started)
