"""The scoring job as its users submit it: packaged, to a cluster, over topics of its own."""

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil
import yaml

from connectors._java import JAR
from connectors.client import Client, Record
from devtools.broker import Broker
from devtools.cluster import Cluster
from devtools.package import package
from devtools.topics import create_job_topics, topics_named
from examples.iris import train
from tests.waiting import wait_until
from udfs.models.updates import Artifact, ModelUpdate, PublishModel, encode_update
from udfs.records import ModelId, ModelStatus, Prediction

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
_FIELDS = "sepal_length,sepal_width,petal_length,petal_width"


class Package:
    """What `make package` makes, in a folder of its own.

    Args:
        folder: where; made.
        message_header: another name of the header with a dead letter's cause, which the packaged code
            alone writes: it tells whether that code runs, or this checkout's.
    """

    def __init__(self, folder: Path, message_header: str | None = None) -> None:
        package(JAR, folder)
        self.job = folder / "score_events.py"
        self.jar = folder / "modelstream-flink.jar"
        self.code = folder / "modelstream.zip"
        if message_header is not None:
            self._rename_header(message_header)

    def _rename_header(self, name: str) -> None:
        with zipfile.ZipFile(self.code) as archive:
            sources = {entry: archive.read(entry) for entry in archive.namelist()}
        assert sources["udfs/records.py"].count(b'"ms-message"') == 1
        sources["udfs/records.py"] = sources["udfs/records.py"].replace(
            b'"ms-message"', b'"%s"' % name.encode()
        )
        with zipfile.ZipFile(self.code, "w") as archive:
            for entry, source in sources.items():
                archive.writestr(entry, source)


class ScoringJob:
    """A scoring job's topics and configuration, and what went in and came out.

    Args:
        name: of the job; its topics begin with it.
        execution: ``embedded`` or ``process``.
        cluster: where it runs.
        broker: where its topics are.
        folder: for its configuration; empty.
    """

    def __init__(self, name: str, execution: str, cluster: Cluster, broker: Broker, folder: Path) -> None:
        self.cluster = cluster
        self.topics = topics_named(name)
        create_job_topics(broker.bootstrap, self.topics, partitions=2)
        self._client = Client({"bootstrap_servers": broker.bootstrap})
        self.execution = execution
        self._config = folder / "job.yaml"
        settings = {
            "name": name,
            "execution": execution,
            "kafka": {"bootstrap_servers": broker.bootstrap},
            "topics": msgspec.structs.asdict(self.topics),
            "events": {"start": "earliest"},
            "missing_model": {"hold": "10min"},
            "artifacts": {"cache_folder": str(folder / "cache")},
        }
        self._config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def submit(self, code: Package, *options: str | Path, parallelism: int = 1) -> str:
        """Submit it as the README says; returns the id that Flink gave it."""
        return self.cluster.run(
            code.job,
            ["--config", self._config, "--set", f"parallelism={parallelism}"],
            options=[*options, "-pyfs", code.code, "-j", code.jar],
        )

    def publish(self, *updates: ModelUpdate) -> None:
        """Send model updates."""
        records = [Record(encode_update(update), update.model.name.encode()) for update in updates]
        self._client.send(self.topics.control, records)

    def send(self, numbers: Iterable[int], model: str) -> None:
        """Send an event for each number, its id."""
        self._client.send(self.topics.events, (_event(number, model) for number in numbers))

    def send_bytes(self, value: bytes) -> None:
        """Send an event as it is."""
        self._client.send(self.topics.events, [Record(value)])

    def predictions(self) -> list[Prediction]:
        """All predictions that are committed."""
        return [_prediction(one) for one in self._client.read_to_end(self.topics.predictions)]

    def dead_letters(self) -> list[Record]:
        """All dead letters that are committed."""
        return self._client.read_to_end(self.topics.dead_letters)

    def statuses(self) -> list[ModelStatus]:
        """All that was said of models."""
        return [_status(one) for one in self._client.read_to_end(self.topics.model_status)]

    def predicted(self, numbers: Iterable[int], deadline: float = 60) -> dict[int, Prediction]:
        """Wait until these events have their predictions, and give those, by id."""
        wanted = set(numbers)
        found: dict[int, Prediction] = {}
        for record in self._follow(
            self.topics.predictions, deadline, lambda: f"{len(wanted - found.keys())} predictions"
        ):
            prediction = _prediction(record)
            if isinstance(prediction.id, int) and prediction.id in wanted:
                found[prediction.id] = prediction
            if len(found) == len(wanted):
                break
        return found

    def cancel(self, submitted: str) -> None:
        """Cancel it and wait until it has ended."""
        self.cluster.cancel(submitted)
        wait_until(lambda: self.cluster.state(submitted) == "CANCELED", 60, "the end of the job")

    def said(self, wanted: Callable[[ModelStatus], bool], deadline: float = 90) -> ModelStatus:
        """Wait for a model status, and give it."""
        statuses = map(_status, self._follow(self.topics.model_status, deadline, lambda: "the status"))
        return next(status for status in statuses if wanted(status))

    def _follow(self, topic: str, deadline: float, missing: Callable[[], str]) -> Iterator[Record]:
        end = time.monotonic() + deadline
        for records in self._client.follow(topic, from_beginning=True):
            yield from records
            if time.monotonic() > end:
                raise AssertionError(f"{missing()} did not come in {deadline:g} s")


def zip_environment(folder: Path) -> Path:
    """A virtual environment as `-pyarch` takes it: copies, because links do not survive.

    It stays small by having the packages of this one, where they are.
    """
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", environment], check=True)
    packages = environment / "lib" / "python3.11" / "site-packages"
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return Path(shutil.make_archive(str(environment), "zip", folder, "venv"))


def lives(process: psutil.Process) -> bool:
    """An orphan that ended may stay in the process table where init does not reap."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def iris_onnx(name: str, version: int, folder: Path, activate: bool = True) -> PublishModel:
    """An iris classifier: a logistic regression, from version 2 on a discriminant analysis."""
    fit = train.fit_logistic_regression if version == 1 else train.fit_discriminant_analysis
    train.write_onnx(fit(), folder / "model.onnx")
    return _publish(name, version, "onnx", folder / "model.onnx", activate, {"fields": _FIELDS})


def iris_pmml(name: str, folder: Path) -> PublishModel:
    """The same in a format that needs a Java process of its own."""
    train.write_pmml(train.fit_logistic_regression(), folder / "model.pmml")
    return _publish(name, 1, "pmml", folder / "model.pmml", True, {})


def _publish(
    name: str, version: int, kind: str, file: Path, activate: bool, options: dict[str, str]
) -> PublishModel:
    content = file.read_bytes()
    artifact = Artifact(hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId(name, version), kind, artifact, activate, {**options})


def _event(number: int, model: str) -> Record:
    value = json.dumps({"id": number, "model": model, "data": SETOSA}).encode()
    return Record(value, b"%d" % (number % 11))


def _prediction(record: Record) -> Prediction:
    return msgspec.json.decode(record.value or b"", type=Prediction)


def _status(record: Record) -> ModelStatus:
    return msgspec.json.decode(record.value or b"", type=ModelStatus)
