"""What tests of every kind share: a real broker, topics of their own, and no process left behind."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from devtools.broker import Broker
from devtools.topics import create_job_topics, topics_named
from jobs.config import TopicsConfig
from tests.waiting import wait_until

MakeTopics = Callable[..., TopicsConfig]
"""``topics(partitions=1, configs=None)``: see the fixture."""


# A slow machine needs longer than the 200 ms that an example has by default, and to draw it.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Most JVMs here live for a minute: compiled by the quick compiler alone, and with one thread that collects
# garbage, they start with half of the work.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

_SLOW = [Path(__file__).parent / name for name in ("integration", "cluster")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with real servers, jobs and clusters 15 minutes, where they have no limit of their own."""
    for item in items:
        if item.get_closest_marker("timeout") is None and any(map(item.path.is_relative_to, _SLOW)):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """A test session ends with the child processes it began with."""
    before = _children()
    yield
    wait_until(lambda: _children() <= before, 60, "the end of every process that a test started")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka broker for the whole session; a test that kills one starts its own."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with Broker.start(folder) as running:
        yield running


@pytest.fixture(scope="session")
def _topic_numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def topics(broker: Broker, request: pytest.FixtureRequest, _topic_numbers: Iterator[int]) -> MakeTopics:
    """Makes the five topics of a job, with names of their own, on the session's broker."""

    def make(partitions: int = 1, configs: Mapping[str, Mapping[str, str]] | None = None) -> TopicsConfig:
        made = topics_named(f"t{next(_topic_numbers)}")
        create_job_topics(broker.bootstrap, made, partitions=partitions, configs=configs)
        return made

    return make


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
