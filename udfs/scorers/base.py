"""What a scorer is: the one interface that every format implements."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from udfs.errors import ModelstreamError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options


class Scorer(Protocol):
    """A loaded model. Used by one thread at a time, not always the thread that loaded it.

    It may have an attribute ``notes: tuple[str, ...]``: what a model's owner should know of how it is
    scored (one by one, say, because its answers differ in a batch). The model's status repeats them.
    One that keeps state of its own from input to input has ``stateful = True``; the job refuses it,
    because that state would not survive a restart. A source of random numbers is such a state.
    """

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        """Score a batch.

        Args:
            inputs: the ``data`` of N events, N >= 1: decoded JSON values (an object of named
                fields, an array, a scalar or null, whatever the model takes).

        Returns:
            N results in the order of the inputs: the outputs as JSON values (floats may be NaN
            or infinite; they are written as null), or a ScoreError for an input that the model
            can't score. An input's outputs are the same, to the last bit, whatever else is in
            the batch.

        Raises:
            Nothing for a bad input. An exception means that the batch as a whole failed and that
            the scorer is broken; the engine turns it into an error of every event in it.
        """
        ...

    def close(self) -> None:
        """Free what the model holds. Called once; nothing is scored afterwards."""
        ...


Load = Callable[[Path, Options], Scorer]
"""``load(artifact, options)`` of a format's module: reads a local file, raises ModelLoadError."""

Prepare = Callable[[Path, Path], bool]
"""``prepare(artifact, prepared)``, which a format's module may have: see `udfs.scorers.prepare`."""


def score_each(
    score_one: Callable[[JsonValue], JsonValue],
    inputs: Sequence[JsonValue],
    errors: tuple[type[Exception], ...] = (Exception,),
) -> list[JsonValue | ScoreError]:
    """Score inputs one by one, each on its own: the fallback after a batch failed as a whole.

    Args:
        score_one: scores one input; may raise anything, foreign code is called in it.
        inputs: N inputs.
        errors: the exceptions that are an input's own fault.

    Returns:
        N outputs or ScoreErrors, in the order of the inputs.
    """
    results: list[JsonValue | ScoreError] = []
    for value in inputs:
        try:
            results.append(score_one(value))
        except ModelstreamError as error:
            results.append(error if isinstance(error, ScoreError) else ScoreError(str(error)))
        except errors as error:
            results.append(ScoreError(f"{type(error).__name__}: {error}"))
    return results
