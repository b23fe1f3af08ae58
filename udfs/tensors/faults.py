"""What to tell the sender of a value that makes no tensor. Slow, and only called for those."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from udfs.json_values import write_json
from udfs.tensors.columns import (
    ARRAYS,
    ELEMENTS,
    REFUSED,
    Shape,
    TensorSpec,
    fits,
    flatten,
    make_column,
    shape_of,
    write_elements,
)

_WORDS = {"f": "a number", "i": "an integer", "u": "an integer", "b": "true or false", "O": "a string"}
_TEXT_LENGTH = 40
_STRIDE = 256


def fault_of(value: Any, spec: TensorSpec, *, null_is_nan: bool) -> str | None:
    """What is wrong with a record's value for a tensor, to be read after its name; None if nothing is."""
    try:
        make_column([value], spec, 1, null_is_nan=null_is_nan)
        return None
    except REFUSED:
        shape = shape_of(value)
    if not fits(shape, spec.shape) and not (shape == () and _takes_scalar(spec)):
        got = shape_text(shape) if shape and spec.shape != () else text_of(value)
        return f": expected {_expected(spec)}, got {got}"
    try:
        flat = flatten([value], shape)
    except ValueError:
        return f": expected {_expected(spec)}, got arrays that differ in length"
    for start in range(0, len(flat), _STRIDE):
        if _element_fault(flat[start : start + _STRIDE], spec.dtype, null_is_nan):
            for position, element in enumerate(flat[start : start + _STRIDE], start):
                fault = _element_fault([element], spec.dtype, null_is_nan)
                if fault:
                    index = np.unravel_index(position, shape)
                    return f"{''.join(f'[{i}]' for i in index)}: {fault}"
    return f": expected {_expected(spec)}"


def shape_text(shape: Shape | None) -> str:
    """A shape as ``[3, ?]``."""
    if shape is None:
        return "of any rank"
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"


def text_of(value: Any) -> str:
    """A short text for a JSON value."""
    if isinstance(value, Mapping):
        return "an object"
    if type(value) in ARRAYS:
        return f"an array of shape {shape_text(shape_of(value))}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = write_json(value).decode()
    except ValueError:
        text = "a number beyond 64 bits" if isinstance(value, int) else type(value).__name__
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 3]}..."


def _expected(spec: TensorSpec) -> str:
    return _WORDS[spec.dtype.kind] if spec.shape == () else f"shape {shape_text(spec.shape)}"


def _takes_scalar(spec: TensorSpec) -> bool:
    return spec.shape is not None and all(length == 1 for length in spec.shape)


def _element_fault(elements: list[Any], dtype: np.dtype[Any], null_is_nan: bool) -> str | None:
    """What is wrong with elements: exact where there is one."""
    try:
        write_elements(elements, np.empty(len(elements), dtype), 0, null_is_nan=null_is_nan)
        return None
    except REFUSED:
        if type(elements[0]) in ELEMENTS[dtype.kind]:
            return f"{text_of(elements[0])} does not fit {dtype}"
        return f"expected {_WORDS[dtype.kind]}, got {text_of(elements[0])}"
