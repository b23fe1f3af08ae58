"""The scoring job as its users submit it: packaged, to a cluster, over topics of its own."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec
import psutil
import yaml

from connectors.client import Client, Record
from devtools.broker import Broker
from devtools.cluster import Cluster
from devtools.processes import ProcessError
from devtools.topics import create_job_topics, topics_named
from tests.cluster.models import flower
from tests.cluster.package import Package
from tests.cluster.verify import Outcome
from tests.waiting import wait_until
from udfs.models.updates import ModelUpdate, encode_update
from udfs.records import ModelStatus, Prediction, ServedModel

KEYS = 11
"""How many keys the events of a model have."""


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
        self.folder = folder
        self.cache = folder / "cache"
        """Where the job's artifacts are kept."""
        self._config = folder / "job.yaml"
        settings = {
            "name": name,
            "execution": execution,
            "kafka": {"bootstrap_servers": broker.bootstrap},
            "topics": msgspec.structs.asdict(self.topics),
            "events": {"start": "earliest"},
            "missing_model": {"hold": "10min"},
            "artifacts": {"cache_folder": str(self.cache)},
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

    def submit(
        self, code: Package, *options: str | Path, parallelism: int = 1, settings: Iterable[str] = ()
    ) -> str:
        """Submit it as the README says; returns the id that Flink gave it."""
        chosen = [f"parallelism={parallelism}", *settings]
        return self.cluster.run(
            code.job,
            ["--config", self._config, *(word for one in chosen for word in ("--set", one))],
            options=[*options, "-pyfs", code.code, "-j", code.jar],
        )

    def publish(self, *updates: ModelUpdate) -> None:
        """Send model updates."""
        records = [Record(encode_update(update), update.model.name.encode()) for update in updates]
        self._client.send(self.topics.control, records)

    def send(self, numbers: Iterable[int], model: str, at: int | None = None) -> None:
        """Send an event for each number, its id; ``at`` is their time, by default now."""
        self._client.send(self.topics.events, (_event(number, model, at) for number in numbers))

    def send_bytes(self, value: bytes, key: bytes | None = None) -> None:
        """Send an event as it is."""
        self._client.send(self.topics.events, [Record(value, key)])

    def predictions(self) -> list[Prediction]:
        """All predictions that are committed."""
        return [_prediction(one) for one in self._client.read_to_end(self.topics.predictions)]

    def written(self) -> list[Prediction]:
        """All predictions, committed or not."""
        return [
            _prediction(one) for one in self._client.read_to_end(self.topics.predictions, committed=False)
        ]

    def events(self) -> list[Record]:
        """All events."""
        return self._client.read_to_end(self.topics.events)

    def dead_letters(self) -> list[Record]:
        """All dead letters that are committed."""
        return self._client.read_to_end(self.topics.dead_letters)

    def outcomes(self) -> list[Outcome]:
        """What became of events, by their ids: all that is committed."""
        predictions = [
            Outcome(said["id"], record.key or b"", ServedModel(**said["model"]), said["outputs"])
            for record in self._client.read_to_end(self.topics.predictions)
            for said in [msgspec.json.decode(record.value or b"")]
        ]
        dead = [
            Outcome(msgspec.json.decode(record.value or b"")["id"], record.key or b"")
            for record in self.dead_letters()
            if record.header("ms-stage") != b"update"
        ]
        return predictions + dead

    def statuses(self) -> list[ModelStatus]:
        """All that was said of models."""
        return [_status(one) for one in self._client.read_to_end(self.topics.model_status)]

    def predicted(self, numbers: Iterable[int], deadline: float = 120) -> dict[int, Prediction]:
        """Wait until these events have their predictions, and give those, by id."""
        wanted = set(numbers)
        found: dict[int, Prediction] = {}
        for record in self._follow(
            self.topics.predictions, deadline, lambda: f"predictions of {sorted(wanted - found.keys())}"
        ):
            prediction = _prediction(record)
            if isinstance(prediction.id, int) and prediction.id in wanted:
                found[prediction.id] = prediction
            if len(found) == len(wanted):
                break
        return found

    def said_after(
        self, act: Callable[[], None], wanted: Callable[[ModelStatus], bool], deadline: float = 180
    ) -> ModelStatus:
        """Do something, and give a model status that is said after, as soon as it is there."""
        statuses = self._follow(self.topics.model_status, deadline, lambda: "the status", act)
        return next(status for status in map(_status, statuses) if wanted(status))

    def scores_on(self, stream: "Stream", deadline: float = 240) -> int:
        """Wait until all that was sent so far has its outcome, and more; returns how many that was."""
        sent, missing = 0, set[int]()

        def begin() -> None:
            nonlocal sent
            sent = stream.sent
            # Each key once: behind all that was sent of it.
            missing.update(range(sent + stream.batch, sent + stream.batch + KEYS))

        for record in self._follow(
            self.topics.predictions, deadline, lambda: f"predictions of {sorted(missing)}", begin
        ):
            number = _prediction(record).id
            if isinstance(number, int):
                missing.discard(number)
            if not missing:
                break
        return sent

    def begin_stop(self, submitted: str) -> str:
        """Ask for a stop with a savepoint and return at once, with what `savepoint` is to be asked for."""
        answer = httpx.post(f"{self.cluster.rest}/jobs/{submitted}/stop", json={"drain": False}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["request-id"])

    def savepoint(self, submitted: str, asked: str) -> str:
        """Wait for the savepoint of a job that was asked to stop, and the job's end; returns its path.

        Raises:
            ProcessError: there is none.
        """

        def answer() -> Mapping[str, Any] | None:
            said: Mapping[str, Mapping[str, Any]] = self.cluster.get(f"/jobs/{submitted}/savepoints/{asked}")
            return said.get("operation")

        operation = wait_until(answer, 180, "the savepoint") or {}
        if "failure-cause" in operation:
            raise ProcessError(f"no savepoint: {operation['failure-cause']}")
        wait_until(lambda: self.cluster.state(submitted) == "FINISHED", 120, "the end of the job")
        return str(operation["location"])

    def cancel(self, submitted: str) -> None:
        """Cancel it and wait until it has ended."""
        self.cluster.cancel(submitted)
        wait_until(lambda: self.cluster.state(submitted) == "CANCELED", 120, "the end of the job")

    def said(self, wanted: Callable[[ModelStatus], bool], deadline: float = 180) -> ModelStatus:
        """Wait for a model status, and give it."""
        return next(status for status in self.follow_statuses(deadline) if wanted(status))

    def follow_statuses(self, deadline: float) -> Iterator[ModelStatus]:
        """Everything that is said of models, from the beginning; so many seconds at most."""
        return map(_status, self._follow(self.topics.model_status, deadline, lambda: "the status"))

    def _follow(
        self,
        topic: str,
        deadline: float,
        missing: Callable[[], str],
        act: Callable[[], None] | None = None,
    ) -> Iterator[Record]:
        """Read a topic as it grows: from its beginning, or what comes after an act."""
        end = time.monotonic() + deadline
        with closing(self._client.follow(topic, from_beginning=act is None)) as came:
            if act is not None:
                next(came)  # from now on it reads
                act()
            for records in came:
                yield from records
                if time.monotonic() > end:
                    raise AssertionError(f"{missing()} did not come in {deadline:g} s")


class Stream:
    """Sends a thousand events a second, until it is told to end.

    Args:
        job: the job that they are for.
    """

    def __init__(self, job: ScoringJob) -> None:
        self.sent = 0
        self.batch = 20
        self._job = job
        self._times: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stream")

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def time_of(self, number: int) -> int:
        """The time of an event that was sent: ms since 1970."""
        return self._times[number // self.batch]

    def _work(self) -> None:
        while not self._over.wait(0.02):
            self._times.append(time.time_ns() // 1_000_000)
            self._job.send(range(self.sent, self.sent + self.batch), "iris", self._times[-1])
            self.sent += self.batch


def lives(process: psutil.Process) -> bool:
    """An orphan that ended may stay in the process table where init does not reap."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def key_of(number: int, model: str) -> bytes:
    """The key of an event."""
    return f"{model}-{number % KEYS}".encode()


def _event(number: int, model: str, at: int | None) -> Record:
    value = json.dumps({"id": number, "model": model, "data": flower(number)}).encode()
    return Record(value, key_of(number, model), timestamp=at)


def _prediction(record: Record) -> Prediction:
    return msgspec.json.decode(record.value or b"", type=Prediction)


def _status(record: Record) -> ModelStatus:
    return msgspec.json.decode(record.value or b"", type=ModelStatus)
