"""`modelstream models`: publish, activate and retire models, and see what became of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from cli.artifacts import make_artifact
from cli.changes import make_change, roll_out
from cli.control import Control, now, version_before, warning_of_place
from cli.model_views import (
    describe_statuses,
    describe_version,
    published,
    status_rows,
    unmentioned,
    version_row,
)
from cli.options import (
    AsJson,
    ConfigFile,
    EffectiveFrom,
    FormatName,
    FormatOptions,
    Settings,
    Timeout,
    Wait,
    read_format_options,
)
from cli.output import make_table, say, write_json, write_table
from cli.reports import progress, report
from cli.signing import KeyFile
from cli.statuses import Statuses, is_about
from cli.times import read_duration, read_time
from jobs.config import JobConfig, load_config
from udfs.errors import ConfigError, UpdateError
from udfs.json_values import read_struct
from udfs.models.updates import ActivateModel, Check, ModelUpdate, PublishModel, RetiredModel, RetireModel
from udfs.records import ModelId
from udfs.scorers import FORMATS

app = typer.Typer(add_completion=False, no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="NAME:VERSION", show_default=False)]


class ActivateWhen(StrEnum):
    """When a published version becomes active."""

    READY_EVERYWHERE = "ready-everywhere"


@app.callback()
def models() -> None:
    """Publish, activate and retire models, and see what became of them."""


@app.command()
def publish(
    model: Version,
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", exists=True, dir_okay=False)],
    format_name: FormatName,
    option: FormatOptions = None,
    activate: Annotated[bool, typer.Option(" /--no-activate", help="Publish it; activate it later.")] = True,
    activate_when: Annotated[
        ActivateWhen | None,
        typer.Option(help="Activate it when every subtask is ready, in all at one event time; else nowhere."),
    ] = None,
    margin: Annotated[
        str,
        typer.Option(metavar="TIME", help="Event time from the last scored event to that switch."),
    ] = "10s",
    effective_from: EffectiveFrom = None,
    upload: Annotated[
        str | None, typer.Option(metavar="URI", help="Copy the file there (file:, s3:), under its sha256.")
    ] = None,
    uri: Annotated[str | None, typer.Option(metavar="URI", help="Where the same file is already.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help='JSON lines {"data", "outputs", "tolerance"} that the model must agree with.',
        ),
    ] = None,
    wait: Annotated[
        bool | None, typer.Option(help="Wait for every subtask's word; with --activate-when by default.")
    ] = None,
    timeout: Timeout = "60s",
    key: KeyFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Publish a version of a model, and make it the active one.

    ARTIFACT is the model's file. Up to 512 KiB it goes into the update itself.
    """
    loaded = load_config(config, settings or ())
    if format_name not in FORMATS:
        raise ConfigError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    if effective_from is not None and (activate_when is not None or not activate):
        other = "--no-activate" if activate_when is None else f"--activate-when {activate_when}"
        raise ConfigError(f"--effective-from is the time of an activation: leave it out, or {other}")
    if activate_when is not None and not activate:
        raise ConfigError("--no-activate and --activate-when: only one of them says when it becomes active")
    seconds, margin_seconds = read_duration(timeout, "--timeout"), read_duration(margin, "--margin")
    update = PublishModel(
        _model_id(model),
        format_name,
        make_artifact(artifact, upload=upload, uri=uri, s3=loaded.artifacts.s3),
        activate=activate and activate_when is None,
        options=dict(read_format_options(option)),
        checks=_read_checks(check) if check is not None else (),
        occurred_on=now(),
        effective_from=read_time(effective_from, "--effective-from"),
    )
    if warning := warning_of_place(loaded, update):
        say(warning)
    if activate_when is None:
        return _change(loaded, update, seconds if wait else None, key, as_json)
    with Control(loaded, key) as control, progress() as show:
        changes = roll_out(
            control, update, margin_seconds, seconds=seconds, wait=wait is not False, show=show
        )
    status = report(changes, loaded, as_json=as_json)
    if len(changes) == 1 and not as_json:
        active = changes[0].active
        say(f"{model} is active already" if active else f"{model} was not activated: nothing has changed")
    return status


@app.command()
def activate(
    model: Version,
    effective_from: EffectiveFrom = None,
    wait: Wait = False,
    timeout: Timeout = "60s",
    key: KeyFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Make a published version the one that scores events which name the model alone."""
    loaded = load_config(config, settings or ())
    switch, seconds = read_time(effective_from, "--effective-from"), read_duration(timeout, "--timeout")
    update = ActivateModel(_model_id(model), occurred_on=now(), effective_from=switch)
    return _change(loaded, update, seconds if wait else None, key, as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    effective_from: EffectiveFrom = None,
    wait: Wait = False,
    timeout: Timeout = "60s",
    key: KeyFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Make the version active again that was so before the active one. Twice goes back and forth."""
    loaded = load_config(config, settings or ())
    switch, seconds = read_time(effective_from, "--effective-from"), read_duration(timeout, "--timeout")
    with Control(loaded, key) as control:
        control.check_may_send(name)
        model = version_before(control.catalog(), name)
    update = ActivateModel(model, occurred_on=now(), effective_from=switch)
    return _change(loaded, update, seconds if wait else None, key, as_json)


@app.command()
def retire(
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION|NAME", show_default=False)],
    every: Annotated[bool, typer.Option("--all", help="Every version of the model NAME.")] = False,
    effective_from: EffectiveFrom = None,
    wait: Wait = False,
    timeout: Timeout = "60s",
    key: KeyFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> int:
    """Take a version that is not active out of the catalog, or with --all the whole model."""
    loaded = load_config(config, settings or ())
    switch, seconds = read_time(effective_from, "--effective-from"), read_duration(timeout, "--timeout")
    if every:
        if ":" in model:
            raise UpdateError(f"--all retires every version: say {model.partition(':')[0]} alone")
        retired = RetiredModel(model)
    else:
        model_id = _model_id(model)
        retired = RetiredModel(model_id.name, model_id.version)
    update = RetireModel(retired, all=every, occurred_on=now(), effective_from=switch)
    return _change(loaded, update, seconds if wait else None, key, as_json)


@app.command("list")
def list_models(config: ConfigFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List the versions that are published, as the control topic says."""
    loaded = load_config(config, settings or ())
    with Control(loaded) as control:
        versions = list(published(control.catalog()))
    if as_json:
        write_json(map(describe_version, versions))
    else:
        write_table([*map(version_row, versions)], "no models are published")


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(metavar="[NAME[:VERSION]]", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on as they come, until Ctrl-C.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say what each subtask of the job last said of each version; - where none has said anything."""
    loaded = load_config(config, settings or ())
    with Control(loaded) as control:
        if watch:
            _watch(control, model, as_json)
        statuses = control.statuses().now(model)
        silent = unmentioned(control.catalog(), statuses, model)
    if as_json:
        write_json(describe_statuses(statuses, silent))
    else:
        nothing = "no such model is published, and no job has said anything of it" if model else "no models"
        write_table(status_rows(statuses, silent), nothing)


def _watch(control: Control, model: str | None, as_json: bool) -> None:
    topic = control.config.topics.model_status
    statuses = Statuses()
    if as_json:
        for records in control.client.follow(topic, from_beginning=True):
            write_json(describe_statuses(one for one in statuses.add(records) if is_about(one, model)))
    with Live(refresh_per_second=4) as live:
        for records in control.client.follow(topic, from_beginning=True):
            statuses.add(records)
            live.update(make_table(status_rows(statuses.now(model))))


def _change(
    config: JobConfig, update: ModelUpdate, seconds: float | None, key: Path | None, as_json: bool
) -> int:
    """Send an update, wait for the subtasks' words where there are ``seconds``; returns the exit status."""
    with Control(config, key) as control, progress() as show:
        change = make_change(control, update, seconds=seconds, show=show)
    return report([change], config, as_json=as_json)


def _read_checks(file: Path) -> tuple[Check, ...]:
    decoder = msgspec.json.Decoder(Check)
    checks = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                checks.append(read_struct(decoder, line))
            except ValueError as error:
                raise ConfigError(f"{file}, line {number}: not a check: {error}") from error
    return tuple(checks)


def _model_id(text: str) -> ModelId:
    try:
        return ModelId.parse(text)
    except ValueError as error:
        raise UpdateError(str(error)) from error
