"""What commands write: tables for people, JSON lines for programs."""

import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from udfs.json_values import JsonValue


def write_json(values: Iterable[object]) -> None:
    """Write JSON, a line for each value."""
    for value in values:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def write_table(rows: Sequence[Mapping[str, JsonValue]], empty: str) -> None:
    """Write rows that have the same columns.

    Args:
        rows: values by column.
        empty: what to say where there are none.
    """
    if not rows:
        say(empty)
        return
    # A file or a pipe has no width that a row should be folded for.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(make_table(rows))


def make_table(rows: Sequence[Mapping[str, JsonValue]]) -> Table:
    """Rows as a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def say(line: str) -> None:
    """Tell a person something, on standard error: standard output is for results."""
    sys.stderr.write(f"{line}\n")
