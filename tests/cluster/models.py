"""The models that jobs of the cluster tests serve, and what those models say of an event."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from examples.iris import train
from tests.cluster.verify import Version
from udfs.engine import score_inputs
from udfs.errors import ScoreError
from udfs.json_values import JsonValue, read_json, write_json
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId
from udfs.scorers import load_scorer

FLOWERS = 1000
"""How many flowers differ: an event's number says which one it is about."""
_GOLDEN_RATIO = (1 + 5**0.5) / 2
_MEBIBYTE = 1 << 20


def flower(number: int) -> dict[str, JsonValue]:
    """The data of an event."""
    number %= FLOWERS
    measures = train.MEASURES[number % len(train.MEASURES)].tolist()
    measures[1] += number / FLOWERS
    return dict(zip(train.FIELDS, measures, strict=True))


def iris_onnx(name: str, version: int, activate: bool = True) -> PublishModel:
    """An iris classifier whose weights and outputs are its version's own."""
    content = _classifier(version).SerializeToString()
    return _publish(name, version, "onnx", Artifact(_sha256(content), inline=content), activate)


def heavy_iris_onnx(
    name: str, version: int, folder: Path, mebibytes: int, effective_from: int | None = None
) -> PublishModel:
    """The same with so many bytes of its version's own beside it, by URI; the file stays in the folder."""
    path = folder / f"{name}-{version}.onnx"
    model = _classifier(version)
    _add_ballast(model.graph, version, mebibytes)
    onnx.save(model, path)
    artifact = Artifact(_sha256(path.read_bytes()), uri=path.as_uri())
    return msgspec.structs.replace(
        _publish(name, version, "onnx", artifact, activate=True), effective_from=effective_from
    )


def iris_pmml(name: str, folder: Path) -> PublishModel:
    """One in a format that needs a Java process of its own."""
    path = folder / "model.pmml"
    train.write_pmml(train.fit_logistic_regression(), path)
    content = path.read_bytes()
    artifact = Artifact(_sha256(content), inline=content)
    return PublishModel(ModelId(name, 1), "pmml", artifact)


def offline(published: Sequence[PublishModel], folder: Path) -> dict[ModelId, Version]:
    """What each version says of each flower, without a job."""
    return {one.model: _offline(one, folder) for one in published}


def _offline(published: PublishModel, folder: Path) -> Version:
    path = folder / "offline"
    path.write_bytes(published.inline)
    scorer = load_scorer(published.format, path, published.options)
    outputs = score_inputs(scorer, [flower(number) for number in range(FLOWERS)])
    scorer.close()
    said = [read_json(write_json(one)) for one in outputs if not isinstance(one, ScoreError)]
    assert len(said) == FLOWERS
    return Version(published.identity(), lambda event: said[event % FLOWERS])


def _classifier(version: int) -> onnx.ModelProto:
    model = onnx.load_from_string(_fitted())
    # Steps of the golden ratio keep all versions apart, however many there are.
    factor = 0.1 + 0.3 * (version * _GOLDEN_RATIO % 1)
    for weights in (one for node in model.graph.node for one in node.attribute):
        if weights.name in ("coefficients", "intercepts"):
            weights.floats[:] = [factor * weight for weight in weights.floats]
    return model


@cache
def _fitted() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "iris.onnx"
        train.write_onnx(train.fit_logistic_regression(), path)
        return path.read_bytes()


def _add_ballast(graph: onnx.GraphProto, seed: int, mebibytes: int) -> None:
    """Put random numbers into a graph that depend on what is scored, so that nothing can fold them away."""
    (given,) = [one.name for one in graph.input]
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == given:
                node.input[index] = "moved"
    random = np.random.default_rng(seed)
    ballast = random.random((mebibytes * _MEBIBYTE // 16, 4), dtype=np.float32) / 1000
    graph.initializer.append(numpy_helper.from_array(ballast, "ballast"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), "first"))
    nodes = [
        helper.make_node("Gather", [given, "first"], ["measure"], axis=1),
        helper.make_node("Cast", ["measure"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["ballast", "row"], ["move"], axis=0),
        helper.make_node("Add", [given, "move"], ["moved"]),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _publish(name: str, version: int, kind: str, artifact: Artifact, activate: bool) -> PublishModel:
    options = {"fields": ",".join(train.FIELDS)}
    return PublishModel(ModelId(name, version), kind, artifact, activate, options)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
