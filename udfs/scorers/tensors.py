"""From events to tensors: strict, and fast enough for small batches. For every format that scores tensors.

A record is the ``data`` of one event. It gives a model's tensors as

- an object with a value for each input tensor, by the tensor's own name: ``{"image": [[..]], "scale": 2}``;
- the value of the only tensor, bare: ``[5.1, 3.5, 1.4, 0.2]``;
- named scalars for the elements of the only tensor, in the order of ``fields``: ``{"length": 5.1, ...}``.

Other fields of an object are passed over. Nothing is converted that would lose or invent something: a
string is never a number, a boolean is never a number, a float is an integer only where it has no
fraction, an integer that its type can't hold is an error, and so is a finite number that is infinite
as float32 or float16. Null is an error, or NaN in a float tensor where that was asked for. A tensor with
a single element may be given as a bare scalar.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.errors import ScoreError
from udfs.json_values import JsonValue, write_json

Columns = dict[str, NDArray[Any]]
"""Tensors by name; in a batch the first axis is the records'."""

Run = Callable[[Columns, int], Sequence[JsonValue]]
"""Runs a model on the columns of N records (there may be padding beyond N): N outputs, or it raises."""

_REFUSED = (KeyError, TypeError, ValueError, OverflowError, struct.error)
_LEAVES: dict[str, frozenset[type]] = {
    "f": frozenset({float, int}),
    "i": frozenset({int, float}),
    "u": frozenset({int, float}),
    "b": frozenset({bool}),
    "O": frozenset({str}),
}
_WORDS = {"f": "a number", "i": "an integer", "u": "an integer", "b": "true or false", "O": "a string"}
_ARRAYS = frozenset({list, tuple})
# Few enough for a chunk's Python objects to stay in the CPU's cache, however large the batch is.
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that a model takes of each record.

    Attributes:
        name: the model's name for it.
        dtype: its element type: float, int, uint or bool of any size, or object for strings.
        shape: one record's shape, without a batch axis; None for an axis of any length, or for a
            tensor of any rank.
        optional: the model has a value of its own for it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.dtype.kind not in _LEAVES:
            raise ValueError(f"input {self.name!r}: JSON has no values of element type {self.dtype}")


class Group(NamedTuple):
    """Records of a batch whose tensors have the same shapes: their positions, and their tensors."""

    rows: list[int]
    columns: Columns


class UnevenBatchError(ValueError):
    """The records of a batch don't stack: one is bad, or they differ in shape or in form."""


class TensorReader:
    """Reads records into the tensors of one model."""

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        *,
        fields: Sequence[str] = (),
        null_is_nan: bool = False,
        pad_to: int = 1,
    ) -> None:
        """Prepare to read.

        Args:
            specs: the model's tensors.
            fields: names for the elements of the only tensor that is not optional, in order.
            null_is_nan: read null as NaN in float tensors.
            pad_to: batches are padded to a multiple of it with copies of their first record.

        Raises:
            ValueError: ``fields`` that don't fit the specs.
        """
        required = [spec for spec in specs if not spec.optional]
        self._specs = specs
        self._only = required[0] if len(required) == 1 else None
        self._fields = tuple(fields)
        self._null_is_nan = null_is_nan
        self._pad_to = pad_to
        if self._fields:
            if self._only is None:
                names = ", ".join(spec.name for spec in required)
                raise ValueError(f"fields are for a model with one input tensor; this one has {names}")
            if not _fits((len(self._fields),), self._only.shape):
                raise ValueError(
                    f"{len(self._fields)} fields don't fit input {self._only.name!r} "
                    f"of shape {_shape_text(self._only.shape)}"
                )
            self._pick_fields: Callable[[Any], Any] = itemgetter(*self._fields)

    def stack(self, inputs: Sequence[JsonValue]) -> Columns:
        """Read records that are all alike, in one go.

        Returns:
            For each tensor an array ``[N, *shape]``, N padded.

        Raises:
            UnevenBatchError: they are not all alike, or one of them is bad.
        """
        count = len(inputs)
        try:
            return self._stack(inputs, -(-count // self._pad_to) * self._pad_to)
        except _REFUSED as error:
            raise UnevenBatchError(str(error)) from error

    def sort_out(self, inputs: Sequence[JsonValue]) -> tuple[list[Group], dict[int, ScoreError]]:
        """Read records that are not all alike: those that stack together, and what is wrong with the others.

        Returns:
            Groups, unpadded, and errors by position; each input is in one of them.
        """
        alike: dict[tuple[tuple[str, tuple[int, ...]], ...], tuple[list[int], list[Columns]]] = {}
        errors: dict[int, ScoreError] = {}
        for row, value in enumerate(inputs):
            try:
                columns = self._read(value)
            except ScoreError as error:
                errors[row] = error
                continue
            rows, parts = alike.setdefault(tuple((k, v.shape) for k, v in columns.items()), ([], []))
            rows.append(row)
            parts.append(columns)
        groups = [
            Group(rows, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
            for rows, parts in alike.values()
        ]
        return groups, errors

    def read_whole(self, value: JsonValue) -> Columns:
        """Read one record as a model's whole input, with no batch axis.

        Raises:
            ScoreError: the record is bad.
        """
        return {name: column[0] for name, column in self._read(value).items()}

    def pad(self, columns: Columns) -> Columns:
        """Pad the columns of N records to the multiple that the reader was made with."""
        return {name: self._pad(column) for name, column in columns.items()}

    def _pad(self, column: NDArray[Any]) -> NDArray[Any]:
        missing = -len(column) % self._pad_to
        return np.concatenate([column, column[:1].repeat(missing, axis=0)]) if missing else column

    def _read(self, value: JsonValue) -> Columns:
        try:
            return self._stack([value], 1)
        except _REFUSED:
            raise ScoreError(self._explain(value)) from None

    def _stack(self, inputs: Sequence[JsonValue], padded: int) -> Columns:
        first: Any = inputs[0]
        only = self._only
        if type(first) is not dict:
            if only is None:
                raise ValueError("not an object")
            return {only.name: self._column(inputs, only, padded)}
        if self._fields and only is not None:
            return self._stack_fields(inputs, only, padded)
        columns = {}
        for spec in self._specs:
            name = spec.name
            if spec.optional and name not in first:
                if any(name in record for record in inputs):  # type: ignore[operator]
                    raise ValueError("not in every record")
                continue
            columns[name] = self._column(list(map(itemgetter(name), inputs)), spec, padded)  # type: ignore[arg-type]
        return columns

    def _stack_fields(self, inputs: Sequence[Any], only: TensorSpec, padded: int) -> Columns:
        if len(inputs) == 1 and not self._fields_of(inputs[0]) and only.name in inputs[0]:
            return {only.name: self._column([inputs[0][only.name]], only, padded)}
        picked = map(self._pick_fields, inputs)
        flat = list(picked) if len(self._fields) == 1 else list(chain.from_iterable(picked))
        column = np.empty((padded, len(self._fields)), only.dtype)
        self._write(flat, column, 0)
        column[len(inputs) :] = column[0]
        return {only.name: column}

    def _fields_of(self, record: Mapping[str, JsonValue]) -> bool:
        return all(name in record for name in self._fields)

    def _column(self, values: Sequence[Any], spec: TensorSpec, padded: int) -> NDArray[Any]:
        shape = spec.shape
        if shape is None or None in shape:
            shape = _shape_of(values[0])
            if not _fits(shape, spec.shape):
                raise ValueError("wrong shape")
        count, size = len(values), math.prod(shape)  # type: ignore[arg-type]
        column: NDArray[Any] = np.empty((padded, *shape), spec.dtype)  # type: ignore[arg-type]
        nested: Iterable[Any] = () if size == 1 and type(values[0]) not in _ARRAYS else shape
        step = max(1, _CHUNK // max(1, size))
        for start in range(0, count, step):
            self._write(_flatten(values[start : start + step], nested), column, start * size)
        if padded > count:
            column[count:] = column[0]
        return column

    def _write(self, flat: list[Any], column: NDArray[Any], offset: int) -> None:
        """Write elements, checked, to a place in a column counted in elements."""
        dtype = column.dtype
        kind = dtype.kind
        types = set(map(type, flat))
        if not types <= _LEAVES[kind]:
            if not (self._null_is_nan and kind == "f" and types <= {float, int, type(None)}):
                raise TypeError("wrong element type")
            flat = [math.nan if value is None else value for value in flat]
        part = column.reshape(-1)[offset : offset + len(flat)]
        if kind == "O":
            part[:] = flat
            return
        if kind in "iu" and float in types:
            flat = [_integer(value) for value in flat]
        # struct knows numpy's type characters, converts faster than numpy, and refuses what doesn't fit.
        struct.pack_into(f"{len(flat)}{dtype.char}", part.data, 0, *flat)
        if dtype.char == "f" and np.isinf(part).any() and np.isinf(part).sum() != sum(map(math.isinf, flat)):
            raise OverflowError("beyond float32")

    def _explain(self, record: JsonValue) -> str:
        """What is wrong with a record that was refused."""
        only = self._only
        if isinstance(record, Mapping):
            if self._fields and only is not None and only.name not in record:
                return self._explain_fields(record, only)
            for spec in self._specs:
                if spec.name in record:
                    problem = self._problem(record[spec.name], spec)
                    if problem:
                        return f'field "{spec.name}"{problem}'
                elif not spec.optional:
                    hint = ""
                    if only is not None:
                        hint = "; to score named fields, set the option fields to their names in order"
                    return f'field "{spec.name}" is missing{hint}'
        elif only is not None:
            return f"input{self._problem(record, only)}"
        names = ", ".join(spec.name for spec in self._specs if not spec.optional)
        return f"expected an object with the fields {names}, got {_text(record)}"

    def _explain_fields(self, record: Mapping[str, JsonValue], only: TensorSpec) -> str:
        scalar = TensorSpec(only.name, only.dtype, ())
        for name in self._fields:
            if name not in record:
                return f'field "{name}" is missing'
            problem = self._problem(record[name], scalar)
            if problem:
                return f'field "{name}"{problem}'
        return "bad fields"

    def _problem(self, value: Any, spec: TensorSpec) -> str | None:
        """What is wrong with one tensor, to be read after its name."""
        try:
            self._column([value], spec, 1)
            return None
        except _REFUSED:
            shape = _shape_of(value)
        if not _fits(shape, spec.shape) and not (shape == () and _fits((1,), spec.shape)):
            if shape == () and type(value) not in _LEAVES[spec.dtype.kind]:
                return f": expected shape {_shape_text(spec.shape)}, got {_text(value)}"
            return f": expected shape {_shape_text(spec.shape)}, got {_shape_text(shape)}"
        for index in np.ndindex(shape):
            element, sibling = value, shape
            for position in index:
                if type(element) not in _ARRAYS or len(element) != sibling[0]:
                    return f": its arrays differ in length, expected shape {_shape_text(spec.shape)}"
                element, sibling = element[position], sibling[1:]
            problem = self._element_problem(element, spec.dtype)
            if problem:
                return f"{''.join(f'[{i}]' for i in index)}: {problem}"
        return f": its arrays differ in length, expected shape {_shape_text(spec.shape)}"

    def _element_problem(self, element: Any, dtype: np.dtype[Any]) -> str | None:
        try:
            self._write([element], np.empty(1, dtype), 0)
        except _REFUSED:
            if type(element) not in _LEAVES[dtype.kind]:
                return f"expected {_WORDS[dtype.kind]}, got {_text(element)}"
            return f"{_text(element)} does not fit {dtype}"
        return None


def score_tensors(
    reader: TensorReader, run: Run, inputs: Sequence[JsonValue]
) -> list[JsonValue | ScoreError]:
    """Score a batch so that what one record does wrong, or the model does not take, is that record's alone.

    Args:
        reader: reads the records.
        run: runs the model; whatever it raises is the fault of a record that it was given.
        inputs: N records.

    Returns:
        N outputs or errors, in the order of the records.
    """
    try:
        columns = reader.stack(inputs)
    except UnevenBatchError:
        groups, errors = reader.sort_out(inputs)
        results: list[JsonValue | ScoreError] = [None] * len(inputs)
        for row, error in errors.items():
            results[row] = error
        for rows, columns in groups:
            scored = _run_apart(reader, run, columns, len(rows))
            for row, outputs in zip(rows, scored, strict=True):
                results[row] = outputs
        return results
    try:
        return list(run(columns, len(inputs)))
    except Exception:  # noqa: BLE001 - foreign code, and the record at fault is not known yet
        return _run_apart(reader, run, columns, len(inputs))


def _run_apart(reader: TensorReader, run: Run, columns: Columns, count: int) -> list[JsonValue | ScoreError]:
    """Run N records; halve the batch until a failure has its records for itself."""
    if not count:
        return []
    try:
        return list(run(reader.pad({name: column[:count] for name, column in columns.items()}), count))
    except ScoreError as error:
        if count == 1:
            return [error]
    except Exception as error:  # noqa: BLE001 - foreign code
        if count == 1:
            return [ScoreError(f"{type(error).__name__}: {error}")]
    half = count // 2
    left = {name: column[:half] for name, column in columns.items()}
    right = {name: column[half:count] for name, column in columns.items()}
    return _run_apart(reader, run, left, half) + _run_apart(reader, run, right, count - half)


def _flatten(values: Sequence[Any], shape: Iterable[int]) -> list[Any]:
    """The elements of nested arrays that all have a shape."""
    level = list(values)
    for length in shape:
        if not set(map(type, level)) <= _ARRAYS or not set(map(len, level)) <= {length}:
            raise ValueError("wrong shape")
        level = list(chain.from_iterable(level))
    return level


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape of nested arrays, as their first elements have it."""
    shape: list[int] = []
    while type(value) in _ARRAYS:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...] | None) -> bool:
    return expected is None or (
        len(shape) == len(expected) and all(b is None or a == b for a, b in zip(shape, expected, strict=True))
    )


def _integer(value: Any) -> int:
    whole = int(value)
    if whole != value:
        raise ValueError("not an integer")
    return whole


def _shape_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if type(value) in _ARRAYS:
        return f"an array of shape {_shape_text(_shape_of(value))}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = write_json(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
