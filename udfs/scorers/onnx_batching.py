"""How many events an ONNX model takes in one run, so that each gets the answer that it would get alone.

What a file declares says little: most exporters write a batch of 1, or of their example's n, for graphs that
take any, and a graph with a free axis may still mix its rows. So it is tried out when a model is loaded,
with made-up records: all of its answers must be the same to the last bit in every batch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue, write_json
from udfs.scorers import onnx_graph
from udfs.scorers.onnx_graph import GraphTensor
from udfs.scorers.tensors import Columns

OpenSession = Callable[[onnx.ModelProto], ort.InferenceSession]

# Linear algebra rounds differently on fewer rows than this, and on the rows beyond a multiple of it.
_PAD_TO = 8
_FREE_LENGTHS = (8, 1, 32, 224)
_INTEGERS_BELOW = (2, 1)
# Probes are for seconds at most: few for a large model, and no batch of a thousand large records.
_MANY, _FEW = 16, 6
_SMALL_MODEL = 1 << 20
_SMALL_RECORD = 1 << 10
_LARGEST_RECORD = 1 << 22
_ADVICE = "; if one event is the model's whole input, set the option batch_axis=none"


class Runner:
    """A session, and how many records one run of it takes.

    Attributes:
        size: that number; None for any.
        pad_to: columns are to be padded to a multiple of it.
    """

    def __init__(self, session: ort.InferenceSession, model: onnx.ModelProto, size: int | None) -> None:
        inputs = onnx_graph.graph_inputs(model)
        batch_axes = {tensor.shape[0] for tensor in inputs if tensor.shape and not tensor.optional}
        outputs = onnx_graph.graph_outputs(model)
        self.size = size
        self.pad_to = size or _PAD_TO
        self._session = session
        self._names = [tensor.name for tensor in outputs]
        self._has_batch_axis = [_has_batch_axis(tensor, batch_axes) for tensor in outputs]
        self._without_batch_axis = {tensor.name for tensor in inputs if tensor.optional or tensor.shape == ()}

    def run(self, columns: Columns, count: int) -> list[JsonValue]:
        """Run the model on N records.

        Args:
            columns: the inputs, ``[N padded, ...]``.
            count: N.

        Returns:
            The outputs of each record.
        """
        if self.size is None and self._without_batch_axis.isdisjoint(columns):
            return self._run_together(columns, count)
        size = self.size or 1
        results: list[JsonValue] = []
        for start in range(0, count, size):
            feed = {name: column[start : start + size] for name, column in columns.items()}
            if size == 1:
                results.append(self._run_alone(feed))
            else:
                results += self._run_together(feed, min(size, count - start))
        return results

    def _run_together(self, feed: Columns, count: int) -> list[JsonValue]:
        rows = len(next(iter(feed.values())))
        values = []
        for name, output in zip(self._names, self._session.run(self._names, feed), strict=True):
            if isinstance(output, np.ndarray) and output.shape[:1] == (rows,):
                values.append(output[:count].tolist())
            elif isinstance(output, list) and len(output) == rows:
                values.append([json_value(item) for item in output[:count]])
            else:
                raise ScoreError(f"output {name!r} does not have a value for each event")
        return _objects(self._names, values)

    def _run_alone(self, feed: Columns) -> JsonValue:
        feed = {
            name: np.asarray(column[0]) if name in self._without_batch_axis else column
            for name, column in feed.items()
        }
        outputs = self._session.run(self._names, feed)
        return {
            name: json_value(output[0] if has_batch_axis and _has_length_one(output) else output)
            for name, output, has_batch_axis in zip(self._names, outputs, self._has_batch_axis, strict=True)
        }


class Choice(NamedTuple):
    """A way to run a model, and what its owner should know of it."""

    runner: Runner
    notes: tuple[str, ...] = ()


def choose_runner(model: onnx.ModelProto, open_session: OpenSession) -> Choice:
    """Find the fastest way to run a model in which an event's neighbours make no difference.

    Args:
        model: the model.
        open_session: opens a session of it, or of a variant of it.

    Raises:
        ModelLoadError: onnxruntime can't load the model, or events have no place in its inputs.
    """
    inputs = [tensor for tensor in onnx_graph.graph_inputs(model) if not tensor.optional]
    size = _declared_size(inputs)
    session = open_session(model)
    declared = Runner(session, model, size or 1)
    if not inputs or any(tensor.shape == () for tensor in inputs):
        return Choice(declared)
    probes = _find_probes(model, inputs, declared)
    if size is None:
        together = Runner(session, model, None)
        if probes is None:
            return Choice(together, ("not checked: no made-up record could be scored",))
        if _answers_are_the_same(declared, together, probes):
            return Choice(together)
        return Choice(declared, ("scored one by one: in a batch its answers differ",))
    if probes is not None:
        symbolic = onnx_graph.with_symbolic_batch(model)
        try:
            together = Runner(open_session(symbolic), model, None)
        except ModelLoadError:
            pass
        else:
            if _answers_are_the_same(declared, together, probes):
                note = (
                    f"the first axis of its inputs, {size} long in the file, is taken for a batch of events"
                )
                return Choice(together, (note,) if size > 1 else ())
        if size > 1 and not _answers_are_the_same(declared, declared, probes):
            raise ModelLoadError(f"the model takes a batch of {size}, and mixes the events in it{_ADVICE}")
    return Choice(
        declared, (f"scored {'one by one' if size == 1 else f'{size} at a time'}, as the file declares",)
    )


def json_value(output: Any) -> JsonValue:
    """What onnxruntime gives, as a JSON value: a tensor, a scalar, or a sequence or map of such."""
    if isinstance(output, np.ndarray | np.generic):
        value: JsonValue = output.tolist()
        return value
    if isinstance(output, Mapping):
        return {str(key): json_value(value) for key, value in output.items()}
    if isinstance(output, list):
        return [json_value(value) for value in output]
    plain: JsonValue = output
    return plain


def _objects(names: list[str], values: list[list[JsonValue]]) -> list[JsonValue]:
    """For each record an object of its outputs."""
    # Nearly all models have one output or two, and then a display costs a quarter of dict(zip()).
    if len(names) == 1:
        (name,), (column,) = names, values
        return [{name: value} for value in column]
    if len(names) == 2:
        (one, other), (left, right) = names, values
        return [{one: a, other: b} for a, b in zip(left, right, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _has_batch_axis(output: GraphTensor, batch_axes: set[int | str | None]) -> bool:
    """Whether an output's first axis, of length 1 in a run of one record, is the batch."""
    if not output.shape:
        return output.shape is None
    axis = output.shape[0]
    return axis is None or axis == 1 or axis in batch_axes


def _has_length_one(output: Any) -> bool:
    return isinstance(output, list | np.ndarray) and getattr(output, "ndim", 1) > 0 and len(output) == 1


def _declared_size(inputs: list[GraphTensor]) -> int | None:
    """The batch that a file declares; None where it leaves it open."""
    sizes = {tensor.shape[0] for tensor in inputs if tensor.shape and isinstance(tensor.shape[0], int)}
    if not sizes:
        return None
    size = sizes.pop()
    if sizes or size == 0 or (size > 1 and any(not tensor.shape for tensor in inputs)):
        raise ModelLoadError(f"the inputs have no batch axis in common{_ADVICE}")
    return size


def _find_probes(model: onnx.ModelProto, inputs: list[GraphTensor], declared: Runner) -> Columns | None:
    """Made-up records that a model scores, or None where none was found."""
    strings = onnx_graph.known_strings(model) or ["a", "b"]
    free = any(
        tensor.shape is None or not all(isinstance(n, int) for n in tensor.shape[1:]) for tensor in inputs
    )
    small = model.ByteSize() < _SMALL_MODEL
    for length, below in product(_FREE_LENGTHS if free else (1,), _INTEGERS_BELOW):
        shapes = {tensor.name: _record_shape(tensor, length) for tensor in inputs}
        if sum(map(math.prod, shapes.values())) > _LARGEST_RECORD:
            continue
        rng = np.random.default_rng(0)
        rows = _MANY if small else _FEW
        columns = {t.name: _made_up(t, (rows, *shapes[t.name]), below, strings, rng) for t in inputs}
        try:
            for feed in _alone(columns, declared.pad_to):
                declared.run(feed, 1)
        except Exception:  # noqa: BLE001 - foreign code that refuses a value it was not made for
            continue
        return columns
    return None


def _record_shape(tensor: GraphTensor, length: int) -> tuple[int, ...]:
    axes = (None,) if tensor.shape is None else tensor.shape[1:]
    return tuple(axis if isinstance(axis, int) else length for axis in axes)


def _made_up(
    tensor: GraphTensor, shape: tuple[int, ...], below: int, strings: list[str], rng: np.random.Generator
) -> NDArray[Any]:
    assert tensor.dtype is not None
    match tensor.dtype.kind:
        case "f":
            values = rng.normal(size=shape) * 10 ** rng.uniform(-1, 2, size=shape)
        case "b":
            values = rng.integers(0, 2, size=shape)
        case "O":
            values = rng.choice(strings, size=shape)
        case _:
            values = rng.integers(0, below, size=shape)
    return values.astype(tensor.dtype)


def _alone(columns: Columns, padded: int) -> Iterator[Columns]:
    """Each record for itself, padded with copies of itself."""
    for row in range(len(next(iter(columns.values())))):
        yield {name: column[row : row + 1].repeat(padded, axis=0) for name, column in columns.items()}


def _answers_are_the_same(declared: Runner, other: Runner, probes: Columns) -> bool:
    """Whether answers are the declared ones but for rounding, and the same to the last bit in any batch."""
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


def _alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for the rounding of floats."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)
