"""`modelstream run`: the job on a local MiniCluster."""

import typer

from cli.options import ConfigFile, Settings
from jobs.config import load_config

app = typer.Typer(add_completion=False)


@app.command()
def run(config: ConfigFile = None, settings: Settings = None) -> None:
    """Run the job on a local MiniCluster, until it ends or is interrupted."""
    loaded = load_config(config, settings or ())
    # Flink is the slowest import of all: a wrong configuration is told without it.
    from jobs.score_events import submit

    submit(loaded)
