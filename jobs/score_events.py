"""The job's entry point: ``flink run -py jobs/score_events.py --config FILE``, or Python itself."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import CheckpointingMode, StreamExecutionEnvironment

from connectors import _java
from jobs.config import JobConfig, load_config
from jobs.preflight import check_topics, read_catalog
from jobs.settings import checkpoint_interval_ms
from jobs.topology import build
from udfs.errors import ConfigError

_UNALIGNED = "execution.checkpointing.unaligned.enabled"
_EXECUTION_MODES = {"embedded": "thread", "process": "process"}


def main(argv: Sequence[str]) -> None:
    """Run the job; on a local MiniCluster, until it ends.

    Args:
        argv: ``--config FILE`` and any number of ``--set key=value``.

    Raises:
        ConfigError: the job can't start.
    """
    config = load_config(*_parse(argv))
    prepare(config).execute(config.name)


def prepare(config: JobConfig) -> StreamExecutionEnvironment:
    """Check what the job needs, and build it.

    Raises:
        ConfigError: the job can't start.
    """
    env = make_environment(config)
    _java.add_jar(env)
    limits = check_topics(config)
    build(env, config, read_catalog(config), limits)
    return env


def make_environment(config: JobConfig) -> StreamExecutionEnvironment:
    """The environment that a configuration asks for."""
    if _is_local():
        # The embedded interpreter is found as a shell would find it, before this process starts Java.
        folder = os.path.dirname(sys.executable)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
        # A MiniCluster would run them as threads of this process, which is no wall.
        os.environ["_python_worker_execution_mode"] = "process"  # noqa: SIM112  # PyFlink's own spelling
    settings = Configuration()
    for key, value in flink_settings(config).items():
        settings.set_string(key, value)
    env = StreamExecutionEnvironment.get_execution_environment(settings)
    mode = CheckpointingMode.EXACTLY_ONCE
    if config.delivery == "at-least-once":
        mode = CheckpointingMode.AT_LEAST_ONCE
    env.enable_checkpointing(checkpoint_interval_ms(config), mode)
    if config.parallelism is not None:
        env.set_parallelism(config.parallelism)
    return env


def flink_settings(config: JobConfig) -> dict[str, str]:
    """Flink's settings: the job's own, under those that the configuration names."""
    settings: dict[str, Any] = {
        "python.execution-mode": _EXECUTION_MODES[config.execution],
        # A bundle's round trip to the process costs milliseconds: a few batches share one, if they come soon.
        "python.fn-execution.bundle.size": 4,
        "python.fn-execution.bundle.time": 5,
        "pipeline.object-reuse": True,
        "execution.buffer-timeout.interval": "1 ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.timeout": f"{round(config.checkpoints.timeout * 1000)} ms",
    }
    if config.checkpoints.folder is not None or _is_local():
        settings["execution.checkpointing.dir"] = state_folder(config)
    if _is_local():  # a cluster's own configuration names its interpreter
        settings["python.executable"] = sys.executable
        settings["python.client.executable"] = sys.executable
    settings.update(config.flink)
    # Of what is held, some is in no state between a roll call and the batch behind it: no barrier may pass.
    if str(config.flink.get(_UNALIGNED, False)).lower() != "false":
        raise ConfigError(f"flink.{_UNALIGNED}: this job needs aligned checkpoints")
    settings[_UNALIGNED] = False
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in settings.items()
    }


def state_folder(config: JobConfig) -> str:
    """Where a local run keeps checkpoints and savepoints: as configured, else below the working folder."""
    return config.checkpoints.folder or (Path.cwd() / "modelstream-state" / config.name).as_uri()


def _is_local() -> bool:
    """Whether Python starts Flink; under ``flink run`` it is the other way round."""
    return "PYFLINK_GATEWAY_PORT" not in os.environ


def _parse(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    parser = argparse.ArgumentParser(prog="score_events", allow_abbrev=False)
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    arguments = parser.parse_args(argv)
    return arguments.config, arguments.settings


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"score_events: {error}")
