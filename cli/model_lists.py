"""`modelstream models list` and `models status`: what is published, and what subtasks say of it."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from rich.live import Live

from cli.control import Control
from cli.model_views import (
    describe_statuses,
    describe_version,
    published,
    status_rows,
    unmentioned,
    version_rows,
    versions_of,
)
from cli.options import AsJson, ConfigFile, Settings
from cli.output import make_table, say, write_json, write_table
from cli.statuses import Statuses, is_about
from jobs.config import load_config
from udfs.models.updates import PublishModel
from udfs.records import ModelId, ModelStatus


def list_models(config: ConfigFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List the versions that are published, as the control topic says."""
    loaded = load_config(config, settings or ())
    with Control(loaded) as control:
        versions = list(published(control.catalog()))
    if as_json:
        write_json(map(describe_version, versions))
    else:
        write_table(version_rows(versions), "no models are published")


def show_statuses(
    model: Annotated[str | None, typer.Argument(metavar="[NAME[:VERSION]]", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on as they come, until Ctrl-C.")] = False,
    job: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this job alone, whatever others say on the same topics."),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say what each subtask last said of each version; - where none has said anything.

    Those of all jobs that write to the same topic: with a column for the job where there are others.
    """
    loaded = load_config(config, settings or ())
    with Control(loaded) as control:
        if watch:
            _watch(control, model, job, as_json)
        said = control.statuses()
        catalog = control.catalog()
    _warn_of_silence(job, said)
    statuses = said.now(model, job)
    versions, silent = versions_of(catalog), unmentioned(catalog, statuses, model)
    if as_json:
        write_json(describe_statuses(statuses, versions, silent))
    else:
        nothing = "no such model is published, and no job has said anything of it" if model else "no models"
        write_table(status_rows(statuses, versions, silent, job=job or loaded.name), nothing)


def _warn_of_silence(job: str | None, said: Statuses) -> None:
    """Say where a job that was asked for has said nothing, and which have."""
    if job is not None and job not in said.jobs:
        known = f"; there are words of {', '.join(said.jobs)}" if said.jobs else ""
        say(f"no job of the name {job} has said anything{known}")


def _watch(control: Control, model: str | None, job: str | None, as_json: bool) -> None:
    statuses = Statuses()
    if job is not None:
        _warn_of_silence(job, control.statuses())
    heard = _heard(control, statuses, model, job)
    if as_json:
        for added, versions in heard:
            write_json(describe_statuses(added, versions))
    with Live(refresh_per_second=4) as live:
        for _, versions in heard:
            rows = status_rows(statuses.now(model, job), versions, job=job or control.config.name)
            live.update(make_table(rows))


def _heard(
    control: Control, statuses: Statuses, model: str | None, job: str | None
) -> Iterator[tuple[list[ModelStatus], Mapping[ModelId, PublishModel]]]:
    """Statuses as they come, and what is published."""
    versions = versions_of(control.catalog())
    for records in control.client.follow(control.config.topics.model_status, from_beginning=True):
        added = [one for one in statuses.add(records) if is_about(one, model, job)]
        if any(one.status != "retired" and one.model not in versions for one in added):
            versions = versions_of(control.catalog())  # some were published meanwhile
        yield added, versions
