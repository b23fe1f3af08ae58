"""The calls of TensorFlow Serving: what is made of records, and what of its answers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.remotes._records import prepare_each, put_together
from udfs.remotes._tensorflow_serving_examples import Features, example_of, read_features
from udfs.remotes._tensorflow_serving_model import Classes, ServedModel
from udfs.remotes._tensorflow_serving_signature import Signature
from udfs.remotes._tensorflow_serving_tensors import dtype_of, read_records
from udfs.remotes.base import Trace
from udfs.tensors.columns import TensorSpec
from udfs.tensors.reader import Columns, TensorReader, UnevenBatchError

EXAMPLE = "tf.Example"
_CLASSES, _SCORES, _OUTPUTS = "classes", "scores", "outputs"
"""The outputs of the signatures that Classify and Regress run."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options say of records and outputs.

    Attributes:
        method: ``predict``, ``classify`` or ``regress``.
        outputs: which to give; none: all.
        fields: of `TensorReader`.
        takes_examples: whether the signature that ``predict`` runs takes serialized examples.
        kinds: of features, see `read_features`.
    """

    method: str
    outputs: tuple[str, ...]
    fields: tuple[str, ...]
    takes_examples: bool
    kinds: Mapping[str, str]

    @property
    def sends_examples(self) -> bool:
        """Whether records become examples."""
        return self.takes_examples or self.method != "predict"


class Call(Protocol):
    """A call of one signature."""

    @property
    def max_batch(self) -> int | None:
        """Most records of a request, None: any number."""
        ...

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        """Score records. Raises ValueError for an answer that can't be read, and what the endpoint does."""
        ...


def prepare_call(served: ServedModel, signature: Signature, settings: Settings) -> Call:
    """Prepare to call a signature.

    Raises:
        ModelLoadError: the options don't fit it.
    """
    names = signature.choose_outputs(settings.outputs)
    if settings.method == "predict":
        return _Predict(served, signature, names, settings)
    return _Examine(served, signature, names, settings)


class _Predict:
    """Predict, of tensors or of serialized examples."""

    def __init__(
        self, served: ServedModel, signature: Signature, names: Sequence[str], settings: Settings
    ) -> None:
        specs, size = signature.specs(), signature.batch_size()
        self.max_batch = size
        self._served = served
        self._outputs = {name: signature.outputs[name] for name in names}
        self._examples = settings.takes_examples
        self._kinds = settings.kinds
        try:
            for info in self._outputs.values():
                dtype_of(info.kind)
            self._reader = TensorReader(specs, fields=settings.fields, pad_to=size or 1)
        except ValueError as error:
            raise ModelLoadError(str(error)) from error
        self._only = specs[0] if len(specs) == 1 else None
        if self._examples and (self._only is None or self._only.dtype.kind != "O"):
            raise ModelLoadError(f"input={EXAMPLE} is for a signature whose only input takes strings")

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        if self._examples and self._only is not None:
            return await self._score_examples(self._only, inputs, seconds, trace)
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        try:
            columns = self._reader.stack(inputs)
        except UnevenBatchError:
            groups, errors = self._reader.sort_out(inputs)
            results: list[JsonValue | ScoreError] = [errors.get(row) for row in range(len(inputs))]
            for rows, part in groups:
                left = max(0.0, end - clock())
                scored = await self._ask(self._reader.pad(part), len(rows), left, trace)
                for row, result in zip(rows, scored, strict=True):
                    results[row] = result
            return results
        return await self._ask(columns, len(inputs), seconds, trace)

    async def _score_examples(
        self, spec: TensorSpec, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        examples, errors = prepare_each(inputs, lambda record: read_features(record, self._kinds))
        results: list[JsonValue | ScoreError] = []
        if examples:
            column = np.empty(len(examples), dtype=object)
            column[:] = [example_of(one).SerializeToString() for one in examples]
            columns = self._reader.pad({spec.name: column})
            results = await self._ask(columns, len(examples), seconds, trace)
        return put_together(results, errors, len(inputs))

    async def _ask(
        self, columns: Columns, count: int, seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        rows = len(next(iter(columns.values()), ()))
        outputs = await self._served.predict(columns, self._outputs, seconds, trace)
        return read_records(outputs, list(self._outputs), count, rows)


class _Examine:
    """Classify and Regress, of examples."""

    max_batch = None

    def __init__(
        self, served: ServedModel, signature: Signature, names: Sequence[str], settings: Settings
    ) -> None:
        known = (_OUTPUTS,) if settings.method == "regress" else (_CLASSES, _SCORES)
        self._names = [name for name in names if name in known]
        if not self._names:
            raise ModelLoadError(
                f"a signature for {settings.method} has the outputs {' and '.join(known)}; "
                f"this one has {', '.join(sorted(signature.outputs))} (options signature, call)"
            )
        self._served = served
        self._kinds = settings.kinds
        self._classifies = settings.method == "classify"
        # Regress gives scalars where the signature has [N, 1] too.
        axes = signature.outputs[self._names[0]].axes
        self._has_axis = axes is not None and len(axes) == 2

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        examples, errors = prepare_each(inputs, lambda record: read_features(record, self._kinds))
        outputs = await self._ask(examples, seconds, trace) if examples else []
        if len(outputs) != len(examples):
            raise ValueError(f"{len(outputs)} results for {len(examples)} records")
        return put_together(outputs, errors, len(inputs))

    async def _ask(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[JsonValue]:
        if self._classifies:
            return [self._named(one) for one in await self._served.classify(examples, seconds, trace)]
        values = await self._served.regress(examples, seconds, trace)
        return [{_OUTPUTS: [value] if self._has_axis else value} for value in values]

    def _named(self, classes: Classes) -> JsonValue:
        columns: dict[str, JsonValue] = {
            _CLASSES: [label for label, _ in classes],
            _SCORES: [score for _, score in classes],
        }
        return {name: columns[name] for name in self._names}
