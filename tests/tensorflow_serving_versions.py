"""Versions of a SavedModel, run by TensorFlow, for the stand-in of TensorFlow Serving."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

Arrays = dict[str, NDArray[Any]]
_LABELS = {"stable": 1}
_METHOD = "tensorflow/serving/"


class Refusal(Exception):  # noqa: N818  # named for what it is
    """What a request is refused with."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def refusal(code: str, text: str) -> Refusal:
    """A refusal with a status, by its name."""
    return Refusal(grpc.StatusCode[code], text)


class Refusing:
    """Ends a call with what it is refused with."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Refusal):
            self._context.abort(error.code, str(error))


class Version:
    """One version of a model, loaded."""

    def __init__(self, folder: Path) -> None:
        saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.signatures: dict[str, SignatureDef] = dict(saved.meta_graphs[0].signature_def)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))

    def signature(self, name: str, method: str) -> SignatureDef:
        """A signature that a method runs."""
        signature = self.signatures.get(name or "serving_default")
        if signature is None:
            raise refusal("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
        if method != "predict" and signature.method_name != _METHOD + method:
            raise refusal("INVALID_ARGUMENT", f"Expected {method} signature, got {signature.method_name}")
        return signature

    def run(self, signature: SignatureDef, inputs: Arrays, names: list[str]) -> Arrays:
        """Run a signature."""
        if inputs.keys() != set(signature.inputs):
            raise refusal(
                "INVALID_ARGUMENT", f"input must be exactly {sorted(signature.inputs)}, got {sorted(inputs)}"
            )
        if unknown := set(names) - set(signature.outputs):
            raise refusal("INVALID_ARGUMENT", f"output tensor alias not found in signature: {unknown}")
        for name, array in inputs.items():
            expected = tf.dtypes.as_dtype(signature.inputs[name].dtype)
            if tf.dtypes.as_dtype(array.dtype) != expected:
                raise refusal("INVALID_ARGUMENT", f"{name}: expected {expected.name}, got {array.dtype}")
        feed = {signature.inputs[name].name: array for name, array in inputs.items()}
        names = names or sorted(signature.outputs)
        try:
            found = self._session.run([signature.outputs[name].name for name in names], feed)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise refusal("INVALID_ARGUMENT", str(error)) from error
        return dict(zip(names, map(np.asarray, found), strict=True))

    def run_examples(self, name: str, method: str, examples: list[Example]) -> Arrays:
        """Run a signature that takes serialized examples."""
        if not examples:
            raise refusal("INVALID_ARGUMENT", "Input is empty.")
        signature = self.signature(name, method)
        column = np.array([one.SerializeToString() for one in examples], dtype=object)
        return self.run(signature, {next(iter(signature.inputs)): column}, [])


class Model:
    """The versions of a model."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._versions = {int(one.name): Version(one) for one in folder.iterdir()}

    def version(self, name: str, number: int | None, label: str | None) -> Version:
        """The version that a request names; the newest where it names none."""
        if label:
            number = _LABELS.get(label, -1)
        elif number is None:
            number = max(self._versions)
        if name != self._name or number not in self._versions:
            raise refusal("NOT_FOUND", f"Servable not found for request: Specific({name}, {number})")
        return self._versions[number]

    def of_spec(self, spec: Any) -> Version:
        """The version of a ModelSpec."""
        number = spec.version.value if spec.HasField("version") else None
        return self.version(spec.name, number, spec.version_label)


def classes_of(outputs: Arrays) -> list[list[tuple[str, Any]]]:
    """The classes of each record."""
    labels = outputs["classes"]
    return [
        [(label.decode(), score) for label, score in zip(*row, strict=True)]
        for row in zip(labels, outputs["scores"], strict=True)
    ]
