"""The job's life on a cluster, submitted as its users do, in both execution modes.

Each fixture is a part of that life and builds on the one before; the tests look at what it left.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest

from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import Package, ScoringJob, iris_onnx, iris_pmml, lives
from tests.waiting import wait_until
from udfs.models.updates import PublishModel

SHIPPED = "ms-shipped"
"""A header that only the packaged code writes."""
IRISES = range(100)
ROSES = range(100, 200)
HELD = {f"late-{number}": range(-number * 100, -number * 100 + 50) for number in (1, 2, 3)}
"""Events for models that are published later."""


@pytest.fixture(scope="module", params=["embedded", "process"])
def job(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScoringJob]:
    with Cluster.start(tmp_path_factory.mktemp("cluster")) as cluster:
        folder = tmp_path_factory.mktemp("job")
        with ScoringJob(f"cluster-{request.param}", request.param, cluster, broker, folder) as made:
            yield made


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Package(tmp_path_factory.mktemp("package"), message_header=SHIPPED)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PublishModel]:
    """What is published, by model id."""
    folder = tmp_path_factory.mktemp("models")
    made = [
        iris_onnx("iris", 1, folder),
        iris_onnx("iris", 2, folder, activate=False),
        iris_pmml("rose", folder),
    ]
    made += [iris_onnx(f"late-{number}", 1, folder) for number in (1, 2, 3)]
    return {str(update.model): update for update in made}


@dataclass
class Life:
    """The job so far."""

    id: str
    """The id that Flink gave its last submission."""
    sent: int
    """How many events for iris and rose there were; they are their ids too."""


@pytest.fixture(scope="module")
def started(job: ScoringJob, code: Package, models: dict[str, PublishModel]) -> Life:
    """The job, which found its models in the control topic."""
    job.publish(models["iris:1"], models["iris:2"], models["rose:1"])
    life = Life(job.submit(code), len(IRISES) + len(ROSES))
    job.send(IRISES, "iris")
    job.send(ROSES, "rose")
    job.send_bytes(b"not JSON")
    return life


@pytest.mark.usefixtures("started")
def test_events_are_scored_by_models_published_before_the_start(job: ScoringJob) -> None:
    predicted = job.predicted([*IRISES, *ROSES])

    assert {number: one.model.name for number, one in predicted.items()} == {
        **dict.fromkeys(IRISES, "iris"),
        **dict.fromkeys(ROSES, "rose"),
    }


@pytest.mark.usefixtures("started")
def test_the_code_that_runs_is_what_was_shipped(job: ScoringJob) -> None:
    (letter,) = wait_until(job.dead_letters, what="the dead letter")

    assert letter.header(SHIPPED) is not None


@dataclass(frozen=True)
class Killed:
    """A job whose TaskManager was killed under a stream of events."""

    life: Life
    helpers: list[psutil.Process]
    """Processes that the TaskManager had started: Python workers, the Java process of PMML models."""


@pytest.fixture(scope="module")
def killed(job: ScoringJob, started: Life, models: dict[str, PublishModel]) -> Killed:
    for model, numbers in HELD.items():
        job.send(numbers, model)
    checkpoints = job.cluster.checkpoints(started.id)
    wait_until(lambda: job.cluster.checkpoints(started.id) > checkpoints + 1, 60, "a checkpoint")
    helpers = job.cluster.python_workers()
    with stream(job, started):
        job.predicted(range(started.sent, started.sent + 1000))
        job.cluster.kill_task_manager()
        job.cluster.start_task_manager()
        job.said(lambda status: status.attempt > 0)
        job.predicted([started.sent])
    job.publish(models["late-1:1"])
    return Killed(started, helpers)


@contextmanager
def stream(job: ScoringJob, life: Life) -> Iterator[None]:
    """Sends events all the time."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.05):
            job.send(range(life.sent, life.sent + 200), "iris")
            life.sent += 200

    sender = threading.Thread(target=send, name="sender")
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def test_a_killed_task_manager_loses_and_doubles_no_event(job: ScoringJob, killed: Killed) -> None:
    sent = range(killed.life.sent)
    job.predicted(sent)

    assert Counter(one.id for one in job.predictions() if one.id in sent) == Counter(sent)


@pytest.mark.usefixtures("killed")
def test_a_new_attempt_says_again_what_serves(job: ScoringJob) -> None:
    again = {(str(one.model), one.status) for one in job.statuses() if one.attempt > 0}

    assert again >= {("iris:1", "active"), ("rose:1", "active")}


@pytest.mark.usefixtures("killed")
def test_what_was_held_outlives_a_kill_until_its_model_comes(job: ScoringJob) -> None:
    assert {one.model.name for one in job.predicted(HELD["late-1"]).values()} == {"late-1"}


def test_no_process_outlives_a_killed_task_manager(killed: Killed) -> None:
    assert killed.helpers
    wait_until(lambda: not any(map(lives, killed.helpers)), 30, "the end of the TaskManager's processes")
