"""TensorFlow models: a SavedModel as .zip or .tar.gz, of TensorFlow 1 or 2, or a ``.keras`` file.

Inputs are read as `udfs.tensors.reader` says, by the signature's own names. Outputs are an object with a
value for each of the signature's outputs; strings are text.

Options:
    signature: which signature to run; ``serving_default``, or the only one there is, unless told.
    outputs: which outputs to give, a list or comma-separated; all of them unless told.
    fields: names for the elements of the only input tensor, in order: a list, or comma-separated.
    batch_axis: ``none`` where one event is the signature's whole input; otherwise the first axis of
        every input is the batch, and an event has no such axis.
    input: ``tf.Example`` where the signature takes serialized examples: an event's fields become features.
    threads: how many operations of one call may run at a time; 1 unless told.

Operations that could reach files, the network or Python are refused, see `_tensorflow_graph`.

Source: https://www.tensorflow.org/guide/saved_model
"""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

# What TensorFlow says of GPUs and instruction sets on standard error is for nobody here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.one_core import on_one_core
from udfs.options import OptionReader, Options
from udfs.scorers import _tensorflow_archive as archives
from udfs.scorers import _tensorflow_examples as examples
from udfs.scorers import _tensorflow_graph as graphs
from udfs.scorers._tensorflow_keras import write_saved_model
from udfs.scorers._tensorflow_session import SessionRunner
from udfs.scorers.base import Scorer, score_each
from udfs.scorers.batch_invariance import answers_are_the_same, find_probes
from udfs.temporary_folders import temporary_folder
from udfs.tensors.reader import TensorReader, TensorSpec, score_columns, score_tensors

logging.getLogger("tensorflow").setLevel(logging.ERROR)

_EXAMPLE = "tf.Example"
_SMALL_MODEL = 1 << 20
_ADVICE = "; if one event is the signature's whole input, set the option batch_axis=none"


def load(artifact: Path, options: Options) -> Scorer:
    """Load a SavedModel archive or a Keras file.

    Args:
        artifact: the file.
        options: see the module.

    Raises:
        ModelLoadError: it is neither, TensorFlow can't load it, it has operations that are refused,
            or an option does not suit it.
    """
    settings = _Settings.read(options)
    # A session of one thread scores in the thread that calls, whichever others TensorFlow starts.
    core = on_one_core() if settings.threads == 1 else nullcontext()
    # TensorFlow reads all of the folder while it loads.
    with core, temporary_folder("tensorflow") as folder:
        if archives.is_keras(artifact):
            folder = write_saved_model(archives.copy_keras(artifact, folder), folder / "saved-model")
        else:
            folder = archives.unpack_saved_model(artifact, folder)
        graph = graphs.read_meta_graph(folder)
        signature = graphs.find_signature(graph, settings.signature)
        graphs.check_operations(graph, signature)
        outputs = _choose_outputs(signature, settings.outputs)
        graphs.leave_out_unreached(folder, graph, signature)
        runner = SessionRunner(folder, graph, signature, outputs, settings.threads)
        runner.stateful = graphs.keeps_state(graph, signature)
        try:
            is_small = sum(path.stat().st_size for path in folder.rglob("*")) < _SMALL_MODEL
            if settings.examples:
                return ExampleScorer(runner, _only_string(signature), examples.feature_types(graph))
            return _tensor_scorer(runner, signature, settings, is_small=is_small)
        except BaseException:
            runner.close()
            raise


def prepare(artifact: Path, prepared: Path) -> bool:
    """Write a Keras file as a SavedModel archive: making it is work of Python's, which holds up all others.

    Returns:
        Whether it is a Keras file.

    Raises:
        ModelLoadError: TensorFlow can't load it.
    """
    if not archives.is_keras(artifact):
        return False
    with temporary_folder("tensorflow") as folder:
        written = write_saved_model(archives.copy_keras(artifact, folder), folder / "saved-model")
        archives.pack_saved_model(written, prepared)
    return True


class TensorScorer:
    """A signature that takes tensors with a batch axis.

    Attributes:
        notes: what the model's owner should know of how it is scored.
    """

    def __init__(self, runner: SessionRunner, reader: TensorReader, notes: tuple[str, ...]) -> None:
        self.notes = notes
        self.stateful = runner.stateful
        self._runner = runner
        self._reader = reader

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        """See `udfs.scorers.Scorer`."""
        return score_tensors(self._reader, self._runner.run, inputs)

    def close(self) -> None:
        """See `udfs.scorers.Scorer`."""
        self._runner.close()


class WholeScorer:
    """A signature for which one event is the whole input, and gets the outputs whole."""

    def __init__(self, runner: SessionRunner, reader: TensorReader) -> None:
        self.stateful = runner.stateful
        self._runner = runner
        self._reader = reader

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        """See `udfs.scorers.Scorer`."""
        return score_each(lambda value: self._runner.run_whole(self._reader.read_whole(value)), inputs)

    def close(self) -> None:
        """See `udfs.scorers.Scorer`."""
        self._runner.close()


class ExampleScorer:
    """A signature that takes serialized examples: the fields of an event are their features."""

    notes = ("not checked: whether an event's neighbours in a batch change its answer",)

    def __init__(self, runner: SessionRunner, name: str, types: dict[str, np.dtype[np.generic]]) -> None:
        self._runner = runner
        self.stateful = runner.stateful
        self._name = name
        self._types = types
        spec = TensorSpec(name, np.dtype(object), ())
        self._reader = TensorReader([spec], pad_to=runner.pad_to)

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        """See `udfs.scorers.Scorer`."""
        results: list[JsonValue | ScoreError] = [None] * len(inputs)
        rows, serialized = [], []
        for row, value in enumerate(inputs):
            try:
                serialized.append(examples.serialize(value, self._types))
                rows.append(row)
            except ScoreError as error:
                results[row] = error
        column = np.array(serialized, dtype=object)
        columns = self._reader.pad({self._name: column})
        scored = score_columns(self._reader, self._runner.run, columns, len(rows)) if rows else []
        for row, result in zip(rows, scored, strict=True):
            results[row] = result
        return results

    def close(self) -> None:
        """See `udfs.scorers.Scorer`."""
        self._runner.close()


@dataclass(frozen=True, slots=True)
class _Settings:
    signature: str | None = None
    outputs: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    whole: bool = False
    examples: bool = False
    threads: int = 1

    @staticmethod
    def read(options: Options) -> "_Settings":
        values = OptionReader(options, {"signature", "outputs", "fields", "batch_axis", "input", "threads"})
        settings = _Settings(
            signature=values.text("signature"),
            outputs=values.names("outputs"),
            fields=values.names("fields"),
            whole=values.chosen("batch_axis", "none"),
            examples=values.chosen("input", _EXAMPLE),
            threads=values.count("threads", 1),
        )
        if (settings.whole or settings.examples) and settings.fields:
            raise ModelLoadError("the option fields is for a tensor with a batch axis")
        if settings.whole and settings.examples:
            raise ModelLoadError(f"batch_axis=none and input={_EXAMPLE} don't go together")
        return settings


def _tensor_scorer(
    runner: SessionRunner, signature: SignatureDef, settings: _Settings, *, is_small: bool
) -> Scorer:
    specs = [_spec(name, info, settings.whole) for name, info in sorted(signature.inputs.items())]
    try:
        if settings.whole:
            return WholeScorer(runner, TensorReader(specs))
        notes = _choose_batching(runner, specs, _declared_sizes(signature), is_small=is_small)
        reader = TensorReader(specs, fields=settings.fields, pad_to=runner.pad_to)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    return TensorScorer(runner, reader, notes)


def _choose_batching(
    runner: SessionRunner, specs: Sequence[TensorSpec], sizes: set[int | None], *, is_small: bool
) -> tuple[str, ...]:
    """Set how many records a run takes, so that an event's neighbours make no difference; notes on it."""
    declared = sizes - {None}
    if len(declared) > 1 or (declared and None in sizes):
        raise ModelLoadError(f"the inputs have no batch axis in common{_ADVICE}")
    if declared:
        size = runner.size = runner.pad_to = declared.pop() or 1
        return (f"scored {'one by one' if size == 1 else f'{size} at a time'}, as the signature declares",)
    probes = find_probes(specs, runner, is_small=is_small)
    if probes is None:
        return ("not checked: no made-up record could be scored",)
    if answers_are_the_same(runner, runner, probes):
        return ()
    runner.size = runner.pad_to = 1
    return ("scored one by one: in a batch its answers differ",)


def _choose_outputs(signature: SignatureDef, wanted: Sequence[str]) -> list[str]:
    known = sorted(signature.outputs)
    if unknown := [name for name in wanted if name not in known]:
        raise ModelLoadError(
            f"no output {unknown[0]!r}; the signature has: {', '.join(known)} (option outputs)"
        )
    return list(wanted) or known


def _declared_sizes(signature: SignatureDef) -> set[int | None]:
    """The length of the first axis of each input; None where it is free."""
    sizes: set[int | None] = set()
    for info in signature.inputs.values():
        axes = _axes(info)
        sizes.add(axes[0] if axes else None)
    return sizes


def _spec(name: str, info: TensorInfo, whole: bool) -> TensorSpec:
    axes = _axes(info)
    if axes is not None and not whole:
        if not axes:
            raise ModelLoadError(f"input {name!r} has no batch axis{_ADVICE}")
        axes = axes[1:]
    try:
        return TensorSpec(name, np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype), axes)
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"input {name!r}: {error}") from error


def _axes(info: TensorInfo) -> tuple[int | None, ...] | None:
    if info.tensor_shape.unknown_rank:
        return None
    return tuple(axis.size if axis.size >= 0 else None for axis in info.tensor_shape.dim)


def _only_string(signature: SignatureDef) -> str:
    if [info.dtype for info in signature.inputs.values()] != [tf.string.as_datatype_enum]:
        raise ModelLoadError(f"input={_EXAMPLE} is for a signature whose only input takes strings")
    return str(next(iter(signature.inputs)))
