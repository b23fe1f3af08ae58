"""The topics of a job as they should be."""

from collections.abc import Mapping

import msgspec

from connectors.client import Topic
from jobs.config import TopicsConfig

CONTROL_SETTINGS = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""Compaction would let an activation erase the publication that it names, and expiry would lose models."""

STATUS_SETTINGS = {"cleanup.policy": "compact"}
"""The last word of each subtask on each version stays."""


def plan_topics(
    topics: TopicsConfig,
    *,
    partitions: int = 1,
    replication_factor: int = 1,
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Topic]:
    """What to create for a job.

    Args:
        topics: the names.
        partitions: of events, predictions and dead letters; control and statuses have one.
        replication_factor: of all of them.
        settings: Kafka's settings by field of TopicsConfig
            (``{"events": {"max.message.bytes": "20000000"}}``), over the usual ones.
    """
    usual = {"control": CONTROL_SETTINGS, "model_status": STATUS_SETTINGS}
    names: dict[str, str] = msgspec.structs.asdict(topics)
    return [
        Topic(
            name,
            1 if field in usual else partitions,
            replication_factor,
            {**usual.get(field, {}), **(settings or {}).get(field, {})},
        )
        for field, name in names.items()
    ]
