"""A job on two TaskManagers, and what is done to it: kills that are aimed, and that know what they hit."""

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from devtools.broker import Broker
from tests.cluster.job import ScoringJob, Stream
from tests.cluster.models import iris_onnx
from tests.cluster.package import Package
from tests.cluster.verify import Switch
from tests.waiting import wait_until
from udfs.models.updates import ActivateModel, PublishModel
from udfs.records import ModelId, ModelStatus

SEED = 20261124
TRIES = 8
"""Kills in search of a moment that lasts milliseconds."""
SWITCH_MS = 2500
"""From an activation to the event time that it names."""
CHECKPOINT_MS = 50
"""What a checkpoint takes at least."""
CLUSTER_SETTINGS: Mapping[str, str | int] = {
    "rest.cache.checkpoint-statistics.timeout": "1 ms",
    "web.checkpoints.history": 1000,
    "restart-strategy.exponential-delay.max-backoff": "1 s",
}
"""A cluster that is to be killed says which checkpoint is in progress now, and what became of it when the job
has long gone on; and it doesn't wait longer after each kill."""


class Run:
    """A job, the stream of its events, and what was done to it.

    Args:
        job: on a cluster of two TaskManagers.
        stream: of its events.
        broker: the job's only one.
    """

    def __init__(self, job: ScoringJob, stream: Stream, broker: Broker) -> None:
        self.job = job
        self.stream = stream
        self.hits: Counter[str] = Counter()
        """How many times each was hit; `missed`: a kill that came too early or too late."""
        self.published: list[PublishModel] = []
        self.switches: list[Switch] = []
        self._broker = broker
        self._random = random.Random(SEED)
        self._id = ""
        self._since = ""

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return self.hits.total() - self.hits["savepoint in a load"]

    def publish(self, name: str, version: int, activate: bool = True) -> None:
        update = iris_onnx(name, version, activate)
        self.published.append(update)
        self.job.publish(update)

    def next_version(self, activate: bool = True) -> ModelId:
        """Publish another version of iris, and wait until some subtask loads it."""
        version = 1 + sum(one.model.name == "iris" for one in self.published)
        model = ModelId("iris", version)
        self.job.said_after(
            lambda: self.publish("iris", version, activate),
            lambda said: (said.model, said.status) == (model, "loading"),
        )
        return model

    def submit(self, code: Package, parallelism: int, savepoint: str | None = None) -> None:
        """Submit the job and wait until every subtask serves."""
        self._since = _now()
        options = [] if savepoint is None else ["-s", savepoint]
        self._id = self.job.submit(code, *options, parallelism=parallelism)
        self._serves(parallelism, attempt=0)

    def stop_in_a_load(self) -> str:
        """Stop the job with a savepoint while a version is loaded; returns the savepoint's path."""
        model = self.next_version(activate=False)
        asked_at = _now()
        asked = self.job.begin_stop(self._id)
        savepoint = self.job.savepoint(self._id, asked)
        if not any(said.at <= asked_at for said in self._said_of(model, "ready")):
            self.hits["savepoint in a load"] += 1
        return savepoint

    def kill_in_a_load(self) -> None:
        """Kill a TaskManager after a subtask has said that it loads a version, before it has said `ready`."""
        for _ in range(TRIES):
            with self._recovery() as attempt:
                model = self.next_version()
                self._kill_task_manager()
            loading, ready = (
                {said.subtask for said in self._said_of(model, status) if said.attempt == attempt}
                for status in ("loading", "ready")
            )
            if self._note("load", hit=bool(loading - ready)):
                break

    def kill_in_a_switch(self) -> None:
        """Kill a TaskManager between an activation and the first event that is of its time."""
        after, before = (one.model for one in self.published[-2:])
        for _ in range(TRIES):
            first = self.stream.sent
            with self._recovery():
                at = time.time_ns() // 1_000_000 + SWITCH_MS
                self.job.publish(ActivateModel(after, effective_from=at))
                moment = at - self._random.uniform(0, SWITCH_MS)
                _wait_for(moment)
                self._kill_task_manager()
                is_in_time = time.time_ns() / 1e6 < at
            end = self.job.scores_on(self.stream)
            self.switches.append(Switch(at, before, after, range(first, end)))
            if self._note("switch", hit=is_in_time):
                break
            after, before = before, after

    def kill_in_a_checkpoint(self) -> None:
        """Kill a TaskManager while a checkpoint is in progress, which then fails."""
        for _ in range(TRIES):
            with self._recovery():
                number = self._wait_for_checkpoint()
                _wait_for(time.time_ns() / 1e6 + self._random.uniform(0, CHECKPOINT_MS))
                self._kill_task_manager()
            if self._note("checkpoint", hit=self._checkpoints().get(number) == "FAILED"):
                break

    def kill_python_worker(self) -> None:
        with self._recovery():
            self._after_a_moment()
            self.job.cluster.kill_python_worker()
        self._note("Python worker", hit=True)

    def kill_broker(self) -> None:
        """Kill the only broker, start it again, and wait for predictions of events sent after that."""
        self._after_a_moment()
        self._broker.kill()
        self._broker.restart()
        sent = self.stream.sent
        wait_until(lambda: self.stream.sent > sent, 120, "the stream")
        self.job.scores_on(self.stream)
        self._note("broker", hit=True)

    def _after_a_moment(self) -> None:
        """Let a random number of events pass."""
        sent = self.stream.sent + self._random.randrange(2000)
        wait_until(lambda: self.stream.sent > sent, 120, "the stream")

    def _kill_task_manager(self) -> None:
        self.job.cluster.kill_task_manager(self._random.randrange(2))

    @contextmanager
    def _recovery(self) -> Iterator[int]:
        """Give the attempt that is killed, and wait until both subtasks say in a later one what serves."""
        attempt = max(said.attempt for said in self.job.statuses() if said.at > self._since)
        started = time.monotonic()
        yield attempt
        while len(self.job.cluster.task_manager_pids()) < 2:
            self.job.cluster.start_task_manager()
        self._serves(2, attempt + 1)
        sys.stdout.write(f"serves again after {time.monotonic() - started:.1f} s: ")

    def _serves(self, parallelism: int, attempt: int) -> None:
        for subtask in range(parallelism):
            self.job.said(partial(_is_active, self._since, attempt, subtask), deadline=300)

    def _said_of(self, model: ModelId, status: str) -> list[ModelStatus]:
        return [
            said
            for said in self.job.statuses()
            if (said.model, said.status) == (model, status) and said.at > self._since
        ]

    def _note(self, what: str, *, hit: bool) -> bool:
        self.hits[what if hit else "missed"] += 1
        sys.stdout.write(f"kill {self.kills}, {what}: {'hit' if hit else 'missed'}\n")
        return hit

    def _wait_for_checkpoint(self) -> int:
        """The number of the next checkpoint that begins, which the making of its folder does."""
        folder = self.job.cluster.folder / "checkpoints" / self._id
        before = _numbers(folder)
        return max(wait_until(lambda: _numbers(folder) - before, what="a checkpoint", pause=0.001))

    def _checkpoints(self) -> dict[int, str]:
        """The newest checkpoints of the job, and what became of them."""
        history = self.job.cluster.get(f"/jobs/{self._id}/checkpoints")["history"]
        return {int(one["id"]): str(one["status"]) for one in history}


def _is_active(since: str, attempt: int, subtask: int, said: ModelStatus) -> bool:
    is_so = (said.model.name, said.status, said.subtask) == ("iris", "active", subtask)
    return is_so and said.attempt >= attempt and said.at > since


def _numbers(checkpoints: Path) -> set[int]:
    """Of the checkpoints that have a folder."""
    return {int(folder.name.removeprefix("chk-")) for folder in checkpoints.glob("chk-*")}


def _wait_for(moment: float) -> None:
    """Wait for a time of day: ms since 1970."""
    wait_until(lambda: time.time_ns() / 1e6 >= moment, what="the moment", pause=0.001)


def _now() -> str:
    """As statuses say it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
