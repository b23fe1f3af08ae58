"""The REST paths and formats of TensorFlow Serving, for its stand-in.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from tests.tensorflow_serving_versions import Model, Refusal, Version, classes_of, refusal


class RestHandler(BaseHTTPRequestHandler):
    """The published REST paths."""

    protocol_version = "HTTP/1.1"
    model: Model

    def do_GET(self) -> None:
        self._answer("metadata")

    def do_POST(self) -> None:
        self._answer("predict|classify|regress")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _answer(self, methods: str) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = rf"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?[:/]({methods})"
        status, answer = 200, {}
        try:
            found = re.fullmatch(path, self.path)
            if found is None:
                raise refusal("NOT_FOUND", f"Malformed request: {self.command} {self.path}")
            name, number, label, method = found.groups()
            version = self.model.version(name, int(number) if number else None, label)
            answer = rest_metadata(version) if method == "metadata" else rest_call(version, method, body)
        except Refusal as error:
            status = 404 if error.code is grpc.StatusCode.NOT_FOUND else 400
            answer = {"error": str(error)}
        written = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


def rest_metadata(version: Version) -> dict[str, Any]:
    """The answer to GET .../metadata."""
    signatures = {name: _signature_json(one) for name, one in version.signatures.items()}
    return {"model_spec": {}, "metadata": {"signature_def": {"signature_def": signatures}}}


def rest_call(version: Version, method: str, body: bytes) -> dict[str, Any]:
    """The answer to POST ...:method."""
    try:
        request = json.loads(body)
        name = request.get("signature_name", "serving_default")
        if method == "predict":
            return _rest_predict(version, version.signature(name, method), request)
        outputs = version.run_examples(name, method, list(map(_example, request["examples"])))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise refusal("INVALID_ARGUMENT", f"JSON Value: {type(error).__name__}: {error}") from error
    if method == "regress":
        return {"results": _short(outputs["outputs"].ravel())}
    return {"results": [[[label, _short(score)] for label, score in one] for one in classes_of(outputs)]}


def _rest_predict(version: Version, signature: SignatureDef, request: dict[str, Any]) -> dict[str, Any]:
    if ("instances" in request) == ("inputs" in request):
        raise ValueError("expected instances or inputs")
    only = next(iter(signature.inputs)) if len(signature.inputs) == 1 else ""
    if "instances" in request:
        rows = [
            one if isinstance(one, dict) and "b64" not in one else {only: one} for one in request["instances"]
        ]
        if any(row.keys() != rows[0].keys() for row in rows):
            raise ValueError("instances differ")
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    else:
        columns = request["inputs"] if isinstance(request["inputs"], dict) else {only: request["inputs"]}
    inputs = {name: _array(signature, name, values) for name, values in columns.items()}
    outputs = {name: _values(name, array) for name, array in version.run(signature, inputs, []).items()}
    only_output = next(iter(outputs)) if len(outputs) == 1 else None
    if "inputs" in request:
        return {"outputs": outputs[only_output] if only_output else outputs}
    if only_output:
        return {"predictions": outputs[only_output]}
    return {
        "predictions": [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    }


def _array(signature: SignatureDef, name: str, values: Any) -> NDArray[Any]:
    dtype = tf.dtypes.as_dtype(signature.inputs[name].dtype)
    flat = np.array(_decoded(values), dtype=object).ravel().tolist()
    kinds = {"f": (int, float), "i": (int,), "u": (int,), "b": (bool,), "O": (bytes,)}
    allowed = kinds[np.dtype(dtype.as_numpy_dtype).kind]
    if not all(isinstance(one, allowed) and isinstance(one, bool) == (allowed == (bool,)) for one in flat):
        raise ValueError(f"Failed to process element of {name}: not of expected type: {dtype.name}")
    return np.array(_decoded(values), dtype.as_numpy_dtype)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return value.encode() if isinstance(value, str) else value


def _values(name: str, array: NDArray[Any]) -> Any:
    if array.dtype.kind != "O":
        return _short(array)
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(one).decode()} for one in array]
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist()


def _short(value: Any) -> Any:
    """Values as numbers of no more digits than float32 needs, as the original writes them."""
    if isinstance(value, np.ndarray) and value.ndim:
        return [_short(one) for one in value]
    return float(str(value)) if isinstance(value, np.floating) else np.asarray(value).item()


def _example(record: Mapping[str, Any]) -> Example:
    example = Example()
    for name, value in record.items():
        values = _decoded(value if isinstance(value, list) else [value])
        feature = example.features.feature[name]
        if all(isinstance(one, bytes) for one in values):
            feature.bytes_list.value.extend(values)
        elif all(isinstance(one, int) for one in values):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example


def _signature_json(signature: SignatureDef) -> dict[str, Any]:
    def tensors(infos: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                "dtype": DataType.Name(info.dtype),
                "tensor_shape": {
                    "dim": [{"size": str(dim.size), "name": ""} for dim in info.tensor_shape.dim],
                    "unknown_rank": info.tensor_shape.unknown_rank,
                },
                "name": info.name,
            }
            for name, info in infos.items()
        }

    return {
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
        "method_name": signature.method_name,
    }
