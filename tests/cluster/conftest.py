"""A standalone Flink cluster for tests that submit with `flink run`."""

from collections.abc import Iterator

import pytest

from devtools.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One TaskManager for the whole session; a test that kills some starts its own cluster."""
    with Cluster.start(tmp_path_factory.mktemp("cluster")) as running:
        yield running
