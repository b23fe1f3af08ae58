"""A model that crashes natively when it is loaded, tried nowhere first: its job goes on with the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest

from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import ScoringJob
from tests.cluster.models import iris_onnx
from tests.cluster.package import Package
from udfs.models.load_ledger import MOST_DEATHS
from udfs.records import ModelStatus

LOADS = "    model = onnx_graph.read_model(artifact)\n    return _load(model, options, artifact)\n"
CRASHES = '    if "poison" in options:\n        __import__("ctypes").string_at(0)\n'
EVENTS = range(1, 50)


@dataclass(frozen=True)
class Poisoned:
    """A job after a poisonous model was published."""

    job: ScoringJob
    id: str
    failed: ModelStatus


@pytest.fixture(scope="module")
def poisoned(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poisoned]:
    code = Package(tmp_path_factory.mktemp("package"))
    code.replace("udfs/scorers/onnx.py", LOADS, CRASHES + LOADS)
    poison = iris_onnx("poison", 1)
    poison = msgspec.structs.replace(poison, options={**poison.options, "poison": "yes"})
    folder = tmp_path_factory.mktemp("poison")
    with (
        Cluster.start(tmp_path_factory.mktemp("cluster")) as cluster,
        ScoringJob("poison", "process", cluster, broker, folder) as job,
    ):
        job.publish(iris_onnx("iris", 1))
        submitted = job.submit(code, settings=["loading.trial_process=false"])
        job.send([0], "iris")
        job.predicted([0])
        failed = job.said_after(
            lambda: job.publish(poison),
            lambda said: (said.model.name, said.status) == ("poison", "failed"),
            deadline=180,
        )
        yield Poisoned(job, submitted, failed)


def test_a_model_that_kills_its_worker_twice_has_failed(poisoned: Poisoned) -> None:
    assert poisoned.failed.cause is not None
    assert poisoned.failed.cause.startswith("crashed")
    assert poisoned.failed.attempt == MOST_DEATHS


def test_the_job_goes_on_scoring_with_other_models(poisoned: Poisoned) -> None:
    poisoned.job.send(EVENTS, "iris")

    assert {one.model.name for one in poisoned.job.predicted(EVENTS).values()} == {"iris"}


def test_the_job_is_not_restarted_for_it_again(poisoned: Poisoned) -> None:
    poisoned.job.send(EVENTS, "iris")
    poisoned.job.predicted(EVENTS)

    assert poisoned.job.cluster.running(poisoned.id)
    assert max(said.attempt for said in poisoned.job.statuses()) == MOST_DEATHS
