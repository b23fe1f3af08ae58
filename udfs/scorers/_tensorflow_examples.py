"""Events as serialized ``tf.train.Example``: what classic TensorFlow Serving signatures take.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from udfs.errors import ScoreError
from udfs.json_values import JsonValue

_PARSERS = {"ParseExample", "ParseExampleV2"}


def feature_types(graph: MetaGraphDef) -> dict[str, np.dtype[Any]]:
    """The element type of each feature that a graph parses, as far as the graph says it plainly."""
    nodes = {node.name: node for node in graph.graph_def.node}
    bodies = [nodes, *({n.name: n for n in f.node_def} for f in graph.graph_def.library.function)]
    found: dict[str, np.dtype[Any]] = {}
    for body in bodies:
        for node in body.values():
            if node.op in _PARSERS:
                dense = [tf.dtypes.as_dtype(kind) for kind in node.attr["Tdense"].list.type]
                sparse = [tf.dtypes.as_dtype(kind) for kind in node.attr["sparse_types"].list.type]
                sparse_keys, dense_keys = _keys(node, body, len(sparse), len(dense))
                for key, kind in [*zip(sparse_keys, sparse), *zip(dense_keys, dense)]:  # noqa: B905  # keys may be unknown
                    found[key] = np.dtype(kind.as_numpy_dtype)
    return found


def _keys(node: Any, body: Mapping[str, Any], sparse: int, dense: int) -> tuple[list[str], list[str]]:
    if node.op == "ParseExampleV2":
        return _strings(node.input[2], body), _strings(node.input[3], body)
    keys = [_strings(name, body) for name in node.input[2 : 2 + sparse + dense]]
    flat = [one[0] if one else "" for one in keys]
    return flat[:sparse], flat[sparse:]


def _strings(tensor: str, body: Mapping[str, Any]) -> list[str]:
    node = body.get(tensor.partition(":")[0])
    if node is None or node.op != "Const":
        return []
    return [one.decode("utf-8", "replace") for one in np.ravel(tf.make_ndarray(node.attr["value"].tensor))]


def serialize(record: JsonValue, types: Mapping[str, np.dtype[Any]]) -> bytes:
    """An event's fields as the features of an example.

    Args:
        record: an object of scalars or flat arrays; null is a feature that is missing.
        types: element types by feature. A field that it does not have goes by its value: integers
            and booleans are int64, other numbers float, strings bytes.

    Raises:
        ScoreError: not such an object, or a value that its type can't hold.
    """
    if not isinstance(record, Mapping):
        raise ScoreError("expected an object: its fields become the features of a tf.train.Example")
    example = Example()
    for name, value in record.items():
        values = value if isinstance(value, list | tuple) else [] if value is None else [value]
        feature = example.features.feature[name]
        try:
            match types[name].kind if name in types else _kind(values):
                case "f":
                    feature.float_list.value.extend(map(_number, values))
                case "i" | "u" | "b":
                    feature.int64_list.value.extend(map(_integer, values))
                case _:
                    feature.bytes_list.value.extend(map(_text, values))
        except (TypeError, ValueError) as error:
            raise ScoreError(f'field "{name}": {error}') from error
    return bytes(example.SerializeToString())


def _kind(values: Sequence[Any]) -> str:
    kinds = set(map(type, values))
    if kinds <= {int, bool}:
        return "i"
    return "f" if kinds <= {int, float} else "O"


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"expected a number, got {type(value).__name__}")


def _integer(value: object) -> int:
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise TypeError(f"expected an integer, got {type(value).__name__}")


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"expected a string, got {type(value).__name__}")
