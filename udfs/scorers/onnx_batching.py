"""How many events an ONNX model takes in one run, so that each gets the answer that it would get alone.

What a file declares says little: most exporters write a batch of 1, or of their example's n, for graphs that
take any, and a graph with a free axis may still mix its rows. So it is tried out, see `batch_invariance`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.scorers import onnx_graph
from udfs.scorers.batch_invariance import PAD_TO, answers_are_the_same, find_probes
from udfs.scorers.onnx_graph import GraphTensor
from udfs.tensors.reader import Columns, TensorSpec, outputs_by_record

OpenSession = Callable[[onnx.ModelProto], ort.InferenceSession]

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
        self.pad_to = size or PAD_TO
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
        return outputs_by_record(self._names, values)

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


def choose_runner(model: onnx.ModelProto, open_session: OpenSession, *, is_small: bool) -> Choice:
    """Find the fastest way to run a model in which an event's neighbours make no difference.

    Args:
        model: the model.
        open_session: opens a session of it, or of a variant of it.
        is_small: whether the model is fast enough for many records.

    Raises:
        ModelLoadError: onnxruntime can't load the model, or events have no place in its inputs.
    """
    inputs = [tensor for tensor in onnx_graph.graph_inputs(model) if not tensor.optional]
    size = _declared_size(inputs)
    session = open_session(model)
    declared = Runner(session, model, size or 1)
    if not inputs or any(tensor.shape == () for tensor in inputs):
        return Choice(declared)
    probes = find_probes(
        [_record_spec(tensor) for tensor in inputs],
        declared,
        strings=onnx_graph.known_strings(model) or ("a", "b"),
        is_small=is_small,
    )
    if size is None:
        together = Runner(session, model, None)
        if probes is None:
            return Choice(together, ("not checked: no made-up record could be scored",))
        if answers_are_the_same(declared, together, probes):
            return Choice(together)
        return Choice(declared, ("scored one by one: in a batch its answers differ",))
    if probes is not None:
        symbolic = onnx_graph.with_symbolic_batch(model)
        try:
            together = Runner(open_session(symbolic), model, None)
        except ModelLoadError:
            pass
        else:
            if answers_are_the_same(declared, together, probes):
                note = (
                    f"the first axis of its inputs, {size} long in the file, is taken for a batch of events"
                )
                return Choice(together, (note,) if size > 1 else ())
        if size > 1 and not answers_are_the_same(declared, declared, probes):
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


def _record_spec(tensor: GraphTensor) -> TensorSpec:
    assert tensor.dtype is not None
    axes = (None,) if tensor.shape is None else tensor.shape[1:]
    return TensorSpec(tensor.name, tensor.dtype, tuple(n if isinstance(n, int) else None for n in axes))
