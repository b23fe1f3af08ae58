"""The `modelstream` command. Subcommands import what they need when they run: `score` starts fast."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from udfs.errors import ModelstreamError

app = typer.Typer(
    help="Serve any model on an event stream.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_Options = Annotated[
    list[str] | None, typer.Option("--option", help="k=v, an option of the format; repeatable.")
]


@app.callback()
def _modelstream() -> None:
    """Serve any model on an event stream."""


@app.command()
def score(
    format_name: Annotated[str, typer.Option("--format", help="Format of the model file: onnx, pmml, ...")],
    artifact: Annotated[Path, typer.Option(help="The model file.")],
    file: Annotated[Path, typer.Argument(help="JSON lines; - is standard input.")] = Path("-"),
    option: _Options = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Lines scored in one call.")] = 1000,
) -> None:
    """Score JSON lines {"id": ..., "data": ...} with a model file, without Flink or Kafka."""
    from cli.score import score_file

    try:
        score_file(format_name, artifact, _parse_options(option or []), file, batch_size)
    except ModelstreamError as error:
        _fail(error)


@app.command()
def run(
    config: Annotated[Path | None, typer.Option(help="The job's configuration, YAML.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the file.")] = None,
) -> None:
    """Run the job on a local MiniCluster, until it ends."""
    from jobs.config import load_config
    from jobs.score_events import submit

    try:
        submit(load_config(config, set_ or []))
    except ModelstreamError as error:
        _fail(error)


def main() -> None:
    """Run the command."""
    app()


def _parse_options(texts: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise typer.BadParameter(f"--option {text}: expected key=value")
        options[key] = value
    return options


def _fail(error: ModelstreamError) -> NoReturn:
    typer.echo(f"modelstream: {' '.join(str(error).split())}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    main()
