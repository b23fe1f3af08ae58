"""The job's life on a cluster, submitted as its users do, in both execution modes.

Each fixture is a part of that life and builds on the one before; the tests look at what it left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from connectors.client import Record
from devtools.broker import Broker
from devtools.cluster import Cluster
from tests.cluster.job import Package, ScoringJob, iris_onnx, iris_pmml
from tests.waiting import wait_until

SHIPPED = "ms-shipped"
"""A header that only the packaged code writes."""


@pytest.fixture(scope="module", params=["embedded", "process"])
def job(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScoringJob]:
    with Cluster.start(tmp_path_factory.mktemp("cluster")) as cluster:
        folder = tmp_path_factory.mktemp("job")
        yield ScoringJob(f"cluster-{request.param}", request.param, cluster, broker, folder)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Package(tmp_path_factory.mktemp("package"), message_header=SHIPPED)


@dataclass(frozen=True)
class Started:
    """A job that found its models in the control topic."""

    id: str
    predictions: list[dict[str, Any]]
    dead_letters: list[Record]


@pytest.fixture(scope="module")
def started(job: ScoringJob, code: Package, tmp_path_factory: pytest.TempPathFactory) -> Started:
    models = tmp_path_factory.mktemp("models")
    job.publish(
        iris_onnx("iris", 1, models), iris_onnx("iris", 2, models, activate=False), iris_pmml("rose", models)
    )
    number = job.submit(code)
    job.send(range(100), "iris")
    job.send(range(100, 200), "rose")
    job.send_bytes(b"not JSON")
    predictions = job.predicted(range(200))
    wait_until(job.dead_letters, what="the dead letter")
    return Started(number, predictions, job.dead_letters())


def test_events_are_scored_by_models_published_before_the_start(started: Started) -> None:
    assert [one["id"] for one in started.predictions] == [*range(200)]
    assert {one["outputs"]["label"] for one in started.predictions} == {"setosa"}


def test_the_code_that_runs_is_what_was_shipped(started: Started) -> None:
    assert [letter.header(SHIPPED) is not None for letter in started.dead_letters] == [True]
