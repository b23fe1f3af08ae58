"""A ``.keras`` file as a SavedModel, so that there is one way to score.

Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue

_MOST_CONFIGURATION = 64 << 20
_FOREIGN_LAYERS = frozenset({"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"})
"""Layers that hold Python code, or the path of another model."""


def write_saved_model(artifact: Path, folder: Path) -> Path:
    """Write a Keras model as a SavedModel with its own names for inputs and outputs.

    Args:
        artifact: a file whose name ends in ``.keras``.
        folder: where to; made.

    Raises:
        ModelLoadError: Keras can't load it, or it asks for Python code that is not Keras's own.
    """
    _check_configuration(artifact)
    try:
        model = keras.saving.load_model(artifact, compile=False, safe_mode=True)
        specs = [tf.TensorSpec(_shape(one), one.dtype, name=one.name) for one in model.inputs]
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", _serve(model), specs)
        archive.write_out(str(folder), verbose=False)
    except Exception as error:  # Keras raises many types
        # Keras quotes all of the configuration before it says what is wrong.
        said = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        raise ModelLoadError(f"Keras can't load it: {said[:500]}") from error
    return folder


def _serve(model: Any) -> Any:
    # A Sequential model has no names for its only output, which is its last layer's.
    names = getattr(model, "output_names", None) or [model.layers[-1].name]

    def serve(*inputs: Any) -> dict[str, Any]:
        outputs = model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
        if isinstance(outputs, dict):
            return outputs
        values = outputs if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(names, values, strict=True))

    return serve


def _shape(tensor: Any) -> list[int | None]:
    return [None, *tensor.shape[1:]]


def _check_configuration(artifact: Path) -> None:
    try:
        with zipfile.ZipFile(artifact) as archive, archive.open("config.json") as file:
            text = file.read(_MOST_CONFIGURATION + 1)
        if len(text) > _MOST_CONFIGURATION:
            raise ModelLoadError(f"config.json has more than {_MOST_CONFIGURATION} bytes")
        configuration = json.loads(text)
    except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelLoadError(f"not a .keras file: {error}") from error
    for part in _parts(configuration):
        module, name = part.get("module"), part.get("class_name")
        # Keras imports what the configuration names: only its own modules are let through.
        if isinstance(module, str) and module != "builtins" and module.partition(".")[0] != "keras":
            raise ModelLoadError(f"the model asks for {module}.{name}: code outside Keras is refused")
        if name in ("Lambda", "__lambda__", "function"):
            raise ModelLoadError("the model has a Lambda layer: Python code in a model is refused")
        if isinstance(part.get("vocabulary"), str):
            raise ModelLoadError("a layer has its vocabulary in a file outside the model, which is refused")
        if name in _FOREIGN_LAYERS:
            raise ModelLoadError(f"the model has a {name}: code or a model outside it is refused")


def _parts(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as part:
                yield part
                waiting += part.values()
            case list() as items:
                waiting += items
            case _:
                pass
