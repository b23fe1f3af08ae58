"""Checks of a version before it serves: inputs whose outputs are known."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeGuard

import msgspec

from udfs.engine import score_inputs
from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue, read_json, write_json
from udfs.models.updates import Check
from udfs.scorers import Scorer

_TEXT_CHARACTERS = 100
"""Longest text of a value in an error."""


def run_checks(scorer: Scorer, checks: Sequence[Check]) -> None:
    """Score the inputs of checks and compare.

    Raises:
        ModelLoadError: an output differs by more than its tolerance, or an input can't be scored.
    """
    if not checks:
        return
    compare_checks(checks, score_inputs(scorer, [check.data for check in checks]))


def compare_checks(
    checks: Sequence[Check], results: Sequence[JsonValue | ScoreError], *, first: int = 1
) -> None:
    """Compare the results of checks with what they should be.

    Args:
        checks: N checks.
        results: of their inputs, N.
        first: the number of the first one, for errors.

    Raises:
        ModelLoadError: an output differs by more than its tolerance, or an input can't be scored.
    """
    for number, (check, result) in enumerate(zip(checks, results, strict=True), start=first):
        if isinstance(result, ScoreError):
            raise ModelLoadError(f"check {number} can't be scored: {result}")
        try:
            # What a prediction would say, where NaN is null.
            difference = find_difference(check.outputs, read_json(write_json(result)), check.tolerance)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise ModelLoadError(f"check {number} can't be compared: {error}") from error
        if difference:
            raise ModelLoadError(f"check {number} differs: {difference}")


def find_difference(
    expected: JsonValue, actual: JsonValue, tolerance: float, path: str = "outputs"
) -> str | None:
    """The first place where two JSON values differ, None where they agree.

    Args:
        expected: the value that is wanted.
        actual: the value that was made.
        tolerance: largest absolute difference of two numbers.
        path: what the place is called.
    """
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if expected.keys() != actual.keys():
            return f"{path}: expected the fields {sorted(expected)}, got {sorted(actual)}"
        pairs: Iterable[tuple[str, JsonValue, JsonValue]] = (
            (f"{path}.{name}", expected[name], actual[name]) for name in expected
        )
    elif _is_list(expected) and _is_list(actual):
        if len(expected) != len(actual):
            return f"{path}: expected {len(expected)} elements, got {len(actual)}"
        pairs = ((f"{path}[{i}]", e, a) for i, (e, a) in enumerate(zip(expected, actual, strict=True)))
    elif _agree(expected, actual, tolerance):
        return None
    else:
        return f"{path}: expected {_short(expected)}, got {_short(actual)}"
    return next((found for p, e, a in pairs if (found := find_difference(e, a, tolerance, p))), None)


def _agree(expected: JsonValue, actual: JsonValue, tolerance: float) -> bool:
    if isinstance(expected, bool) is not isinstance(actual, bool):
        return False  # to Python true is 1
    if expected == actual:
        return True
    if not (_is_number(expected) and _is_number(actual)):
        return False
    try:
        return abs(expected - actual) <= tolerance
    except OverflowError:  # an integer beyond every float, beside a float
        return False


def _short(value: JsonValue) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a value too long to write"
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}..."


def _is_list(value: JsonValue) -> TypeGuard[Sequence[JsonValue]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: JsonValue) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
