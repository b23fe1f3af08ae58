"""`modelstream keys`: make keys that sign model updates."""

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cli.output import say
from cli.signing import read_key, write_key
from udfs.errors import ConfigError
from udfs.models.signatures import SigningKey

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make keys that sign model updates."""


@app.command()
def new(
    key_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The private key's file; a new one.")],
) -> None:
    """Make a key: the private part into a file, the public part as YAML for the job's configuration."""
    try:
        key = SigningKey.new(key_id)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    write_key(key, out)
    _write_public(key)
    say(f"{out} has the private key: whoever reads it can change models as {key.id}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, show_default=False)],
) -> None:
    """Say a private key's public part again, as YAML for the job's configuration."""
    _write_public(read_key(file))


def _write_public(key: SigningKey) -> None:
    block = {"updates": {"keys": {key.id: {"public": key.public()}}}}
    sys.stdout.write(yaml.safe_dump(block))
