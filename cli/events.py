"""`modelstream events`: send events, and see their predictions come."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Annotated, Any

import msgspec
import typer

from cli.options import AsJson, ConfigFile, Settings
from cli.output import say, write_json
from connectors.client import Client, Record
from jobs.config import load_config
from udfs.errors import DecodeError
from udfs.records import Prediction

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Send events, read predictions.")


@app.callback()
def events() -> None:
    """Send events, read predictions."""


@app.command()
def send(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines; - is standard input.")],
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="The record's key is this field; data.customer is a field in data."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME[:VERSION]", help="The model of events that name none.")
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Send a JSON line each as an event. A line that is no event stops it, after those before it."""
    loaded = load_config(config, settings or ())
    with (
        open(file, "rb") if file != "-" else nullcontext(sys.stdin.buffer) as lines,
        Client(loaded.kafka.client_settings()) as client,
    ):
        sent = client.send(loaded.topics.events, read_events(lines, key, model))
    say(f"sent {sent} events to {loaded.topics.events}")


@app.command()
def tail(
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only this model's.")] = None,
    from_beginning: Annotated[bool, typer.Option(help="Also those that are there already.")] = False,
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
            chosen = [found for found in map(_read, records) if model in (None, found["model"]["name"])]
            chosen = chosen[:left]
            if as_json:
                write_json(chosen)
            else:
                _write_for_people(chosen)
            if left is not None:
                left -= len(chosen)
                if left == 0:
                    return


def read_events(lines: Iterable[bytes], key: str | None = None, model: str | None = None) -> Iterator[Record]:
    """Read JSON lines as events.

    Args:
        lines: a JSON object each.
        key: field that becomes the record's key, None for records without one.
        model: the model of events that name none.

    Raises:
        DecodeError: a line is no JSON object, or has no such field.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DecodeError(
                f"line {number}: not a JSON object: {error} (the lines before it were sent)"
            ) from error
        if model is not None and event.get("model") is None:
            event["model"] = model
            line = msgspec.json.encode(event)
        yield Record(line.strip(), None if key is None else _key(event, key, number))


def _key(event: dict[str, Any], path: str, line: int) -> bytes:
    value: Any = event
    for step in path.split("."):
        if not isinstance(value, dict) or value.get(step) is None:
            raise DecodeError(f"line {line}: no field {path} for the key (the lines before it were sent)")
        value = value[step]
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def _read(record: Record) -> dict[str, Any]:
    prediction = msgspec.json.decode(record.value or b"", type=Prediction)
    return {
        "key": None if record.key is None else record.key.decode("utf-8", "replace"),
        **msgspec.to_builtins(prediction),
        "timestamp": record.timestamp,
        "source": (record.header("ms-source") or b"").decode(),
    }


def _write_for_people(predictions: list[dict[str, Any]]) -> None:
    for one in predictions:
        model = one["model"]
        at = time.strftime("%H:%M:%S", time.localtime((one["timestamp"] or 0) / 1000))
        outputs = msgspec.json.encode(one["outputs"]).decode()
        sys.stdout.write(f"{at}  {one['id']}  {model['name']}:{model['version']}  {outputs}\n")
    sys.stdout.flush()
