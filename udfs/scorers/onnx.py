"""ONNX models, with onnxruntime.

Inputs are read as `udfs.tensors.reader` says. Outputs are an object with a value for each of the model's
outputs, by the model's own names: tensors as nested arrays, sequences as arrays, maps as objects (integer
keys become strings).

Options:
    fields: names for the elements of the only input tensor, in order: a list, or comma-separated. Without
        it, the names that the model's metadata has under ``fields`` or ``feature_names``.
    batch_axis: ``none`` where one event is the model's whole input; otherwise the first axis of every
        input is the batch, and an event has no such axis.
    null: ``nan`` to read null as NaN in float tensors; otherwise null is an error.
    threads: how many threads one call may use; 1 unless told.

Source: https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.one_core import on_one_core
from udfs.options import OptionReader, Options
from udfs.scorers import onnx_graph
from udfs.scorers._onnx_prepared import read_prepared, write_prepared
from udfs.scorers.base import Scorer, score_each
from udfs.scorers.onnx_batching import Runner, choose_runner, json_value
from udfs.scorers.onnx_graph import GraphTensor
from udfs.tensors.reader import TensorReader, TensorSpec, score_tensors

_SILENT = 4
_SMALL_MODEL = 1 << 20
_LARGE_MODEL = 4 << 20
"""Reading less than this keeps Python's lock for a few milliseconds."""

# onnxruntime writes what it also raises to standard error.
ort.set_default_logger_severity(_SILENT)


def load(artifact: Path, options: Options) -> Scorer:
    """Load an ONNX file.

    Args:
        artifact: the file, with all of its weights in it.
        options: see the module.

    Raises:
        ModelLoadError: it is no ONNX model that onnxruntime can run, or an option does not suit it.
    """
    model = onnx_graph.read_model(artifact)
    return _load(model, options, artifact)


def prepare(artifact: Path, prepared: Path) -> bool:
    """Write a large model with its weights beside its graph.

    Returns:
        Whether it is large.

    Raises:
        ModelLoadError: it is no ONNX model.
    """
    if artifact.stat().st_size < _LARGE_MODEL:
        return False
    write_prepared(onnx_graph.read_model(artifact), prepared)
    return True


def load_prepared(prepared: Path, options: Options) -> Scorer:
    """Load what `prepare` wrote.

    Raises:
        ModelLoadError: as `load`.
    """
    return _load(read_prepared(prepared), options, prepared, weights=prepared.parent)


def _load(model: onnx.ModelProto, options: Options, file: Path, weights: Path | None = None) -> Scorer:
    settings = _Settings.read(options)
    # A session of one thread starts none, which would be kept there.
    with on_one_core() if settings.threads == 1 else nullcontext():
        return _load_with(settings, model, file, weights)


def _load_with(settings: "_Settings", model: onnx.ModelProto, file: Path, weights: Path | None) -> Scorer:
    inputs = onnx_graph.graph_inputs(model)
    _check_types(inputs, onnx_graph.graph_outputs(model))
    stateful = onnx_graph.draws_random_numbers(model)

    def open_session(variant: onnx.ModelProto) -> ort.InferenceSession:
        return _open_session(variant, settings.threads, weights)

    try:
        if settings.whole:
            if settings.fields:
                raise ModelLoadError("the option fields is for models with a batch axis, not batch_axis=none")
            specs = [_spec(tensor, tensor.shape) for tensor in inputs]
            reader = TensorReader(specs, null_is_nan=settings.null_is_nan)
            return WholeScorer(open_session(model), reader, stateful=stateful)
        specs = [
            _spec(tensor, tensor.shape if tensor.optional else _record_shape(tensor)) for tensor in inputs
        ]
        runner, notes = choose_runner(model, open_session, is_small=file.stat().st_size < _SMALL_MODEL)
        reader = TensorReader(
            specs,
            fields=settings.fields or _fields_of_metadata(model, specs),
            null_is_nan=settings.null_is_nan,
            pad_to=runner.pad_to,
        )
        return BatchScorer(runner, reader, notes, stateful=stateful)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error


class BatchScorer:
    """A model whose inputs have a batch axis.

    Attributes:
        notes: what the model's owner should know of how it is scored.
        stateful: it draws random numbers.
    """

    def __init__(
        self, runner: Runner, reader: TensorReader, notes: tuple[str, ...], *, stateful: bool
    ) -> None:
        self.notes = notes
        self.stateful = stateful
        self._runner: Runner | None = runner
        self._reader = reader

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        """See `udfs.scorers.Scorer`."""
        assert self._runner is not None, "scored after close"
        return score_tensors(self._reader, self._runner.run, inputs)

    def close(self) -> None:
        """See `udfs.scorers.Scorer`."""
        self._runner = None


class WholeScorer:
    """A model for which one event is the whole input, and gets the outputs whole.

    Attributes:
        stateful: it draws random numbers.
    """

    def __init__(self, session: ort.InferenceSession, reader: TensorReader, *, stateful: bool) -> None:
        self.stateful = stateful
        self._session: ort.InferenceSession | None = session
        self._names = [output.name for output in session.get_outputs()]
        self._reader = reader

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        """See `udfs.scorers.Scorer`."""
        return score_each(self._score, inputs)

    def close(self) -> None:
        """See `udfs.scorers.Scorer`."""
        self._session = None

    def _score(self, value: JsonValue) -> JsonValue:
        assert self._session is not None, "scored after close"
        outputs = self._session.run(self._names, self._reader.read_whole(value))
        return {name: json_value(output) for name, output in zip(self._names, outputs, strict=True)}


@dataclass(frozen=True, slots=True)
class _Settings:
    fields: tuple[str, ...] = ()
    whole: bool = False
    null_is_nan: bool = False
    threads: int = 1

    @staticmethod
    def read(options: Options) -> "_Settings":
        values = OptionReader(options, {"batch_axis", "fields", "null", "threads"})
        return _Settings(
            fields=values.names("fields"),
            whole=values.chosen("batch_axis", "none"),
            null_is_nan=values.chosen("null", "nan"),
            threads=values.count("threads", 1),
        )


def _fields_of_metadata(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    names = onnx_graph.field_names(model)
    shapes = [spec.shape for spec in specs if not spec.optional]
    return names if shapes in ([(len(names),)], [(None,)]) else ()


def _open_session(model: onnx.ModelProto, threads: int, weights: Path | None) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _SILENT
    # Threads that spin while they wait would take the CPU from everything else in the job.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if weights is not None:
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights)
        )
    try:
        return ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many types, with no base of their own
        raise ModelLoadError(
            f"onnxruntime can't load the model: {' '.join(str(error).split())[:500]}"
        ) from error


def _check_types(inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]) -> None:
    for tensor in inputs:
        if tensor.dtype is None:
            raise ModelLoadError(f"input {tensor.name!r} is not a tensor, or one of an unknown element type")
    for tensor in outputs:
        if tensor.dtype is not None and tensor.dtype.kind not in "fiubO":
            raise ModelLoadError(
                f"output {tensor.name!r}: JSON has no values of element type {tensor.dtype}; "
                "cast it to float32 in the model"
            )


def _spec(tensor: GraphTensor, shape: tuple[int | str | None, ...] | None) -> TensorSpec:
    assert tensor.dtype is not None
    lengths = None if shape is None else tuple(axis if isinstance(axis, int) else None for axis in shape)
    return TensorSpec(tensor.name, tensor.dtype, lengths, tensor.optional)


def _record_shape(tensor: GraphTensor) -> tuple[int | str | None, ...] | None:
    return tensor.shape and tensor.shape[1:]
