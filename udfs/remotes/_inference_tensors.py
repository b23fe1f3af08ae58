"""Tensors as the Open Inference Protocol V2 writes them: columns to bytes and JSON, and answers to outputs.

Answers come from a server that may say anything: each function that reads one checks what it reads, and
raises ValueError for what does not add up.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import InferTensorContents
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from udfs.json_values import JsonValue
from udfs.tensors.columns import ARRAYS, REFUSED, flatten, write_elements
from udfs.tensors.faults import shape_text
from udfs.tensors.reader import outputs_by_record

_MOST_ELEMENTS = 1 << 24
"""In one answer: 64 MiB of FP32. As Python numbers they take sixteen times that."""

MOST_AXES = 32
"""That an array can have."""

_SHOWN = 100
_LISTED = 10

_FIELDS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a message has the elements that are not raw. Those of FP16 are always raw."""

_WIDE = {"int_contents": np.dtype("int32"), "uint_contents": np.dtype("uint32")}
"""The element types of the fields that have those of several datatypes."""


class Output(NamedTuple):
    """An output of an answer, read and checked.

    Attributes:
        name: as the server gives it.
        values: ``[N, ...]``; those of BYTES are texts.
    """

    name: str
    values: NDArray[Any]


@lru_cache(64)
def dtype_of(datatype: str) -> np.dtype[Any]:
    """The element type of a datatype; that of BYTES is object.

    Raises:
        ValueError: BF16, which neither numpy nor JSON has, or a datatype that the protocol does not have.
    """
    found = None if datatype == "BF16" else triton_to_np_dtype(datatype)
    if found is None:
        raise ValueError(
            f"datatype {shown(datatype)} is none of BOOL, BYTES, FP16 to FP64, INT8 to INT64, UINT8 to UINT64"
        )
    return np.dtype(found)


@lru_cache(64)
def datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype of an element type."""
    return str(np_to_triton_dtype(dtype))


def write_raw(column: NDArray[Any]) -> bytes:
    """A column's elements as bytes: little-endian, row by row, each text after its length."""
    if column.dtype.kind == "O":
        return bytes(serialize_byte_tensor(column).item()) if column.size else b""
    return column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()


def read_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Output:
    """Read an output whose elements are bytes."""
    with _reading(name):
        dtype = dtype_of(datatype)
        if dtype.kind == "O":
            return Output(name, _shaped(_texts(deserialize_bytes_tensor(raw)), shape))
        if dtype.kind == "b" and raw.strip(b"\x00\x01"):
            raise ValueError("bytes that are neither true nor false")
        return Output(name, _shaped(np.frombuffer(raw, dtype.newbyteorder("<")), shape))


def read_contents(name: str, datatype: str, shape: Sequence[int], contents: InferTensorContents) -> Output:
    """Read an output whose elements are in a field of the message."""
    with _reading(name):
        dtype = dtype_of(datatype)
        if datatype not in _FIELDS:
            raise ValueError(f"elements of {datatype} that are not raw")
        found = getattr(contents, _FIELDS[datatype])
        if dtype.kind == "O":
            return Output(name, _shaped(_texts(found), shape))
        # What does not fit a small datatype is not cut off in silence.
        wide = np.array(found, _WIDE.get(_FIELDS[datatype], dtype))
        elements = wide.astype(dtype, copy=False)
        if dtype.kind in "iu" and (elements != wide).any():
            raise ValueError(f"numbers beyond {datatype}")
        return Output(name, _shaped(elements, shape))


def read_data(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> Output:
    """Read an output whose elements are JSON values, nested as its shape is or flat. Null is NaN."""
    with _reading(name):
        flat = flatten([data], shape) if data and type(data[0]) in ARRAYS else list(data)
        elements: NDArray[Any] = np.empty(len(flat), dtype_of(datatype))
        write_elements(flat, elements, 0, null_is_nan=True)
        return Output(name, _shaped(elements, shape))


def read_records(outputs: Sequence[Output], wanted: Sequence[str], rows: int) -> list[JsonValue]:
    """For each record an object of its outputs.

    Args:
        outputs: what the server answered.
        wanted: which of them to give, in this order; none: all.
        rows: how many records it was asked for.

    Raises:
        ValueError: a wanted output is missing, or does not have a value for each record.
    """
    by_name = {output.name: output.values for output in outputs}
    names = wanted or tuple(by_name)
    if len(by_name) < len(outputs):
        raise ValueError("two outputs of one name")
    if not names:
        raise ValueError("no outputs")
    if missing := [name for name in names if name not in by_name]:
        raise ValueError(f"output {shown(missing[0])} is missing; there are {listed(by_name)}")
    for name in names:
        if by_name[name].shape[:1] != (rows,):
            raise ValueError(
                f"output {shown(name)} has shape {shape_text(by_name[name].shape)}, not a value for each of "
                f"{rows} records; the option outputs can leave it out"
            )
    if sum(_python_objects(by_name[name].shape) for name in names) > _MOST_ELEMENTS:
        raise ValueError(f"more than {_MOST_ELEMENTS} elements; send fewer records a request, see max_batch")
    return outputs_by_record(names, [by_name[name].tolist() for name in names])


def shown(text: str) -> str:
    """A server's text as an error may show it."""
    return repr(text[:_SHOWN])


def listed(names: Iterable[str]) -> str:
    """A server's names as an error may show them."""
    return ", ".join(shown(name) for name in list(names)[:_LISTED])


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except REFUSED as error:
        raise ValueError(f"output {shown(name)}: {error}") from error


def _texts(found: Iterable[bytes]) -> NDArray[Any]:
    try:
        texts = [one.decode() for one in found]
    except UnicodeDecodeError as error:
        raise ValueError("bytes that are no UTF-8; the option outputs can leave it out") from error
    elements: NDArray[Any] = np.empty(len(texts), object)
    elements[:] = texts
    return elements


def _shaped(elements: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    if len(shape) > MOST_AXES or not all(0 <= axis <= _MOST_ELEMENTS for axis in shape):
        raise ValueError(f"shape {shape_text(tuple(shape[:MOST_AXES]))} is none that an answer can have")
    if math.prod(shape) != len(elements):
        raise ValueError(f"{len(elements)} elements for shape {shape_text(tuple(shape))}")
    return elements.reshape(tuple(shape))


def _python_objects(shape: Sequence[int]) -> int:
    """How many objects an array becomes, going by its innermost ones: its elements, or its empty lists."""
    return math.prod(takewhile(bool, shape))
