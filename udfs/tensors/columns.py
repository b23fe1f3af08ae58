"""One tensor of many records: from nested JSON arrays to one array, checked and in one pass."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int | None, ...]
"""A record's axes; None for an axis of any length."""

REFUSED = (KeyError, TypeError, ValueError, OverflowError, struct.error)
"""What is raised for values that don't make a tensor."""

ARRAYS = frozenset({list, tuple})
ELEMENTS: dict[str, frozenset[type]] = {
    "f": frozenset({float, int}),
    "i": frozenset({int, float}),
    "u": frozenset({int, float}),
    "b": frozenset({bool}),
    "O": frozenset({str}),
}
"""The Python types that a JSON value may have, by the kind of the element type."""

_FLOATS_OR_NULL = frozenset({float, int, type(None)})
# Few enough for a chunk's Python objects to stay in the CPU's cache, however large the batch is.
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a model takes of each record.

    Attributes:
        name: the model's name for it.
        dtype: its element type: float, int, uint or bool of any size, or object for strings.
        shape: one record's shape, without a batch axis; None for a tensor of any rank.
        optional: the model has a value of its own for it.

    Raises:
        ValueError: an element type that JSON has no values for.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.dtype.kind not in ELEMENTS:
            raise ValueError(f"input {self.name!r}: JSON has no values of element type {self.dtype}")


def make_column(values: Sequence[Any], spec: TensorSpec, padded: int, *, null_is_nan: bool) -> NDArray[Any]:
    """Make one array of the values of N records, all of the same shape.

    Args:
        values: nested arrays, or scalars.
        spec: what they must be.
        padded: the length of the array, N or more; the rest repeats the first record.
        null_is_nan: read null as NaN where the element type is a float.

    Returns:
        An array ``[padded, *shape]``.

    Raises:
        One of REFUSED: a value is bad, or they differ in shape.
    """
    shape = spec.shape
    if shape is None or None in shape:
        shape = shape_of(values[0])
        if not fits(shape, spec.shape):
            raise ValueError("wrong shape")
    lengths: tuple[Any, ...] = shape
    count, size = len(values), math.prod(lengths)
    column: NDArray[Any] = np.empty((padded, *lengths), spec.dtype)
    if size == 1 and type(values[0]) not in ARRAYS:
        lengths = ()
    step = max(1, _CHUNK // max(1, size))
    for start in range(0, count, step):
        chunk = flatten(values[start : start + step], lengths)
        write_elements(chunk, column, start * size, null_is_nan=null_is_nan)
    column[count:] = column[0]
    return column


def write_elements(flat: list[Any], column: NDArray[Any], offset: int, *, null_is_nan: bool) -> None:
    """Write elements to a place in an array, counted in elements; raises one of REFUSED."""
    dtype = column.dtype
    kind = dtype.kind
    types = set(map(type, flat))
    if not types <= ELEMENTS[kind]:
        if not (null_is_nan and kind == "f" and types <= _FLOATS_OR_NULL):
            raise TypeError("wrong element type")
        flat = [math.nan if value is None else value for value in flat]
    part = column.reshape(-1)[offset : offset + len(flat)]
    if kind == "O":
        part[:] = flat
        return
    if kind in "iu" and float in types:
        flat = [_integer(value) for value in flat]
    # struct knows numpy's type characters, is faster than numpy, and refuses integers that don't fit.
    struct.pack_into(f"{len(flat)}{dtype.char}", part.data, 0, *flat)
    if dtype.char == "f":
        infinite = np.isinf(part)
        if infinite.any() and infinite.sum() != sum(map(math.isinf, flat)):
            raise OverflowError("beyond float32")


def flatten(values: Sequence[Any], shape: Iterable[int]) -> list[Any]:
    """The elements of nested arrays that all have one shape; ValueError where they don't."""
    level = list(values)
    for length in shape:
        if not set(map(type, level)) <= ARRAYS or not set(map(len, level)) <= {length}:
            raise ValueError("wrong shape")
        level = list(chain.from_iterable(level))
    return level


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of nested arrays, going by the first element of each."""
    shape: list[int] = []
    while type(value) in ARRAYS:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def fits(shape: Shape, expected: Shape | None) -> bool:
    """Whether a shape is one that a tensor may have."""
    return expected is None or (
        len(shape) == len(expected) and all(b is None or a == b for a, b in zip(shape, expected, strict=True))
    )


def _integer(value: Any) -> int:
    whole = int(value)
    if whole != value:
        raise ValueError("not an integer")
    return whole
