"""Whether a model gives a record the answer that it would get alone, whatever else is in the batch.

It is tried out when a model is loaded, with made-up records: all of its answers must be the same to the last
bit in every batch. For every format that scores tensors.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from udfs.json_values import JsonValue, write_json
from udfs.tensors.columns import TensorSpec
from udfs.tensors.reader import Columns

PAD_TO = 8
"""Linear algebra rounds differently on fewer rows than this, and on the rows beyond a multiple of it."""

_FREE_LENGTHS = (8, 1, 32, 224)
_INTEGERS_BELOW = (2, 1)
# Probes are for seconds at most: few for a large model, and no batch of a thousand large records.
_MANY, _FEW = 16, 6
_SMALL_RECORD = 1 << 10
_LARGEST_RECORD = 1 << 22


class Runner(Protocol):
    """A way to run a model.

    Attributes:
        pad_to: columns are padded to a multiple of it.
    """

    pad_to: int

    def run(self, columns: Columns, count: int) -> Sequence[JsonValue]:
        """Run the model on N records, see `udfs.tensors.reader.Run`."""
        ...


def find_probes(
    specs: Sequence[TensorSpec], runner: Runner, *, strings: Sequence[str] = ("a", "b"), is_small: bool = True
) -> Columns | None:
    """Make up records that a model scores.

    Args:
        specs: the model's tensors.
        runner: runs the model on one record at a time.
        strings: values for string tensors.
        is_small: whether the model is fast enough for many of them.

    Returns:
        Columns of a few records, or None where none was found.
    """
    free = any(spec.shape is None or None in spec.shape for spec in specs)
    for length, below in product(_FREE_LENGTHS if free else (1,), _INTEGERS_BELOW):
        shapes = {spec.name: _shape(spec, length) for spec in specs}
        if sum(map(math.prod, shapes.values())) > _LARGEST_RECORD:
            continue
        rng = np.random.default_rng(0)
        rows = _MANY if is_small else _FEW
        columns = {s.name: _made_up(s, (rows, *shapes[s.name]), below, strings, rng) for s in specs}
        try:
            for feed in _alone(columns, runner.pad_to):
                runner.run(feed, 1)
        except Exception:  # noqa: BLE001 - foreign code that refuses a value it was not made for
            continue
        return columns
    return None


def answers_are_the_same(declared: Runner, other: Runner, probes: Columns) -> bool:
    """Whether answers are the declared ones but for rounding, and the same to the last bit in any batch.

    Args:
        declared: runs the model as its file says.
        other: runs it in batches of any size.
        probes: records that the model scores.
    """
    rows = len(next(iter(probes.values())))
    record_size = sum(math.prod(column.shape[1:]) for column in probes.values())
    step = other.pad_to
    batches = [step, 2 * step, 3 * step] + ([1000] if rows == _MANY and record_size <= _SMALL_RECORD else [])
    try:
        alone = [other.run(feed, 1)[0] for feed in _alone(probes, step)]
        reference = [declared.run(feed, 1)[0] for feed in _alone(probes, declared.pad_to)]
        if not all(map(_alike, reference, alone)):
            return False
        texts = [write_json(outputs) for outputs in alone]
        for batch in batches:
            order = [(5 * i) % rows for i in range(-(-batch // step) * step)]
            results = other.run({name: column[order] for name, column in probes.items()}, batch)
            if [write_json(outputs) for outputs in results] != [texts[i] for i in order[:batch]]:
                return False
    except Exception:  # noqa: BLE001 - foreign code: a graph that can't take this batch
        return False
    return True


def _shape(spec: TensorSpec, length: int) -> tuple[int, ...]:
    axes = (None,) if spec.shape is None else spec.shape
    return tuple(length if axis is None else axis for axis in axes)


def _made_up(
    spec: TensorSpec, shape: tuple[int, ...], below: int, strings: Sequence[str], rng: np.random.Generator
) -> NDArray[Any]:
    match spec.dtype.kind:
        case "f":
            values = rng.normal(size=shape) * 10 ** rng.uniform(-1, 2, size=shape)
        case "b":
            values = rng.integers(0, 2, size=shape)
        case "O":
            values = rng.choice(list(strings), size=shape)
        case _:
            values = rng.integers(0, below, size=shape)
    return values.astype(spec.dtype)


def _alone(columns: Columns, padded: int) -> Iterator[Columns]:
    """Each record for itself, padded with copies of itself."""
    for row in range(len(next(iter(columns.values())))):
        yield {name: column[row : row + 1].repeat(padded, axis=0) for name, column in columns.items()}


def _alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for the rounding of floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)
