"""The job's life on a cluster, submitted as its users do, in both execution modes.

Each fixture is a part of that life and builds on the one before; the tests look at what it left.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psutil
import pytest

from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import KEYS, ScoringJob, key_of, lives
from tests.cluster.models import iris_onnx, iris_pmml
from tests.cluster.package import Package, zip_environment
from tests.waiting import wait_until
from udfs.models.updates import ActivateModel, PublishModel
from udfs.records import ModelId

SHIPPED = "ms-shipped"
"""A header that only the packaged code writes."""
IRISES = range(100)
ROSES = range(100, 200)
HELD = {f"late-{number}": range(-number * 100, -number * 100 + 50) for number in (1, 2, 3)}
"""Events for models that are published later."""
MORE_HELD = [range(-1000, -980), range(-900, -880)]
"""More of the last of them, sent to two subtasks and to one again."""
NEWER_HELD = range(-800, -780)
"""More of the second, sent to two subtasks."""


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
        iris_onnx("iris", 1),
        iris_onnx("iris", 2, activate=False),
        iris_pmml("rose", folder),
    ]
    made += [iris_onnx(f"late-{number}", 1) for number in (1, 2, 3)]
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
    wait_until(lambda: job.cluster.checkpoints(started.id) > checkpoints + 1, 120, "a checkpoint")
    helpers = job.cluster.python_workers()
    with stream(job, started):
        job.predicted(range(started.sent, started.sent + 500))
        job.cluster.kill_task_manager()
        job.cluster.start_task_manager()
        job.said(lambda status: status.attempt > 0)
        job.predicted([started.sent])
    return Killed(started, helpers)


@contextmanager
def stream(job: ScoringJob, life: Life) -> Iterator[None]:
    """Sends events all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            send(job, life, "iris")

    sender = threading.Thread(target=work, name="sender")
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


@pytest.fixture(scope="module")
def first_came(job: ScoringJob, killed: Killed, models: dict[str, PublishModel]) -> None:
    job.publish(models["late-1:1"])


@pytest.mark.usefixtures("first_came")
def test_what_was_held_outlives_a_kill_until_its_model_comes(job: ScoringJob) -> None:
    assert {one.model.name for one in job.predicted(HELD["late-1"]).values()} == {"late-1"}


def test_no_process_outlives_a_killed_task_manager(killed: Killed) -> None:
    assert killed.helpers
    wait_until(lambda: not any(map(lives, killed.helpers)), 60, "the end of the TaskManager's processes")


@pytest.fixture(scope="module")
def rescaled(job: ScoringJob, killed: Killed, code: Package) -> Life:
    """The job on two TaskManagers, from a savepoint; another version was activated while it was down."""
    life = killed.life
    savepoint = job.cluster.stop_job(life.id)
    job.cluster.start_task_manager()
    job.publish(ActivateModel(ModelId("iris", 2)))
    life.id = job.submit(code, "-s", savepoint, parallelism=2)
    job.send(MORE_HELD[0], "late-3")
    job.send(NEWER_HELD, "late-2")
    return life


def test_an_activation_published_while_the_job_was_down_is_followed(job: ScoringJob, rescaled: Life) -> None:
    assert {one.model.version for one in job.predicted(send(job, rescaled, "iris")).values()} == {2}


def test_a_rescaled_job_serves_what_it_served(job: ScoringJob, rescaled: Life) -> None:
    assert {one.model.version for one in job.predicted(send(job, rescaled, "rose")).values()} == {1}


@pytest.mark.usefixtures("rescaled")
@pytest.mark.parametrize("subtask", [0, 1])
def test_every_subtask_says_what_it_serves(job: ScoringJob, subtask: int) -> None:
    job.said(
        lambda one: (
            (str(one.model), one.status, one.subtask, one.parallelism) == ("iris:2", "active", subtask, 2)
        )
    )


@pytest.fixture(scope="module")
def second_came(job: ScoringJob, rescaled: Life, models: dict[str, PublishModel]) -> None:
    job.publish(models["late-2:1"])


@pytest.mark.usefixtures("second_came")
def test_what_was_held_outlives_a_rescaling_until_its_model_comes(job: ScoringJob) -> None:
    assert {one.model.name for one in job.predicted(HELD["late-2"]).values()} == {"late-2"}


@pytest.mark.usefixtures("second_came")
def test_two_subtasks_keep_the_order_of_what_was_held_before_a_rescaling_and_of_what_was_after(
    job: ScoringJob,
) -> None:
    """Between the two they promise none."""
    order = [*job.predicted([*HELD["late-2"], *NEWER_HELD])]

    for sent in (HELD["late-2"], NEWER_HELD):
        for number in range(KEYS):
            key = key_of(number, "late-2")
            expected = [one for one in sent if key_of(one, "late-2") == key]
            assert [one for one in order if one in sent and key_of(one, "late-2") == key] == expected


@pytest.fixture(scope="module")
def single(job: ScoringJob, rescaled: Life, code: Package) -> Life:
    """The job on one TaskManager again."""
    # All that was sent before is scored or held now.
    job.predicted(send(job, rescaled, "rose"))
    rescaled.id = job.submit(code, "-s", job.cluster.stop_job(rescaled.id))
    job.send(MORE_HELD[1], "late-3")
    return rescaled


def test_a_job_scaled_down_serves_what_it_served(job: ScoringJob, single: Life) -> None:
    assert {one.model.version for one in job.predicted(send(job, single, "iris")).values()} == {2}


@pytest.fixture(scope="module")
def third_came(job: ScoringJob, single: Life, models: dict[str, PublishModel]) -> None:
    job.publish(models["late-3:1"])


@pytest.mark.usefixtures("third_came")
def test_what_was_held_outlives_two_rescalings_until_its_model_comes(job: ScoringJob) -> None:
    assert {one.model.name for one in job.predicted(chain(HELD["late-3"], *MORE_HELD)).values()} == {"late-3"}


@pytest.mark.usefixtures("third_came")
def test_held_events_of_a_key_keep_their_order_through_two_rescalings(job: ScoringJob) -> None:
    sent = list(chain(HELD["late-3"], *MORE_HELD))
    job.predicted(sent)

    order = [one.id for one in job.predictions() if one.model.name == "late-3"]
    for number in range(KEYS):
        key = key_of(number, "late-3")
        expected = [one for one in sent if key_of(one, "late-3") == key]
        assert [one for one in order if key_of(int(one or 0), "late-3") == key] == expected


@dataclass(frozen=True)
class Cancelled:
    """A job that was cancelled."""

    life: Life
    helpers: list[psutil.Process]
    checkpoints: list[Path]
    """What is left in the cluster's folder of checkpoints."""


@pytest.fixture(scope="module")
def cancelled(job: ScoringJob, single: Life) -> Cancelled:
    job.predicted(send(job, single, "rose"))
    helpers = job.cluster.python_workers()
    job.cancel(single.id)
    kept = job.cluster.folder / "checkpoints" / single.id
    return Cancelled(single, helpers, [path.parent for path in kept.glob("chk-*/_metadata")])


def test_no_process_outlives_a_cancelled_job(job: ScoringJob, cancelled: Cancelled) -> None:
    assert cancelled.helpers
    wait_until(lambda: not job.cluster.python_workers(), 60, "the end of the job's processes")


def test_a_cancelled_job_keeps_its_checkpoints(cancelled: Cancelled) -> None:
    assert cancelled.checkpoints


@pytest.fixture(scope="module")
def restored(job: ScoringJob, cancelled: Cancelled, code: Package) -> Life:
    """The job from a checkpoint that was kept when it was cancelled."""
    life = cancelled.life
    newest = max(cancelled.checkpoints, key=lambda path: int(path.name.removeprefix("chk-")))
    life.id = job.submit(code, "-s", newest)
    return life


def test_a_job_goes_on_from_a_kept_checkpoint(job: ScoringJob, restored: Life) -> None:
    assert {one.model.version for one in job.predicted(send(job, restored, "iris")).values()} == {2}


@pytest.mark.usefixtures("first_came", "second_came", "third_came")
def test_each_event_of_a_job_that_was_killed_rescaled_and_restored_has_one_prediction(
    job: ScoringJob, restored: Life
) -> None:
    sent = [*range(restored.sent), *chain(*HELD.values(), *MORE_HELD, NEWER_HELD)]
    job.predicted(sent)

    assert Counter(one.id for one in job.predictions()) == Counter(sent)


@pytest.mark.usefixtures("restored")
def test_a_broken_event_has_one_dead_letter_after_all_that(job: ScoringJob) -> None:
    assert [letter.value for letter in job.dead_letters()] == [b"not JSON"]


@pytest.fixture(scope="module")
def changed(job: ScoringJob, restored: Life, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Other code of the job on TaskManagers that have run it; a worker gets an environment with it."""
    folder = tmp_path_factory.mktemp("changed")
    options: list[str | Path] = ["-s", job.cluster.stop_job(restored.id)]
    if job.execution == "process":
        options += ["-pyarch", zip_environment(folder), "-pyexec", "venv.zip/venv/bin/python"]
    return job.submit(Package(folder / "package"), *options)


@pytest.mark.usefixtures("changed")
def test_a_worker_runs_in_the_environment_that_was_shipped(job: ScoringJob) -> None:
    if job.execution == "embedded":
        pytest.skip("an embedded job takes its TaskManager's environment")

    def programs() -> list[str]:
        return [program for worker in job.cluster.python_workers() for program in worker.cmdline()[:1]]

    wait_until(lambda: "venv.zip/venv/bin/python" in programs(), 120, "the worker")


def test_changed_code_runs_or_is_refused(job: ScoringJob, changed: str) -> None:
    if job.execution == "embedded":
        failures = f"/jobs/{changed}/exceptions"
        (entry, *_) = wait_until(
            lambda: job.cluster.get(failures)["exceptionHistory"]["entries"], 180, "a failure"
        )
        assert "restart the TaskManagers" in entry["stacktrace"]
    else:
        job.send_bytes(b"not JSON")
        wait_until(
            lambda: any(letter.header("ms-message") for letter in job.dead_letters()), 120, "the dead letter"
        )


def send(job: ScoringJob, life: Life, model: str) -> range:
    """Sends some more events; returns their ids."""
    numbers = range(life.sent, life.sent + 50)
    job.send(numbers, model)
    life.sent += len(numbers)
    return numbers
