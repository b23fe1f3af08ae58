"""From events to tensors: strict, and fast also for small batches. For every format that scores tensors.

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

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.tensors.columns import REFUSED, TensorSpec, fits, make_column, write_elements
from udfs.tensors.faults import fault_of, shape_text, text_of

__all__ = [
    "Columns",
    "Group",
    "Run",
    "TensorReader",
    "TensorSpec",
    "UnevenBatchError",
    "outputs_by_record",
    "score_columns",
    "score_tensors",
]

Columns = dict[str, NDArray[Any]]
"""Tensors by name; in a batch the first axis is the records'."""

Run = Callable[[Columns, int], Sequence[JsonValue]]
"""Runs a model on the columns of N records (there may be padding beyond N): N outputs, or it raises."""


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
            pad_to: batches are padded to a multiple of it, with copies of their first record.

        Raises:
            ValueError: ``fields`` that don't fit the specs.
        """
        required = [spec for spec in specs if not spec.optional]
        self._specs = specs
        self._required = ", ".join(spec.name for spec in required)
        self._only = required[0] if len(required) == 1 else None
        self._fields = tuple(fields)
        self._null_is_nan = null_is_nan
        self._pad_to = pad_to
        if self._fields:
            self._pick_fields = itemgetter(*self._fields)
            if self._only is None:
                raise ValueError(f"fields are for a model with one input; this one has {self._required}")
            if not fits((len(self._fields),), self._only.shape):
                raise ValueError(
                    f"{len(self._fields)} fields don't fit input {self._only.name!r}, "
                    f"which has shape {shape_text(self._only.shape)}"
                )

    def stack(self, inputs: Sequence[JsonValue]) -> Columns:
        """Read records that are all alike, in one go.

        Returns:
            For each tensor an array ``[N padded, *shape]``.

        Raises:
            UnevenBatchError: they are not all alike, or one of them is bad.
        """
        try:
            return self._stack(inputs, len(inputs) + -len(inputs) % self._pad_to)
        except REFUSED as error:
            raise UnevenBatchError(str(error)) from error

    def sort_out(self, inputs: Sequence[JsonValue]) -> tuple[list[Group], dict[int, ScoreError]]:
        """Read records that are not all alike.

        Returns:
            Groups of those that stack together, not padded, and errors by position for the others.
        """
        alike: dict[tuple[Any, ...], tuple[list[int], list[Columns]]] = {}
        errors: dict[int, ScoreError] = {}
        for row, value in enumerate(inputs):
            try:
                columns = self._read(value)
            except ScoreError as error:
                errors[row] = error
            else:
                shapes = tuple((name, column.shape) for name, column in columns.items())
                rows, parts = alike.setdefault(shapes, ([], []))
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
            ScoreError: the record is bad; says where and why.
        """
        return {name: np.asarray(column[0], column.dtype) for name, column in self._read(value).items()}

    def pad(self, columns: Columns) -> Columns:
        """Pad the columns of N records to a multiple of `pad_to`, with copies of the first."""
        missing = -len(next(iter(columns.values()), ())) % self._pad_to
        if not missing:
            return columns
        return {
            name: np.concatenate([column, column[:1].repeat(missing, axis=0)])
            for name, column in columns.items()
        }

    def _read(self, value: JsonValue) -> Columns:
        try:
            return self._stack([value], 1)
        except REFUSED:
            raise ScoreError(self._fault(value)) from None

    def _stack(self, inputs: Sequence[Any], padded: int) -> Columns:
        first, only = inputs[0], self._only
        if type(first) is not dict:
            if only is None:
                raise ValueError("not an object")
            return {only.name: self._column(inputs, only, padded)}
        if self._fields and only is not None and not self._gives_tensor_itself(inputs, only):
            return {only.name: self._column_of_fields(inputs, only, padded)}
        columns = {}
        for spec in self._specs:
            if spec.optional and spec.name not in first:
                if any(spec.name in record for record in inputs):
                    raise ValueError("not in every record")
            else:
                columns[spec.name] = self._column(list(map(itemgetter(spec.name), inputs)), spec, padded)
        return columns

    def _gives_tensor_itself(self, inputs: Sequence[Any], only: TensorSpec) -> bool:
        """Whether an object has the tensor by its own name, and not by fields; looked at one by one."""
        if len(inputs) > 1 or only.name not in inputs[0]:
            return False
        return not all(name in inputs[0] for name in self._fields)

    def _column(self, values: Sequence[Any], spec: TensorSpec, padded: int) -> NDArray[Any]:
        return make_column(values, spec, padded, null_is_nan=self._null_is_nan)

    def _column_of_fields(self, inputs: Sequence[Any], only: TensorSpec, padded: int) -> NDArray[Any]:
        picked = map(self._pick_fields, inputs)
        flat = list(picked) if len(self._fields) == 1 else list(chain.from_iterable(picked))
        column = np.empty((padded, len(self._fields)), only.dtype)
        write_elements(flat, column, 0, null_is_nan=self._null_is_nan)
        column[len(inputs) :] = column[0]
        return column

    def _fault(self, record: JsonValue) -> str:
        """What is wrong with a record that was refused."""
        only = self._only
        if not isinstance(record, Mapping):
            if only is None:
                return f"expected an object with the fields {self._required}, got {text_of(record)}"
            return f"input{fault_of(record, only, null_is_nan=self._null_is_nan)}"
        specs = self._specs
        hint = ""
        if only is not None and self._fields and not self._gives_tensor_itself([record], only):
            specs = [TensorSpec(name, only.dtype, ()) for name in self._fields]
        elif only is not None:
            hint = "; to score an object of named fields, set the option fields to their names, in order"
        for spec in specs:
            if spec.name in record:
                fault = fault_of(record[spec.name], spec, null_is_nan=self._null_is_nan)
                if fault:
                    return f'field "{spec.name}"{fault}'
            elif not spec.optional:
                return f'field "{spec.name}" is missing{hint}'
        return "the record makes no tensors"


def score_tensors(
    reader: TensorReader, run: Run, inputs: Sequence[JsonValue]
) -> list[JsonValue | ScoreError]:
    """Score a batch so that what is wrong with one record, or what the model refuses, is that record's alone.

    Args:
        reader: reads the records.
        run: runs the model; what it raises is taken for the fault of a record that it was given.
        inputs: N records.

    Returns:
        N outputs or errors, in the order of the records.
    """
    try:
        columns = reader.stack(inputs)
    except UnevenBatchError:
        groups, errors = reader.sort_out(inputs)
        results: list[JsonValue | ScoreError] = [errors.get(row) for row in range(len(inputs))]
        for rows, columns in groups:
            for row, outputs in zip(rows, score_columns(reader, run, columns, len(rows)), strict=True):
                results[row] = outputs
        return results
    try:
        return list(run(columns, len(inputs)))
    except Exception:  # noqa: BLE001 - foreign code; which record is at fault is not known yet
        return score_columns(reader, run, columns, len(inputs))


def outputs_by_record(names: Sequence[str], values: Sequence[Sequence[JsonValue]]) -> list[JsonValue]:
    """For each record an object of its outputs.

    Args:
        names: the outputs' names.
        values: for each output its values, one a record.
    """
    # Nearly all models have one output or two, and then a display costs a quarter of dict(zip()).
    if len(names) == 1:
        (name,), (column,) = names, values
        return [{name: value} for value in column]
    if len(names) == 2:
        (one, other), (left, right) = names, values
        return [{one: a, other: b} for a, b in zip(left, right, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def score_columns(
    reader: TensorReader, run: Run, columns: Columns, count: int
) -> list[JsonValue | ScoreError]:
    """Run the columns of N records; halve the batch until what fails has failed alone.

    Args:
        reader: pads the columns.
        run: runs the model; what it raises is taken for the fault of a record that it was given.
        columns: ``[N or more, ...]``.
        count: N.

    Returns:
        N outputs or errors, in the order of the records.
    """
    columns = {name: column[:count] for name, column in columns.items()}
    try:
        return list(run(reader.pad(columns), count))
    except ScoreError as error:
        fault = error
    except Exception as error:  # noqa: BLE001 - foreign code
        fault = ScoreError(" ".join(f"{type(error).__name__}: {error}".split()))
    if count == 1:
        return [fault]
    half = count // 2
    rest = {name: column[half:] for name, column in columns.items()}
    return score_columns(reader, run, columns, half) + score_columns(reader, run, rest, count - half)
