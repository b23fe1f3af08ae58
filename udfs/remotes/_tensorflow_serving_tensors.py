"""TensorFlow's tensors without TensorFlow: as messages and as JSON, from columns and back to outputs.

Answers come from a server that may say anything: what reads one raises ValueError for what does not add up.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/tensor.proto
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.tensors.columns import ARRAYS, REFUSED, flatten, shape_of, write_elements
from udfs.tensors.faults import shape_text
from udfs.tensors.reader import outputs_by_record

_MOST_ELEMENTS = 1 << 24
_MOST_AXES = 32

_TYPES = {
    1: ("DT_FLOAT", "float32", "float_val"),
    2: ("DT_DOUBLE", "float64", "double_val"),
    3: ("DT_INT32", "int32", "int_val"),
    4: ("DT_UINT8", "uint8", "int_val"),
    5: ("DT_INT16", "int16", "int_val"),
    6: ("DT_INT8", "int8", "int_val"),
    7: ("DT_STRING", "object", "string_val"),
    9: ("DT_INT64", "int64", "int64_val"),
    10: ("DT_BOOL", "bool", "bool_val"),
    17: ("DT_UINT16", "uint16", "int_val"),
    19: ("DT_HALF", "float16", "half_val"),
    22: ("DT_UINT32", "uint32", "uint32_val"),
    23: ("DT_UINT64", "uint64", "uint64_val"),
}
"""By number: the name, numpy's type, and the field of a message that has the elements."""
_NUMBERS = {np.dtype(dtype): number for number, (_, dtype, _) in _TYPES.items()}
_BY_NAME = {name: number for number, (name, _, _) in _TYPES.items()}


def dtype_of(kind: int | str) -> np.dtype[Any]:
    """The element type of a DataType, by its number or name; that of strings is object.

    Raises:
        ValueError: JSON has no values of it, or there is no such DataType.
    """
    number = _BY_NAME.get(kind, -1) if isinstance(kind, str) else kind
    if number not in _TYPES:
        raise ValueError(f"element type {kind!r} is none of {', '.join(_BY_NAME)}")
    return np.dtype(_TYPES[number][1])


def write_tensor(column: NDArray[Any], message: Message) -> None:
    """Write a column into a Tensor: strings as UTF-8, bytes as they are."""
    message.dtype = _NUMBERS[column.dtype]
    for length in column.shape:
        message.tensor_shape.dim.add(size=length)
    if column.dtype.kind == "O":
        elements = column.ravel().tolist()
        message.string_val.extend(one.encode() if isinstance(one, str) else one for one in elements)
    else:
        little = column.astype(column.dtype.newbyteorder("<"), copy=False)
        message.tensor_content = little.tobytes()


def read_tensor(message: Message) -> NDArray[Any]:
    """The array of a Tensor; strings are bytes.

    Raises:
        ValueError: its elements don't fit its shape or type.
    """
    dtype = dtype_of(message.dtype)
    shape = [one.size for one in message.tensor_shape.dim]
    count = math.prod(shape)
    if message.tensor_shape.unknown_rank or len(shape) > _MOST_AXES or any(one < 0 for one in shape):
        raise ValueError("no shape that an array has")
    if count > _MOST_ELEMENTS:
        raise ValueError(f"{count} elements")
    if message.tensor_content and dtype.kind != "O":
        elements = np.frombuffer(message.tensor_content, dtype.newbyteorder("<"))
    else:
        elements = _elements(getattr(message, _TYPES[message.dtype][2]), dtype)
        if 0 < len(elements) < count:
            # What is left out is as the last that is there.
            elements = np.concatenate([elements, elements[-1:].repeat(count - len(elements))])
    if len(elements) != count:
        raise ValueError(f"{len(elements)} elements for shape {shape_text(tuple(shape))}")
    return elements.reshape(shape)


def json_column(column: NDArray[Any]) -> list[Any]:
    """The values of a column as TensorFlow Serving's JSON has them: bytes in an object ``{"b64": ...}``."""
    if column.dtype.kind != "O":
        return list(column.tolist())
    return [_json_bytes(one) for one in column.tolist()]


def read_json_values(values: JsonValue, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array of nested lists.

    Raises:
        ValueError: they are no array of that type.
    """
    if type(values) not in ARRAYS:
        raise ValueError("no list of values")
    shape = shape_of(values)
    flat: list[Any] = flatten([values], shape)
    if len(shape) > _MOST_AXES or len(flat) > _MOST_ELEMENTS:
        raise ValueError("too many elements")
    elements: NDArray[Any] = np.empty(len(flat), dtype)
    try:
        if dtype.kind == "O":
            elements[:] = [_bytes_of(one) for one in flat]
        else:
            write_elements(flat, elements, 0, null_is_nan=False)
    except REFUSED as error:
        raise ValueError(str(error)) from error
    return elements.reshape(shape)


def read_records(
    outputs: Mapping[str, NDArray[Any]], names: Sequence[str], count: int, rows: int
) -> list[JsonValue | ScoreError]:
    """For each record an object of its outputs, or an error where one has bytes that are no text.

    Args:
        outputs: what the server answered.
        names: which to give, in this order.
        count: how many records there are.
        rows: how many were sent; those beyond the count were padding.

    Raises:
        ValueError: an output is missing, or does not have a value for each record.
    """
    columns: list[list[Any]] = []
    errors: dict[int, ScoreError] = {}
    for name in names:
        if name not in outputs:
            raise ValueError(f"output {name!r} is missing")
        array = outputs[name]
        if array.shape[:1] != (rows,):
            raise ValueError(f"output {name!r} has shape {shape_text(array.shape)}, for {rows} records")
        column = array[:count].tolist()
        if array.dtype.kind == "O":
            column = [_text_or_error(value, name, row, errors) for row, value in enumerate(column)]
        columns.append(column)
    records: list[JsonValue | ScoreError] = list(outputs_by_record(names, columns))
    for row, error in errors.items():
        records[row] = error
    return records


def _elements(found: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype == np.float16:
        return np.array(found, np.int32).astype(np.uint16).view(np.float16)
    if dtype.kind == "O" or dtype.itemsize > 2 or dtype.kind == "b":
        return np.array(found, dtype)
    # What does not fit a small type is not cut off in silence.
    wide = np.array(found, np.int32)
    elements = wide.astype(dtype)
    if (elements != wide).any():
        raise ValueError(f"numbers beyond {dtype}")
    return elements


def _text_or_error(value: Any, name: str, row: int, errors: dict[int, ScoreError]) -> Any:
    try:
        return _text(value)
    except UnicodeDecodeError:
        errors[row] = ScoreError(f"output {name!r} has bytes that are no text")
        return None


def _text(value: Any) -> Any:
    return [_text(one) for one in value] if isinstance(value, list) else value.decode()


def _json_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_bytes(one) for one in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _bytes_of(value: Any) -> bytes:
    match value:
        case str():
            return value.encode()
        case {"b64": str(text)}:
            return base64.b64decode(text, validate=True)
    raise TypeError(f"{type(value).__name__} in place of a string")
