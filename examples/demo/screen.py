"""The demo in the terminal: rate, versions, dead letters, what is happening."""

import json
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.models import MODELS, Place
from examples.demo.tally import Tally
from examples.iris.train import FIELDS

_STYLES: dict[Place, str] = {"inline": "", "worker process": "yellow", "MLServer": "magenta"}
EXAMPLE = json.dumps(dict(zip(FIELDS, (5.1, 3.5, 1.4, 0.2), strict=True)))


def live(tally: Tally, seconds: float, events_per_second: float, said: list[str]) -> RenderableType:
    """The screen while the stream runs.

    Args:
        tally: what came out so far.
        seconds: since the stream began.
        events_per_second: on average so far.
        said: what was sent besides the stream.
    """
    head = Text.assemble(
        (f"{seconds:4.0f} s", "bold"),
        f"   {tally.events:,} events   ",
        (f"{events_per_second:,.0f} events/s", "bold green"),
    )
    news = [Text(f"• {line}") for line in [*_at_first(), *said]]
    return Panel(
        Group(head, Text(), versions(tally), Text(), dead_letters(tally), Text(), *news),
        title="modelstream",
        border_style="cyan",
        width=80,
    )


def versions(tally: Tally) -> Table:
    """A row for each version that said something."""
    # From the beginning as wide as it will be; in its frame it fills 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name, width in (("version", 14), ("format", 15), ("where", 14)):
        table.add_column(name, min_width=width, no_wrap=True)
    for name, width in (("scored", 6), ("right", 7), ("p50 ms", 7), ("p99 ms", 7)):
        table.add_column(name, justify="right", min_width=width, no_wrap=True)
    order = list(MODELS)
    rows = [(name.partition(":")[0], name, version) for name, version in tally.versions.items()]
    for model_name, name, version in sorted(rows, key=lambda row: (order.index(row[0]), row[1])):
        model = MODELS[model_name]
        table.add_row(
            name,
            model.format,
            Text(model.place, _STYLES[model.place]),
            f"{version.predictions:,}",
            f"{version.right / version.predictions:.1%}",
            f"{version.latency_ms(50):.0f}",
            f"{version.latency_ms(99):.0f}",
        )
    return table


def dead_letters(tally: Tally) -> Text:
    """Dead letters by stage, in a line."""
    stages = "   ".join(f"{stage} {number}" for stage, number in sorted(tally.dead_letters.items()))
    return Text.assemble(("dead letters   ", "dim"), stages or "none")


def summary(live: Tally, sent: int, committed: Tally) -> RenderableType:
    """The end: what went in, and what a reader of committed records finds.

    Args:
        live: what was counted while it came, with latencies.
        sent: events that were sent.
        committed: counted once more, from the topics' beginning.
    """
    letters = committed.events - committed.predictions
    verdict = ("adds up", "bold green") if committed.adds_up_to(sent) else ("DOES NOT ADD UP", "bold red")
    failed = [status for status in live.statuses.values() if status.status == "failed"]
    return Group(
        Text(),
        versions(live),
        Text(),
        dead_letters(committed),
        Text.assemble(
            (
                f"{sent:,} events = {committed.predictions:,} predictions + {letters} dead letters: ",
                "bold",
            ),
            verdict,
        ),
        Text(
            f"longest gap in iris-onnx's predictions, over its change to version 2: "
            f"{live.longest_gap_ms['iris-onnx']:.0f} ms"
        ),
        *(Text(f"{status.model} never served: {_short(status.cause)}") for status in failed),
    )


def what_to_try(config: Path, server: str) -> Text:
    """Commands for another terminal, while the job goes on.

    Args:
        config: the job's configuration.
        server: MLServer's gRPC URL.
    """
    command = ".venv/bin/modelstream"
    options = ",".join(FIELDS)
    return Text(
        f"""
The broker and the job go on; Ctrl-C ends them. In another terminal:

  export MS={config}
  {command} events tail --config $MS
  {command} events send --config $MS - <<< '{{"id": 1, "model": "iris-onnx", "data": {EXAMPLE}}}'
  {command} models status --config $MS
  {command} models publish iris-onnx:4 --format onnx build/iris/iris-1.onnx \\
      --option fields={options} --config $MS
  {command} models activate iris-onnx:2 --config $MS
  {command} dead-letters list --config $MS

The same model out of the stream, into a worker process and then onto MLServer, without a pause:

  {command} models publish iris-onnx:5 --format onnx build/iris/iris-1.onnx --execution offload \\
      --option fields={options} --config $MS --wait
  {command} models publish iris-onnx:6 --format open-inference --option url={server} \\
      --option model=iris --option fields={options} --config $MS --wait
"""
    )


def _at_first() -> list[str]:
    rates = {model.place: model.per_second for model in MODELS.values()}
    return [
        f"flowers/s: {rates['inline']} to each inline model, {rates['worker process']} to the worker, "
        f"{rates['MLServer']} to MLServer",
        "iris-heavy takes about 50 ms of CPU a batch, and no other model waits",
    ]


def _short(cause: str | None) -> str:
    text = cause or "no cause was given"
    return text if len(text) <= 160 else f"{text[:157]}..."
