"""`modelstream models`: publish, activate and retire models, and see what became of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import UNSET

from cli.artifacts import make_source
from cli.changes import make_change, roll_out
from cli.control import Control, now, version_before, warning_of_place
from cli.model_lists import list_models, show_statuses
from cli.option_checks import check_options
from cli.options import (
    AnyFormatName,
    AsJson,
    ConfigFile,
    EffectiveFrom,
    FormatOptions,
    Settings,
    Timeout,
    Wait,
    read_format_options,
)
from cli.output import say
from cli.reports import progress, report
from cli.signing import KeyFile
from cli.times import read_duration, read_time
from jobs.config import JobConfig, load_config
from udfs.errors import ConfigError, UpdateError
from udfs.json_values import read_struct
from udfs.models.updates import (
    ActivateModel,
    Check,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    decode_update,
    encode_update,
)
from udfs.records import ModelId
from udfs.remotes import REMOTES

app = typer.Typer(add_completion=False, no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="NAME:VERSION", show_default=False)]


class Execution(StrEnum):
    """Where a version is scored."""

    INLINE = "inline"
    OFFLOAD = "offload"


class ActivateWhen(StrEnum):
    """When a published version becomes active."""

    READY_EVERYWHERE = "ready-everywhere"


@app.callback()
def models() -> None:
    """Publish, activate and retire models, and see what became of them."""


@app.command()
def publish(
    model: Version,
    format_name: AnyFormatName,
    artifact: Annotated[
        Path | None, typer.Argument(metavar="ARTIFACT", exists=True, dir_okay=False, show_default=False)
    ] = None,
    option: FormatOptions = None,
    execution: Annotated[
        Execution | None,
        typer.Option(
            help="offload: worker processes score it beside the event path; inline, the default, in it. "
            "What a server scores is always offloaded."
        ),
    ] = None,
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
    What a server scores has none: --option url=... says where the server is.
    """
    loaded = load_config(config, settings or ())
    if execution is Execution.INLINE and format_name in REMOTES:
        raise ConfigError(f"--execution inline: a server scores models of format {format_name}; leave it out")
    if effective_from is not None and (activate_when is not None or not activate):
        other = "--no-activate" if activate_when is None else f"--activate-when {activate_when}"
        raise ConfigError(f"--effective-from is the time of an activation: leave it out, or {other}")
    if activate_when is not None and not activate:
        raise ConfigError("--no-activate and --activate-when: only one of them says when it becomes active")
    seconds, margin_seconds = read_duration(timeout, "--timeout"), read_duration(margin, "--margin")
    update = PublishModel(
        _model_id(model),
        format_name,
        activate=activate and activate_when is None,
        options=dict(read_format_options(option)),
        checks=_read_checks(check) if check is not None else (),
        occurred_on=now(),
        effective_from=read_time(effective_from, "--effective-from"),
        execution="offload" if execution is Execution.OFFLOAD else UNSET,
    )
    unchecked = check_options(update)  # before its file is copied anywhere
    source = make_source(format_name, artifact, upload=upload, uri=uri, s3=loaded.artifacts.s3)
    update = msgspec.structs.replace(update, artifact=source)
    decode_update(encode_update(update))  # what the job would refuse at once
    for warning in filter(None, (unchecked, warning_of_place(loaded, update))):
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


app.command("list")(list_models)
app.command("status")(show_statuses)


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
