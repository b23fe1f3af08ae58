"""Options that several commands take, and how their texts are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from udfs.errors import ConfigError
from udfs.remotes import REMOTES
from udfs.scorers import FORMATS, Options

FormatName = Annotated[
    str, typer.Option("--format", metavar="F", help=f"{', '.join(FORMATS)}.", show_default=False)
]
AnyFormatName = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="F",
        help=f"Of files: {', '.join(FORMATS)}; of servers: {', '.join(REMOTES)}.",
        show_default=False,
    ),
]
FormatOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="K=V", help="An option of the format; may be repeated."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The job's configuration, YAML.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A key of the configuration; may be repeated."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until every subtask of the job has said what became of it.")
]
Timeout = Annotated[str, typer.Option(metavar="TIME", help="How long to wait: 60s, 5min, ...")]
EffectiveFrom = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="For events from this event time on: ms since 1970, or RFC 3339 with its zone. "
        "By default each subtask switches when it is ready.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON, a line for each.")]


def read_format_options(texts: Sequence[str] | None) -> Options:
    """Read ``k=v`` texts. Values stay text: each format reads its own options.

    Raises:
        ConfigError: no ``=``, no key, or a key that comes twice.
    """
    options: dict[str, str] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"--option {text}: expected key=value")
        if key in options:
            raise ConfigError(f"--option {key}: given twice")
        options[key] = value
    return options
