"""The `modelstream` command. A subcommand is imported when it is called, so that each starts fast."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from udfs.errors import ModelstreamError

COMMANDS = {
    "score": "cli.score",
    "run": "cli.run",
    "topics": "cli.topics",
    "models": "cli.models",
    "keys": "cli.keys",
    "events": "cli.events",
    "dead-letters": "cli.dead_letters",
}
"""Subcommands in the order of the help; each module has a typer ``app``."""


class LazyCommands(TyperGroup):
    """A group that imports a subcommand when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # typer's signature
        """The subcommands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # typer's signature
        """Import a subcommand; None where there is no such one."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyCommands, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def modelstream() -> None:
    """Serve any model on an event stream."""


def main() -> None:
    """Run the command: an error is one line on standard error, and exit status 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)  # what a shell says of a program that Ctrl-C ended
    except ModelstreamError as error:
        _fail(str(error))
    except TyperException as error:
        _fail(error.format_message())
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:  # noqa: BLE001  # the outermost edge: nobody shall read a traceback
        _fail(f"unexpected {type(error).__name__}: {error} (please report it)")


def _fail(message: str) -> None:
    line = " ".join(message.splitlines())
    typer.echo(f"modelstream: {line}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
