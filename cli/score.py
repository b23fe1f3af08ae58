"""`modelstream score`: score a file with a model, without Kafka and without Flink."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer

from cli.options import FormatName, FormatOptions, read_format_options
from udfs.engine import score_inputs
from udfs.errors import DecodeError, ModelLoadError, ModelstreamError, ScoreError
from udfs.json_values import JsonValue, read_struct
from udfs.models.updates import PublishModel
from udfs.options import Options
from udfs.records import ModelId, OfflineEvent
from udfs.remotes import REMOTES
from udfs.scorers import Scorer, load_scorer

app = typer.Typer(add_completion=False)

ScoreInputs = Callable[[Sequence[JsonValue]], Sequence[JsonValue | ModelstreamError]]
"""Scores N inputs: N outputs, or the errors of those that have none."""

_CONNECT_SECONDS = 20.0

_decoder = msgspec.json.Decoder(OfflineEvent)
_encode = msgspec.json.Encoder().encode


@app.command()
def score(
    format_name: FormatName,
    artifact: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The model's file; none where a server has it."),
    ] = None,
    option: FormatOptions = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Events a call of the model; results are written after each.")
    ] = 1000,
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="JSON lines; - is standard input.", show_default=False)
    ] = "-",
) -> None:
    """Score JSON lines {"id": ..., "data": ...} and write a line for each, in order.

    A line is {"id": ..., "outputs": ...} or {"id": ..., "error": {"stage", "type", "message"}}.
    The exit status is 0 when the model could be loaded, whatever the lines were.
    """
    options = read_format_options(option)
    with ExitStack() as stack:
        lines = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
        output = stack.enter_context(_results_alone_on_stdout())
        if format_name in REMOTES:
            score_batch = stack.enter_context(_connected(format_name, artifact, options))
        else:
            scorer = stack.enter_context(closing(_load(format_name, artifact, options)))
            score_batch = partial(score_inputs, scorer)
        for scored in score_lines(score_batch, lines, batch_size):
            output.write(scored)
            output.flush()


def score_lines(score_batch: ScoreInputs, lines: Iterable[bytes], batch_size: int) -> Iterator[bytes]:
    """Score JSON lines.

    Args:
        score_batch: the model.
        lines: N lines, each an event; an empty line is one that can't be read.
        batch_size: most events that the model sees in one call.

    Yields:
        The lines of the results, N in all and in order, a batch at a time.
    """
    remaining = iter(lines)
    while batch := list(islice(remaining, batch_size)):
        yield b"".join(_score_lines(score_batch, batch))


def _score_lines(score_batch: ScoreInputs, lines: Sequence[bytes]) -> Iterator[bytes]:
    events = [_read_event(line) for line in lines]
    inputs: list[Any] = [event.data for event in events if isinstance(event, OfflineEvent)]
    results = iter(score_batch(inputs) if inputs else ())
    for event in events:
        if isinstance(event, DecodeError):
            yield _write_error(None, event)
        else:
            yield _write_result(event.id, next(results))


def _read_event(line: bytes) -> OfflineEvent | DecodeError:
    try:
        event = read_struct(_decoder, line)
    except msgspec.ValidationError as error:
        return DecodeError(f"not an event: {error}")
    except ValueError as error:
        return DecodeError(f"not JSON: {error}")
    if event.data is msgspec.UNSET:
        return DecodeError("not an event: object missing required field `data`")
    return event


def _write_result(event_id: JsonValue, result: JsonValue | ModelstreamError) -> bytes:
    if isinstance(result, ModelstreamError):
        return _write_error(event_id, result)
    try:
        return _encode({"id": event_id, "outputs": result}) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        return _write_error(event_id, ScoreError(f"the outputs can't be written as JSON: {error}"))


def _write_error(event_id: JsonValue, error: ModelstreamError) -> bytes:
    said = {"stage": error.stage, "type": type(error).__name__, "message": str(error)}
    return _encode({"id": event_id, "error": said}) + b"\n"


def _load(format_name: str, artifact: Path | None, options: Options) -> Scorer:
    if artifact is None:
        raise ModelLoadError(f"format {format_name!r} needs --artifact, the model's file")
    try:
        return load_scorer(format_name, artifact, options)
    except ModelstreamError:
        raise
    except Exception as error:  # the edge to a format's own code
        raise ModelLoadError(f"{artifact}: {type(error).__name__}: {error}") from error


@contextmanager
def _connected(format_name: str, artifact: Path | None, options: Options) -> Iterator[ScoreInputs]:
    """Ask a server: the one that is named, wherever it is, for who says so asks it with their own rights."""
    if artifact is not None:
        raise ModelLoadError(f"format {format_name!r} has no --artifact: a server has the model")
    # Only here: nothing of it is needed to score a file.
    from cli.option_checks import only_place
    from udfs.offload.opening import Offloading, OffloadSettings

    published = PublishModel(ModelId("score", 1), format_name, options=dict(options))
    offloading = Offloading(OffloadSettings(), only_place(published.endpoint or ""), REMOTES)
    try:
        with closing(offloading.connect(published, _CONNECT_SECONDS)) as scorer:
            yield scorer.lane.score
    finally:
        offloading.close(_CONNECT_SECONDS)


@contextmanager
def _results_alone_on_stdout() -> Iterator[BinaryIO]:
    """Standard output for the results; what a model or its library prints goes to standard error."""
    sys.stdout.flush()
    results = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(results, "wb", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(results, 1)
        os.close(results)
