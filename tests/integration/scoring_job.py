"""The job of the integration tests as a program: its model, its topics and its command."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from devtools.topics import create_job_topics
from examples.iris import train
from jobs.config import TopicsConfig
from tests.integration.records import ALLOWED


def iris_model(folder: Path) -> bytes:
    """A logistic regression of Fisher's iris data, as ONNX."""
    path = folder / "model.onnx"
    train.write_onnx(train.fit_logistic_regression(), path)
    return path.read_bytes()


def create_roomy_topics(bootstrap: str, topics: TopicsConfig) -> None:
    """Topics that take events of 20 MB and of any time, and dead letters of 5 MB."""
    large = {"max.message.bytes": "20000000", "message.timestamp.after.max.ms": str(2**62)}
    create_job_topics(
        bootstrap, topics, configs={"events": large, "dead_letters": {"max.message.bytes": "5000000"}}
    )


def job_command(
    bootstrap: str, topics: TopicsConfig, folder: Path, execution: str, settings: Mapping[str, str]
) -> list[str]:
    """The command that runs the job, which ends when it fails: it never starts again by itself."""
    everything = {
        "name": topics.events,
        "execution": execution,
        "parallelism": "1",
        "kafka.bootstrap_servers": bootstrap,
        "artifacts.allow": ALLOWED,
        "artifacts.cache_folder": str(folder / "cache"),
        "checkpoints.folder": (folder / "checkpoints").as_uri(),
        "flink[restart-strategy.type]": "disable",
        **{f"topics.{field}": topic for field, topic in msgspec.structs.asdict(topics).items()},
        **settings,
    }
    arguments = [part for key, value in everything.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "jobs.score_events", *arguments]
