"""`modelstream score`: a file of JSON lines through a scorer, in batches."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from udfs.engine import score_inputs
from udfs.errors import DecodeError, ModelLoadError, ModelstreamError, ScoreError
from udfs.json_values import JsonValue, read_json, write_json
from udfs.records import OfflineEvent
from udfs.scorers import Options, Scorer, load_scorer


def score_file(format_name: str, artifact: Path, options: Options, file: Path, batch_size: int) -> None:
    """Score each line of a file, one line of output an input, in order.

    Args:
        format_name: the model's format.
        artifact: the model file.
        options: the format's options.
        file: JSON lines ``{"id": ..., "data": ...}``; ``-`` is standard input.
        batch_size: most lines scored in one call.

    Raises:
        ModelLoadError: the model can't be loaded.
        DecodeError: the file of events can't be opened.
    """
    if not artifact.exists():
        raise ModelLoadError(f"{artifact}: no such file")
    scorer = load_scorer(format_name, artifact, options)
    try:
        with closing(_open(file)) as lines:
            while batch := list(islice(lines, batch_size)):
                sys.stdout.buffer.writelines(_score_lines(scorer, batch))
                sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever read the output has enough; nothing more can be said to them.
        sys.stdout = None
    finally:
        scorer.close()


def _open(file: Path) -> BinaryIO:
    if str(file) == "-":
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except OSError as error:
        raise DecodeError(f"{file}: {error.strerror}") from error


def _score_lines(scorer: Scorer, lines: Sequence[bytes]) -> Iterator[bytes]:
    events = [_read_line(line) for line in lines]
    inputs = [event.data for event in events if isinstance(event, OfflineEvent)]
    results = iter(score_inputs(scorer, inputs) if inputs else ())  # type: ignore[arg-type]  # JSON values
    for event in events:
        if isinstance(event, OfflineEvent):
            yield _write_line(event.id, next(results)) + b"\n"
        else:
            yield _write_line(None, event) + b"\n"


def _read_line(line: bytes) -> OfflineEvent | DecodeError:
    try:
        event = msgspec.convert(read_json(line), OfflineEvent)
    except (ValueError, RecursionError) as error:
        return DecodeError(f"not an event: {error}")
    if event.data is msgspec.UNSET:
        return DecodeError("not an event: object missing required field `data`")
    return event


def _write_line(event_id: JsonValue, result: JsonValue | ModelstreamError) -> bytes:
    if not isinstance(result, ModelstreamError):
        try:
            return write_json({"id": event_id, "outputs": result})
        except ValueError as error:
            result = ScoreError(f"the outputs can't be written as JSON: {error}")
    problem = {"stage": result.stage, "type": type(result).__name__, "message": str(result)}
    return write_json({"id": event_id, "error": problem})
