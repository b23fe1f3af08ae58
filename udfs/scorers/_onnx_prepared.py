"""A large ONNX model as a file that onnxruntime reads by itself: its weights, then its graph.

Reading a file whose weights are within its graph is one call that keeps Python's lock all along. Weights
beside the graph are mapped by onnxruntime, which lets the lock go.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

import os
import shutil
from pathlib import Path

import onnx

from udfs.errors import ModelLoadError
from udfs.scorers import _onnx_walk as walk
from udfs.temporary_folders import temporary_folder

_WEIGHTS = "weights"
_LENGTH_BYTES = 8


def write_prepared(model: onnx.ModelProto, prepared: Path) -> None:
    """Write a model.

    Args:
        model: with all of its weights; without them afterwards.
        prepared: where to.
    """
    with temporary_folder("onnx") as folder:
        graph = folder / "graph"
        onnx.save_model(model, graph, save_as_external_data=True, location=_WEIGHTS)
        described = graph.read_bytes()
        with (folder / _WEIGHTS).open("rb") as weights, prepared.open("wb") as file:
            shutil.copyfileobj(weights, file, 1 << 20)
            file.write(described + len(described).to_bytes(_LENGTH_BYTES, "little"))


def read_prepared(prepared: Path) -> onnx.ModelProto:
    """Read a graph, whose weights are said to be in the file itself.

    Raises:
        ModelLoadError: it can't be read.
    """
    try:
        with prepared.open("rb") as file:
            file.seek(-_LENGTH_BYTES, os.SEEK_END)
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            file.seek(-_LENGTH_BYTES - length, os.SEEK_END)
            model = onnx.ModelProto()
            model.ParseFromString(file.read(length))
    except Exception as error:  # protobuf's own exceptions differ between its implementations
        raise ModelLoadError(f"can't read the prepared model: {error}") from error
    for tensor in walk.all_tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = prepared.name
    return model
