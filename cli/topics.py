"""`modelstream topics`: make the topics of a job."""

from typing import Annotated

import typer

from cli.options import AsJson, ConfigFile, Settings
from cli.output import write_json, write_table
from connectors.client import Client, Topic
from jobs.config import load_config
from jobs.topics import plan_topics

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The topics of a job.")


@app.callback()
def topics() -> None:
    """The topics of a job."""


@app.command()
def create(
    partitions: Annotated[int, typer.Option(min=1, help="Of events, predictions and dead letters.")] = 1,
    replication_factor: Annotated[int, typer.Option(min=1, help="Of all of them.")] = 1,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are not there yet, with the settings that the job asks for.

    A topic that is there stays as it is; where it differs, that is said.
    """
    loaded = load_config(config, settings or ())
    planned = plan_topics(loaded.topics, partitions=partitions, replication_factor=replication_factor)
    with Client(loaded.kafka.client_settings()) as client:
        made = client.create_topics(planned)
        there = client.describe_topics([topic.name for topic in planned])
    differing = {topic.name: differences(topic, there[topic.name]) for topic in planned}
    if as_json:
        write_json(
            {"topic": name, "created": name in made, "differs": texts} for name, texts in differing.items()
        )
    else:
        rows = [
            {"topic": name, "": "created" if name in made else "was there", "differs": "; ".join(texts)}
            for name, texts in differing.items()
        ]
        write_table(rows, "no topics")


def differences(planned: Topic, actual: Topic) -> list[str]:
    """Where a topic is not as it was planned, a text for each."""
    found = []
    if actual.partitions != planned.partitions:
        found.append(f"partitions {actual.partitions}, not {planned.partitions}")
    for setting, value in planned.settings.items():
        if actual.settings.get(setting) != value:
            found.append(f"{setting}={actual.settings.get(setting)}, not {value}")
    return found
