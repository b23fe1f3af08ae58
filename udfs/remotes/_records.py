"""Records of a request: those that can't be sent fail alone, the others are asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from udfs.errors import ScoreError
from udfs.json_values import JsonValue, write_json

T = TypeVar("T")


def prepare_each(
    inputs: Sequence[JsonValue], prepare: Callable[[JsonValue], T]
) -> tuple[list[T], dict[int, ScoreError]]:
    """Prepare records for a request.

    Args:
        inputs: N records.
        prepare: makes of one what is sent; raises ScoreError for one that can't be.

    Returns:
        What is to be sent, in order, and the errors of the other records by their position in the N.
    """
    prepared: list[T] = []
    errors: dict[int, ScoreError] = {}
    for position, value in enumerate(inputs):
        try:
            prepared.append(prepare(value))
        except ScoreError as error:
            errors[position] = error
    return prepared, errors


def put_together(
    results: Iterable[JsonValue | ScoreError], errors: Mapping[int, ScoreError], count: int
) -> list[JsonValue | ScoreError]:
    """Results of what was sent, and the errors of what was not, in the order of the ``count`` records."""
    answered = iter(results)
    return [errors[at] if at in errors else next(answered) for at in range(count)]


def write_record(value: JsonValue) -> bytes:
    """A record as JSON.

    Raises:
        ScoreError: it can't be written.
    """
    try:
        return write_json(value)
    except ValueError as error:
        raise ScoreError(f"can't be written as JSON: {error}") from error
