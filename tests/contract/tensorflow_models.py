"""Small TensorFlow models, made by TensorFlow."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def saved_model(
    path: Path, serve: Callable[..., Any], specs: Sequence[Any], *, module: Any = None, prefix: str = ""
) -> Path:
    """Write a function as the default signature of a SavedModel.

    Args:
        path: ``.zip`` or ``.tar.gz``.
        serve: the function.
        specs: its tensors, named.
        module: what holds its variables and assets.
        prefix: a folder for it inside the archive.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        signatures = {"serving_default": tf.function(serve, specs)}
        tf.saved_model.save(module or tf.Module(), str(Path(folder, prefix)), signatures=signatures)
        return pack(Path(folder), path)


def pack(folder: Path, path: Path) -> Path:
    """Make an archive of a folder."""
    kind, suffix = ("zip", ".zip") if path.suffix == ".zip" else ("gztar", ".tar.gz")
    shutil.make_archive(str(path)[: -len(suffix)], kind, folder)
    return path


def keras_classifier(path: Path) -> Path:
    """Write a small Keras network for the irises, with fixed weights."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,), name="measures")
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    outputs = keras.layers.Dense(3, activation="softmax", name="species")(hidden)
    keras.Model(inputs, outputs).save(path)
    return path
