"""Short ways to the topics of a broker of this machine, for tests, demo and benchmarks."""

from collections.abc import Iterable, Mapping

from connectors.client import Client, Record, Topic
from jobs.config import TopicsConfig
from jobs.topics import plan_topics


def topics_named(prefix: str) -> TopicsConfig:
    """Names for a job's topics that begin with a prefix: ``PREFIX-events``, ``PREFIX-dead-letters``, ..."""
    fields = TopicsConfig.__struct_fields__
    return TopicsConfig(**{field: f"{prefix}-{field.replace('_', '-')}" for field in fields})


def create_job_topics(
    bootstrap: str,
    topics: TopicsConfig,
    *,
    partitions: int = 1,
    configs: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Make a job's topics; see `jobs.topics.plan_topics`."""
    with _client(bootstrap) as client:
        client.create_topics(plan_topics(topics, partitions=partitions, settings=configs))


def create_topic(
    bootstrap: str, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Make one topic."""
    with _client(bootstrap) as client:
        client.create_topics([Topic(name, partitions, settings=config or {})])


def send(bootstrap: str, topic: str, records: Iterable[Record | bytes]) -> None:
    """Send records in order, values alone as bytes, and wait until the broker has them all."""
    with _client(bootstrap) as client:
        client.send(topic, (Record(one) if isinstance(one, bytes) else one for one in records))


def read_all(bootstrap: str, topic: str, *, committed: bool = True, timeout: float = 30.0) -> list[Record]:
    """Read a topic from its beginning to the end that it has now; see `connectors.client`."""
    with _client(bootstrap) as client:
        return client.read_to_end(topic, committed=committed, seconds=timeout)


def _client(bootstrap: str) -> Client:
    return Client({"bootstrap_servers": bootstrap})
