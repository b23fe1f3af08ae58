"""The programs that are compared."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.stand import Program, Stand
from connectors.client import Record
from devtools import BUILD
from devtools.topics import create_job_topics, send, topics_named
from examples.iris.train import FIELDS
from jobs.config import TopicsConfig
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.records import ModelId

IRIS = BUILD / "iris"
FILES = {"onnx": "iris-1.onnx", "pmml": "iris.pmml", "pfa": "iris.pfa", "tensorflow": "iris-tf.zip"}
"""The model that is scored, by format."""

SETTINGS = {
    "parallelism": "1",
    "events.start": "earliest",
    "models.default": "iris",
}
"""The job's configuration for all figures; everything else is as it comes, but what a figure names."""


def job(
    stand: Stand,
    events: str,
    format_name: str = "onnx",
    *,
    execution: str = "embedded",
    delivery: str = "exactly-once",
    models: int = 1,
) -> Program:
    """The job of this project, with its models in the control topic."""
    program, _ = job_with_topics(
        stand, events, format_name, execution=execution, delivery=delivery, models=models
    )
    return program


def job_with_topics(
    stand: Stand,
    events: str,
    format_name: str = "onnx",
    *,
    execution: str = "embedded",
    delivery: str = "exactly-once",
    models: int = 1,
    publications: Sequence[PublishModel] | None = None,
    settings: Mapping[str, str] | None = None,
) -> tuple[Program, TopicsConfig]:
    """The job and its topics, with more settings of its configuration, or with other models than irises."""
    prefix = f"job-{stand.number()}"
    topics = msgspec.structs.replace(topics_named(prefix), events=events)
    stamped = {"message.timestamp.type": "LogAppendTime"}
    create_job_topics(stand.bootstrap, topics, configs={"predictions": stamped})
    if publications is None:
        names = ["iris", *(f"m{number}" for number in range(models if models > 1 else 0))]
        publications = [iris(name, format_name) for name in names]
    send(stand.bootstrap, topics.control, [Record(encode_update(one)) for one in publications])
    everything = {
        **SETTINGS,
        "name": prefix,
        "execution": execution,
        "delivery": delivery,
        "kafka.bootstrap_servers": stand.bootstrap,
        "checkpoints.folder": (stand.folder / prefix).as_uri(),
        "artifacts.cache_folder": str(stand.folder / "artifacts"),
        **{f"topics.{field}": topic for field, topic in msgspec.structs.asdict(topics).items()},
        **(settings or {}),
    }
    arguments = [part for key, value in everything.items() for part in ("--set", f"{key}={value}")]
    name = f"modelstream, {format_name}, {execution}"
    command = [sys.executable, "-m", "jobs.score_events", *arguments]
    return Program(name, command, topics.predictions), topics


def naive_job(stand: Stand, events: str, format_name: str = "onnx") -> Program:
    """A job as PyFlink's documentation writes it: one Python call an event."""
    output = stand.output_topic(f"naive-{stand.number()}")
    arguments: list[str | Path] = [stand.bootstrap, events, output, format_name, IRIS / FILES[format_name]]
    return Program(
        f"naive, {format_name}", [sys.executable, "-m", "benchmarks.naive_job", *arguments], output
    )


def plain_loop(stand: Stand, events: str) -> Program:
    """A consumer, a model and a producer in a loop, without any framework."""
    output = stand.output_topic(f"plain-{stand.number()}")
    arguments: list[str | Path] = [stand.bootstrap, events, output, IRIS / FILES["onnx"]]
    return Program("plain loop", [sys.executable, "-m", "benchmarks.plain_loop", *arguments], output)


def iris(name: str, format_name: str = "onnx") -> PublishModel:
    """The model of irises under a name, inline."""
    content = (IRIS / FILES[format_name]).read_bytes()
    options = {"fields": ",".join(FIELDS)} if format_name == "onnx" else {}
    artifact = Artifact(sha256=hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId(name, 1), format_name, artifact, options=options)
