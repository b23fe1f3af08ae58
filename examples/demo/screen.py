"""The demo in the terminal: rate, versions, dead letters, what is happening."""

import json
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.scenario import FILES
from examples.demo.tally import Tally
from examples.iris.train import FIELDS

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
    news = [Text(f"• {line}") for line in ["flowers, a quarter to each model", *said]]
    return Panel(
        Group(head, Text(), versions(tally), Text(), dead_letters(tally), Text(), *news),
        title="modelstream",
        border_style="cyan",
        width=88,
    )


def versions(tally: Tally) -> Table:
    """A row for each version that said something."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("version", min_width=12)
    table.add_column("format", min_width=10)
    for name in ("predictions", "right", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", min_width=8)
    for name, version in sorted(tally.versions.items()):
        table.add_row(
            name,
            FILES.get(name.partition(":")[0], ("", ""))[0],
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
            f"longest time without a prediction of iris-onnx, over its change to version 2: "
            f"{live.longest_gap_ms['iris-onnx']:.0f} ms"
        ),
        *(Text(f"{status.model} never served: {_short(status.cause)}") for status in failed),
    )


def what_to_try(config: Path) -> Text:
    """Commands for another terminal, while the job goes on."""
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
"""
    )


def _short(cause: str | None) -> str:
    text = cause or "no cause was given"
    return text if len(text) <= 160 else f"{text[:157]}..."
