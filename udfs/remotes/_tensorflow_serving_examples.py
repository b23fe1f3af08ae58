"""Records as ``tf.train.Example``: what Classify and Regress take, and signatures that parse examples.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.remotes._tensorflow_serving_messages import Example

KINDS = ("float", "int64", "bytes")
_LARGEST_FLOAT = 3.4028235e38
_INT64 = range(-(2**63), 2**63)


class Feature(NamedTuple):
    """The values of a feature.

    Attributes:
        kind: one of KINDS.
        values: floats, integers, or bytes of text.
    """

    kind: str
    values: list[Any]


Features = Mapping[str, Feature]
"""A record's features, by name; those that are missing are not in it."""


def read_kinds(option: Mapping[str, JsonValue]) -> dict[str, str]:
    """The option ``features``: the kind of each feature that it names.

    Raises:
        ModelLoadError: a kind that there is not.
    """
    for name, kind in option.items():
        if kind not in KINDS:
            raise ModelLoadError(f"option features: {name}: expected {' or '.join(KINDS)}, got {kind!r}")
    return {name: str(kind) for name, kind in option.items()}


def read_features(record: JsonValue, kinds: Mapping[str, str]) -> Features:
    """The features of a record.

    Args:
        record: an object of scalars or flat arrays; null and an empty array are features that are missing.
        kinds: by feature. One that is not in it goes by its value: integers and booleans are int64, other
            numbers float, strings bytes.

    Raises:
        ScoreError: it is no such object, or a value is not of its kind.
    """
    if not isinstance(record, dict):
        raise ScoreError("expected an object: its fields become the features of a tf.train.Example")
    features = {}
    for name, value in record.items():
        values = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if values:
            kind = kinds.get(name) or _kind_of(values)
            try:
                features[name] = Feature(kind, list(map(_READERS[kind], values)))
            except (TypeError, ValueError, OverflowError) as error:
                raise ScoreError(f'field "{name}": {error}') from error
    return features


def example_of(features: Features) -> Message:
    """The message of a record."""
    example = Example()
    for name, (kind, values) in features.items():
        feature = example.features.feature[name]
        getattr(feature, f"{kind}_list").value.extend(values)
    return example


def json_example_of(features: Features) -> dict[str, JsonValue]:
    """A record as TensorFlow Serving's JSON has it: one value bare, bytes in an object ``{"b64": ...}``."""
    written = {}
    for name, (kind, values) in features.items():
        items = [{"b64": base64.b64encode(one).decode()} for one in values] if kind == "bytes" else values
        written[name] = items[0] if len(items) == 1 else items
    return written


def _kind_of(values: Sequence[Any]) -> str:
    types = set(map(type, values))
    if types <= {int, bool}:
        return "int64"
    return "float" if types <= {int, float} else "bytes"


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    if _LARGEST_FLOAT < abs(value) < math.inf:
        raise ValueError("a number beyond float32")
    return float(value)


def _integer(value: object) -> int:
    if not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise TypeError(f"expected an integer, got {type(value).__name__}")
    if int(value) not in _INT64:
        raise ValueError("an integer beyond 64 bits")
    return int(value)


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"expected a string, got {type(value).__name__}")


_READERS: dict[str, Callable[[object], Any]] = {"float": _number, "int64": _integer, "bytes": _text}
