"""`modelstream events`: send events, and see their predictions come."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Annotated

import msgspec
import typer

from cli.options import AsJson, ConfigFile, Settings
from cli.output import say, write_json
from cli.times import milliseconds
from connectors.client import Client, Record
from jobs.config import load_config
from udfs.errors import DecodeError
from udfs.json_values import JsonValue, read_json
from udfs.json_values import write_json as encode
from udfs.records import Header, Prediction

app = typer.Typer(add_completion=False, no_args_is_help=True)

_PROGRESS_SECONDS = 1.0


@app.callback()
def events() -> None:
    """Send events, and read their predictions."""


@app.command()
def send(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines; - is standard input.")],
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="The record's key is this field; data.customer is a field of data."
        ),
    ] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Its time is this field (ms since 1970, or RFC 3339), else now."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION]", help="The model of events that name none.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Send JSON lines, each as an event; empty lines are left out.

    A line that is not JSON, or has no such field, ends it: those before it were sent.
    """
    loaded = load_config(config, settings or ())
    with ExitStack() as stack:
        lines = sys.stdin.buffer if file == "-" else stack.enter_context(open(file, "rb"))
        client = stack.enter_context(Client(loaded.kafka.client_settings()))
        records = _with_progress(read_events(lines, key, timestamp, model))
        sent = client.send(loaded.topics.events, records)
    say(f"sent {sent} events to {loaded.topics.events}")


@app.command()
def tail(
    model: Annotated[str | None, typer.Option(metavar="NAME[:VERSION]", help="Only this model's.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Also those that are there already.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after N predictions.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write predictions as they come, until Ctrl-C."""
    loaded = load_config(config, settings or ())
    left = limit
    with Client(loaded.kafka.client_settings()) as client:
        for records in client.follow(loaded.topics.predictions, from_beginning=from_beginning):
            chosen = [(record, made) for record in records if (made := _read(record)) and _is_by(made, model)]
            for record, prediction in chosen[:left]:
                _write(record, prediction, as_json)
            sys.stdout.flush()
            if left is not None:
                left -= len(chosen)
                if left <= 0:
                    return


def read_events(
    lines: Iterable[bytes], key: str | None = None, timestamp: str | None = None, model: str | None = None
) -> Iterator[Record]:
    """Read JSON lines as records to send.

    Args:
        lines: a JSON value each; empty ones are left out.
        key: path of the field that becomes the record's key, None for records without one.
        timestamp: path of the field that becomes its timestamp, None for now.
        model: the model of events that name none, None to leave them so.

    Raises:
        DecodeError: a line is not JSON, or has no such field.
    """
    sent = 0
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            event = read_json(text)
            if model is not None and isinstance(event, dict) and event.get("model") is None:
                text = encode({**event, "model": model})
            record = Record(
                text,
                None if key is None else _key(_field(event, key)),
                timestamp=None if timestamp is None else milliseconds(_field(event, timestamp)),
            )
        except ValueError as error:
            raise DecodeError(f"line {number}: {error} ({sent} events before it were sent)") from error
        yield record
        sent += 1


def _field(event: JsonValue, path: str) -> JsonValue:
    value = event
    for step in path.split("."):
        if not isinstance(value, dict) or value.get(step) is None:
            raise ValueError(f"no field {path}")
        value = value[step]
    return value


def _key(value: JsonValue) -> bytes:
    return value.encode() if isinstance(value, str) else encode(value)


def _with_progress(records: Iterable[Record]) -> Iterator[Record]:
    """The same records; on a terminal, their number every second."""
    said = time.monotonic()
    for number, record in enumerate(records):
        if sys.stderr.isatty() and time.monotonic() - said > _PROGRESS_SECONDS:
            say(f"{number} events ...")
            said = time.monotonic()
        yield record


def _read(record: Record) -> Prediction | None:
    """A record's prediction; None where it is another's record."""
    try:
        return msgspec.json.decode(record.value or b"", type=Prediction)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _is_by(prediction: Prediction, model: str | None) -> bool:
    made = prediction.model
    return model in (None, made.name, f"{made.name}:{made.version}")


def _write(record: Record, prediction: Prediction, as_json: bool) -> None:
    if as_json:
        write_json(
            [
                {
                    "key": None if record.key is None else record.key.decode("utf-8", "replace"),
                    **msgspec.to_builtins(prediction),
                    "timestamp": record.timestamp,
                    "source": (record.header(Header.SOURCE) or b"").decode("utf-8", "replace"),
                }
            ]
        )
    else:
        at = time.strftime("%H:%M:%S", time.localtime((record.timestamp or 0) / 1000))
        outputs = msgspec.json.encode(prediction.outputs).decode()
        made = prediction.model
        sys.stdout.write(f"{at}  {prediction.id}  {made.name}:{made.version}  {outputs}\n")
