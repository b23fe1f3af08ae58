"""Score a real stream on a real broker, and show it: ``python -m examples.demo [--keep]``."""

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.live import Live

from devtools import BUILD, ROOT, model_servers, processes
from devtools.broker import Broker
from devtools.processes import ProcessError
from devtools.topics import create_job_topics, read_all, send
from examples.demo import models, scenario, screen
from examples.demo.tally import Tally
from examples.demo.watched_job import DemoError, WatchedJob
from jobs.config import JobConfig, TopicsConfig, load_config

SECONDS = 12.0
IRIS = BUILD / "iris"
_START_SECONDS = 120.0
_END_SECONDS = 60.0
"""Deadlines: of the job's start, and of the last outcome after the stream's end."""
_SCREEN_SECONDS = 0.25
"""Between two screens: what makes them takes time from what is measured."""


def main() -> None:
    """Run the demo until it ends, or with ``--keep`` until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make demo", description=main.__doc__)
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C")
    keep: bool = parser.parse_args().keep
    console = Console()
    # SIGTERM is to be as clean as Ctrl-C: everything below ends in order for either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as started:
            adds_up = run(started, console, keep)
            started.callback(_stop_listening_to_ctrl_c)
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started has ended")
        sys.exit(130)
    except (DemoError, ProcessError) as error:
        console.print(f"demo: {error}", style="red", markup=False)
        sys.exit(1)
    sys.exit(0 if adds_up else 1)


def run(started: ExitStack, console: Console, keep: bool) -> bool:
    """Start everything, stream, and sum up.

    Args:
        started: gets what must be ended.
        console: where to show it.
        keep: leave the job running, and say what to try.

    Returns:
        Whether every event was found again.
    """
    folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="modelstream-demo-")))
    started.callback(_stop_listening_to_ctrl_c)
    with console.status("starting MLServer, which serves iris too"):
        server = started.enter_context(model_servers.mlserver(folder / "mlserver")).grpc_url
    with console.status("starting a Kafka broker"):
        broker = started.enter_context(Broker.start(folder))
        config = _write_config(folder, broker.bootstrap, server)
        create_job_topics(broker.bootstrap, TopicsConfig())
        send(broker.bootstrap, config.topics.control, models.first_models(IRIS, server))
    with console.status("starting the job on a local MiniCluster; it loads six models"):
        job = started.enter_context(_running_job(folder, config))
        job.read_until(lambda: _are_active(job), _START_SECONDS, "the six models")
    sent = _stream(job, console)
    job.read_until(lambda: job.tally.events >= sent, _END_SECONDS, "the last outcome")
    with console.status("waiting for the last transaction"):
        committed = _read_committed(config, sent)
    console.print(screen.summary(job.tally, sent, committed))
    if keep:
        console.print(screen.what_to_try(folder / "job.yaml", server), soft_wrap=True)
        # Reading on, not signal.pause(): a Ctrl-C that comes just before that call would be lost in it.
        while True:
            job.read()
    return committed.adds_up_to(sent)


def _stream(job: WatchedJob, console: Console) -> int:
    """Stream and show it; returns how many events were sent."""
    stop, said = threading.Event(), list[str]()
    started, shown = time.monotonic(), 0.0
    with ThreadPoolExecutor(1) as pool, Live(console=console, auto_refresh=False) as live:
        sending = pool.submit(scenario.stream, job.send, IRIS, SECONDS, stop, said)
        try:
            while not sending.done():
                job.read()
                elapsed = time.monotonic() - started
                if elapsed - shown >= _SCREEN_SECONDS:
                    shown = elapsed
                    screen_now = screen.live(job.tally, elapsed, job.tally.events / elapsed, said)
                    live.update(screen_now, refresh=True)
            return sending.result()
        finally:
            stop.set()


def _read_committed(config: JobConfig, sent: int) -> Tally:
    """Count once more, from the beginning, what readers of committed records find."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        found = Tally()
        found.add_predictions(read_all(config.kafka.bootstrap_servers, config.topics.predictions), 0)
        found.add_dead_letters(read_all(config.kafka.bootstrap_servers, config.topics.dead_letters))
        # The last transaction is committed with the next checkpoint.
        if found.events >= sent or time.monotonic() > deadline:
            return found


def _are_active(job: WatchedJob) -> bool:
    statuses = job.tally.statuses
    failed = next((status for status in statuses.values() if status.status == "failed"), None)
    if failed is not None:
        raise DemoError(f"{failed.model} failed: {failed.cause}")
    return sum(status.status == "active" for status in statuses.values()) == len(models.MODELS)


def _write_config(folder: Path, bootstrap: str, server: str) -> JobConfig:
    path = folder / "job.yaml"
    settings: dict[str, Any] = {
        "name": "demo",
        "parallelism": 1,
        "kafka": {"bootstrap_servers": bootstrap},
        "missing_model": {"hold": "3s"},
        "artifacts": {"cache_folder": str(folder / "artifacts"), "allow": [server]},
        "checkpoints": {"folder": (folder / "checkpoints").as_uri()},
        "flink": {"io.tmp.dirs": str(folder)},
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return load_config(path)


@contextmanager
def _running_job(folder: Path, config: JobConfig) -> Iterator[WatchedJob]:
    """`modelstream run`, stopped in order at the end."""
    log = folder / "job.log"
    process = processes.start(
        [sys.executable, "-m", "cli.main", "run", "--config", folder / "job.yaml"],
        log,
        folder=ROOT,
        # All that Flink and the models write goes into the folder that is removed.
        environment={
            "TMPDIR": str(folder),
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={folder}",
            "FLINK_LOG_DIR": str(folder),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        },
    )
    try:
        with closing(WatchedJob(config, process, log)) as job:
            yield job
    finally:
        processes.stop(process, patience=30)


def _stop_listening_to_ctrl_c() -> None:
    # What is ending must not be interrupted: something would be left behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main()
