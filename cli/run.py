"""`modelstream run`: the job on a local MiniCluster."""

import signal
import sys
from types import FrameType

import typer

from cli.options import ConfigFile, Settings
from jobs.config import load_config

app = typer.Typer(add_completion=False)


@app.command()
def run(config: ConfigFile = None, settings: Settings = None) -> None:
    """Run the job on a local MiniCluster, until it ends or is interrupted.

    Ctrl-C stops it with a savepoint, from which it can go on.
    """
    loaded = load_config(config, settings or ())
    # Flink is the slowest import of all: a wrong configuration is told without it.
    from jobs.local_run import run_until_interrupted

    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    sys.stderr.write(f"starting {loaded.name} on a local Flink\n")
    savepoint = run_until_interrupted(
        loaded,
        lambda: sys.stderr.write(
            f"{loaded.name} scores {loaded.topics.events} at {loaded.kafka.bootstrap_servers}; "
            f"Ctrl-C stops it with a savepoint\n"
        ),
    )
    if savepoint is not None:
        sys.stderr.write(
            f"stopped with a savepoint. To go on from it, add:\n"
            f"  --set 'flink[execution.state-recovery.path]={savepoint}'\n"
        )


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a handler's signature
    # Whoever is impatient is not asked twice.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt
