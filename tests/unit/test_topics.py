"""The topics that a job needs, as they are planned."""

import pytest

from connectors.client import Topic
from jobs.config import TopicsConfig
from jobs.topics import plan_topics

NAMES = TopicsConfig(
    events="in", control="models", predictions="out", dead_letters="dead", model_status="status"
)


def plan(**asked: object) -> dict[str, Topic]:
    return {topic.name: topic for topic in plan_topics(NAMES, **asked)}  # type: ignore[arg-type]


def test_a_job_has_a_topic_of_each_name() -> None:
    assert [topic.name for topic in plan_topics(NAMES)] == ["in", "models", "out", "dead", "status"]


def test_the_default_names_are_five_different_ones() -> None:
    assert len({topic.name for topic in plan_topics(TopicsConfig())}) == 5


def test_events_and_what_becomes_of_them_have_the_partitions_asked_for() -> None:
    planned = plan(partitions=8)

    assert {name: topic.partitions for name, topic in planned.items()} == {
        "in": 8,
        "models": 1,
        "out": 8,
        "dead": 8,
        "status": 1,
    }


def test_every_topic_has_the_replication_factor() -> None:
    assert {topic.replication_factor for topic in plan(replication_factor=3).values()} == {3}


def test_unless_asked_a_topic_has_one_partition_and_one_replica() -> None:
    assert {(topic.partitions, topic.replication_factor) for topic in plan().values()} == {(1, 1)}


def test_the_control_topic_neither_expires_nor_is_compacted() -> None:
    assert plan()["models"].settings == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
    }


def test_of_the_statuses_the_last_word_stays() -> None:
    assert plan()["status"].settings == {"cleanup.policy": "compact"}


@pytest.mark.parametrize("name", ["in", "out", "dead"])
def test_other_topics_have_the_brokers_settings(name: str) -> None:
    assert plan()[name].settings == {}


def test_a_setting_is_for_its_topic_alone() -> None:
    planned = plan(settings={"events": {"max.message.bytes": "20000000"}})

    assert planned["in"].settings == {"max.message.bytes": "20000000"}
    assert {name: planned[name].settings for name in ("models", "out", "dead", "status")} == {
        name: plan()[name].settings for name in ("models", "out", "dead", "status")
    }


def test_a_setting_goes_over_the_usual_one_and_leaves_the_others() -> None:
    planned = plan(settings={"control": {"retention.ms": "1000", "min.insync.replicas": "2"}})

    assert planned["models"].settings == {
        "cleanup.policy": "delete",
        "retention.ms": "1000",
        "retention.bytes": "-1",
        "min.insync.replicas": "2",
    }


def test_a_setting_of_one_job_is_not_there_for_the_next() -> None:
    plan(settings={"control": {"retention.ms": "1000"}})

    assert plan()["models"].settings["retention.ms"] == "-1"
