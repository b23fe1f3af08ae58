"""What the demo serves: one classifier of irises in four formats, one that costs, and one on a server."""

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from connectors.client import Record
from examples.iris.heavy import heavy_classifier
from examples.iris.train import FIELDS
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId

Place = Literal["inline", "worker process", "MLServer"]
"""Where a model is scored: in the stream, in a process beside it, or by a server."""

_FIELDS = {"fields": ",".join(FIELDS)}


class Model(NamedTuple):
    """A model of the demo.

    Attributes:
        format: its format.
        place: where it is scored.
        per_second: how many flowers it gets.
        file: of `build/iris`; none of a model that is made otherwise.
    """

    format: str
    place: Place
    per_second: int
    file: str = ""


MODELS = {
    "iris-onnx": Model("onnx", "inline", 500, "iris-1.onnx"),
    "iris-pmml": Model("pmml", "inline", 500, "iris.pmml"),
    "iris-pfa": Model("pfa", "inline", 500, "iris.pfa"),
    "iris-tf": Model("tensorflow", "inline", 500, "iris-tf.zip"),
    "iris-heavy": Model("onnx", "worker process", 10),
    "iris-remote": Model("open-inference", "MLServer", 200),
}
"""By name, in the order of the screen."""


def first_models(folder: Path, server: str) -> list[Record]:
    """Version 1 of each, as updates.

    Args:
        folder: where the files are.
        server: MLServer's gRPC URL.
    """
    updates = []
    for name, model in MODELS.items():
        one = ModelId(name, 1)
        if model.place == "MLServer":
            updates.append(_remote(one, server))
        else:
            content = (folder / model.file).read_bytes() if model.file else _heavy()
            updates.append(_local(one, content))
    return [_record(update) for update in updates]


def publish(version: ModelId, content: bytes) -> Record:
    """The update that publishes and activates another version of a local model."""
    return _record(_local(version, content))


def _local(version: ModelId, content: bytes) -> PublishModel:
    model = MODELS[version.name]
    options: dict[str, Any] = _FIELDS if model.format == "onnx" else {}
    artifact = Artifact(sha256=hashlib.sha256(content).hexdigest(), inline=content)
    execution: Literal["inline", "offload"] = "inline" if model.place == "inline" else "offload"
    return PublishModel(version, model.format, artifact, options=options, execution=execution)


def _remote(version: ModelId, server: str) -> PublishModel:
    options: dict[str, Any] = {"url": server, "model": "iris", "outputs": "predict", **_FIELDS}
    return PublishModel(version, MODELS[version.name].format, options=options)


def _heavy() -> bytes:
    content: bytes = heavy_classifier().SerializeToString()
    return content


def _record(update: PublishModel) -> Record:
    return Record(encode_update(update), update.model.name.encode())
