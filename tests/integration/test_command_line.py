"""The commands as programs: topics that they make, and a Kafka that is not as it should be."""

from pathlib import Path

import pytest

from connectors.client import Client
from devtools.broker import Broker
from devtools.topics import create_topic, topics_named
from jobs.config import TopicsConfig
from tests.integration.command_line import CommandLine
from tests.ports import held_port

EVERY_COMMAND = [
    ["models", "publish", "iris:1", "ARTIFACT", "--format", "onnx"],
    ["models", "activate", "iris:1"],
    ["models", "retire", "iris:1"],
    ["models", "list"],
    ["models", "status"],
    ["models", "status", "--watch"],
    ["events", "send", "ARTIFACT"],
    ["events", "tail"],
    ["dead-letters", "list"],
    ["dead-letters", "replay"],
]


@pytest.fixture
def nowhere(broker: Broker) -> CommandLine:
    """The command, with topics that are not there."""
    return CommandLine(broker.bootstrap, topics_named("nowhere"), "nowhere")


def test_topics_are_created_with_the_settings_that_the_job_asks_for(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("created"), "created")

    rows = command.json("topics", "create", "--partitions", "3")

    assert [row["created"] for row in rows] == [True] * 5
    with Client({"bootstrap_servers": broker.bootstrap}) as client:
        made = client.describe_topics([row["topic"] for row in rows])
    assert made["created-events"].partitions == 3
    assert made["created-control"].partitions == 1
    assert made["created-control"].settings["cleanup.policy"] == "delete"
    assert made["created-control"].settings["retention.ms"] == "-1"
    assert made["created-model-status"].settings["cleanup.policy"] == "compact"


def test_topics_that_are_there_stay_and_what_is_wrong_with_them_is_said(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("wrong"), "wrong")
    create_topic(broker.bootstrap, "wrong-control", 2, {"cleanup.policy": "compact"})

    control = next(row for row in command.json("topics", "create") if row["topic"] == "wrong-control")

    assert control["created"] is False
    assert "partitions 2, not 1" in control["differs"]
    assert "cleanup.policy=compact, not delete" in control["differs"]
    assert len(command.json("topics", "create")) == 5


def test_more_copies_than_brokers_are_refused_in_one_line(broker: Broker) -> None:
    command = CommandLine(broker.bootstrap, topics_named("copies"), "copies")

    assert "eplication" in command.refused("topics", "create", "--replication-factor", "3")


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=lambda arguments: " ".join(arguments[:2]))
def test_a_missing_topic_is_named_in_one_line(
    nowhere: CommandLine, artifact: Path, arguments: list[str]
) -> None:
    line = nowhere.refused(*(str(artifact) if text == "ARTIFACT" else text for text in arguments))

    assert "nowhere-" in line
    assert "no such topic" in line


@pytest.mark.parametrize("arguments", [*EVERY_COMMAND, ["topics", "create"]], ids=" ".join)
def test_a_broker_that_does_not_answer_is_named_in_one_line(artifact: Path, arguments: list[str]) -> None:
    given = [str(artifact) if text == "ARTIFACT" else text for text in arguments]

    with held_port() as port:
        command = CommandLine(f"127.0.0.1:{port}", TopicsConfig(), "job")
        line = command.refused(*given, "--set", "kafka.command_line.bootstrap_timeout_ms=300")

    assert line == f"modelstream: Kafka at 127.0.0.1:{port} did not answer within 0.3 s"
