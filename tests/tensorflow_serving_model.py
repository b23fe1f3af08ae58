"""A SavedModel with signatures of every kind, for the stand-in of TensorFlow Serving and the local format.

python -m tests.tensorflow_serving_model FOLDER
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

ECHOED = {
    "half": tf.float16, "float": tf.float32, "double": tf.float64, "int8": tf.int8, "int16": tf.int16,
    "int32": tf.int32, "int64": tf.int64, "uint8": tf.uint8, "uint16": tf.uint16, "uint32": tf.uint32,
    "uint64": tf.uint64, "flag": tf.bool, "text": tf.string,
}  # fmt: skip
"""The inputs and outputs of the signature ``echo``."""

_FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
_FEATURES = {
    "weight": tf.io.FixedLenFeature([], tf.float32),
    "count": tf.io.FixedLenFeature([], tf.int64, default_value=7),
    "tags": tf.io.VarLenFeature(tf.string),
}


def write_model(folder: Path) -> Path:
    """Write the model as ``saved_model.pb`` and variables."""
    classes = tf.constant(["setosa", "versicolor", "virginica"])
    weights = tf.constant([[0.4, 0.1, -0.7], [0.9, -0.3, -0.6], [-1.2, 0.2, 1.1], [-0.5, -0.9, 1.4]])

    def classify(rows: Any) -> dict[str, Any]:
        probabilities = tf.nn.softmax(tf.matmul(rows, weights))
        return {"label": tf.gather(classes, tf.argmax(probabilities, 1)), "probabilities": probabilities}

    def named(**measures: Any) -> dict[str, Any]:
        return classify(tf.stack([measures[name] for name in _FIELDS], axis=1))

    def parse(serialized: Any) -> Any:
        return tf.io.parse_example(serialized, _FEATURES)

    def examples(serialized: Any) -> dict[str, Any]:
        parsed = parse(serialized)
        return {"sum": parsed["weight"] + tf.cast(parsed["count"], tf.float32), "twice": parsed["count"] * 2}

    def classes_of(serialized: Any) -> dict[str, Any]:
        weight = parse(serialized)["weight"]
        scores = tf.stack([tf.sigmoid(weight), 1 - tf.sigmoid(weight)], axis=1)
        return {"classes": tf.tile([["heavy", "light"]], [tf.shape(weight)[0], 1]), "scores": scores}

    def regression_of(serialized: Any) -> dict[str, Any]:
        return {"outputs": tf.expand_dims(parse(serialized)["weight"] * 3, 1)}

    def one(x: Any) -> dict[str, Any]:
        return {"y": x * 2}

    row, rows, serialized = [1, 4], [None, 4], tf.TensorSpec([None], tf.string, name="examples")
    scalars = {name: tf.TensorSpec([None], tf.float32, name=name) for name in _FIELDS}
    signatures = {
        "serving_default": _concrete(named, **scalars),
        "vector": _concrete(classify, tf.TensorSpec(rows, tf.float32, name="rows")),
        "total": _concrete(
            lambda x: {"total": tf.reduce_sum(x, 1)}, tf.TensorSpec([None, None], tf.float32, name="x")
        ),
        "one": _concrete(one, tf.TensorSpec(row, tf.float32, name="x")),
        "root": _concrete(lambda x: {"y": tf.math.log(x)}, tf.TensorSpec([None], tf.float32, name="x")),
        "picky": _concrete(
            lambda i: {"y": tf.gather(tf.constant([1.5, 2.5]), i)}, tf.TensorSpec([None], tf.int64, name="i")
        ),
        "binary": _concrete(lambda x: {"x_bytes": x}, tf.TensorSpec([None], tf.string, name="x")),
        "no_text": _concrete(
            lambda x: {"y": tf.io.decode_base64(x)}, tf.TensorSpec([None], tf.string, name="x")
        ),
        "examples": _concrete(examples, serialized),
        "classify": _concrete(classes_of, serialized),
        "regress": _concrete(regression_of, serialized),
        "echo": _concrete(
            lambda **tensors: {f"{name}_out": tf.identity(one) for name, one in tensors.items()},
            **{name: tf.TensorSpec([None, 2], kind, name=name) for name, kind in ECHOED.items()},
        ),
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    _name_methods(folder / "saved_model.pb")
    return folder


def _concrete(function: Any, *specs: Any, **named: Any) -> Any:
    return tf.function(function).get_concrete_function(*specs, **named)


def _name_methods(path: Path) -> None:
    """Say which signatures are for Classify and Regress, as TensorFlow 1 did; TensorFlow 2 can't."""
    saved = SavedModel.FromString(path.read_bytes())
    for name in ("classify", "regress"):
        saved.meta_graphs[0].signature_def[name].method_name = f"tensorflow/serving/{name}"
    path.write_bytes(saved.SerializeToString())


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
