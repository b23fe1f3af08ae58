"""A SavedModel in a session of its own, which runs exports of TensorFlow 1 and 2 alike.

Source: https://www.tensorflow.org/api_docs/python/tf/compat/v1/saved_model/load
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.scorers.batch_invariance import PAD_TO
from udfs.tensors.reader import Columns, outputs_by_record


class SessionRunner:
    """A signature of a loaded graph.

    Attributes:
        size: how many records one run takes; None for any.
        pad_to: columns are to be padded to a multiple of it.
        stateful: whether what an event gets may depend on the events before, or on chance.
    """

    stateful = False

    def __init__(
        self, folder: Path, graph: MetaGraphDef, signature: SignatureDef, outputs: Sequence[str], threads: int
    ) -> None:
        """Load the graph.

        Raises:
            ModelLoadError: TensorFlow can't load it.
        """
        self.size: int | None = None
        self.pad_to = PAD_TO
        self.outputs = list(outputs)
        self.inputs = sorted(signature.inputs)
        config = tf.compat.v1.ConfigProto(
            # The first session of a process decides for all of them: one operation, one thread.
            intra_op_parallelism_threads=1,
            # Negative: in the thread that calls.
            inter_op_parallelism_threads=threads if threads > 1 else -1,
            use_per_session_threads=threads > 1,
            # Exports name the devices that they were made on.
            allow_soft_placement=True,
            device_count={"GPU": 0},
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with self._session.graph.as_default():
                tags = list(graph.meta_info_def.tags)
                tf.compat.v1.saved_model.load(self._session, tags, str(folder))
            self._call = self._session.make_callable(
                [signature.outputs[name].name for name in outputs],
                [signature.inputs[name].name for name in self.inputs],
            )
        except Exception as error:  # TensorFlow raises many types
            self._session.close()
            raise ModelLoadError(f"TensorFlow can't load it: {' '.join(str(error).split())[:500]}") from error

    def run(self, columns: Columns, count: int) -> list[JsonValue]:
        """Run the signature on N records.

        Args:
            columns: the inputs, ``[N padded, ...]``.
            count: N.

        Returns:
            The outputs of each record.
        """
        if self.size is None:
            return self._run_together(columns, count)
        results: list[JsonValue] = []
        for start in range(0, count, self.size):
            feed = {name: column[start : start + self.size] for name, column in columns.items()}
            results += self._run_together(feed, min(self.size, count - start))
        return results

    def run_whole(self, columns: Columns) -> JsonValue:
        """Run the signature on inputs that have no batch axis; the outputs whole."""
        values = self._call(*(columns[name] for name in self.inputs))
        return {name: _values(name, value) for name, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """End the session and its threads."""
        self._session.close()

    def _run_together(self, feed: Columns, count: int) -> list[JsonValue]:
        rows = len(next(iter(feed.values())))
        values = []
        outputs = self._call(*(feed[name] for name in self.inputs))
        for name, output in zip(self.outputs, outputs, strict=True):
            if output.shape[:1] != (rows,):
                raise ScoreError(
                    f"output {name!r} does not have a value for each event; where one event is the model's "
                    f"whole input, publish it with the option batch_axis=none"
                )
            values.append(_values(name, output[:count]))
        return outputs_by_record(self.outputs, values)


def _values(name: str, output: NDArray[Any]) -> Any:
    if output.dtype.kind not in "OS":
        return np.asarray(output).tolist()
    try:
        return _texts(output.tolist())
    except UnicodeDecodeError as error:
        raise ScoreError(f"output {name!r} has bytes that are no text") from error


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value
