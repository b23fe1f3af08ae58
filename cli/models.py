"""`modelstream models`: publish, activate and retire models, and see what became of them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from cli.artifacts import make_artifact
from cli.options import AsJson, ConfigFile, FormatName, FormatOptions, Settings, read_format_options
from cli.output import make_table, say, write_json, write_table
from cli.statuses import Statuses, is_about
from connectors.client import Client, Record
from jobs.config import JobConfig, load_config
from udfs.errors import ArtifactError, ConfigError, UpdateError
from udfs.json_values import JsonValue, read_struct
from udfs.models.catalog import Catalog, apply
from udfs.models.known import fold_one
from udfs.models.places import AllowedPlaces
from udfs.models.updates import (
    ActivateModel,
    Check,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    encode_update,
)
from udfs.records import ModelId, ModelStatus
from udfs.scorers import FORMATS

app = typer.Typer(add_completion=False, no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="NAME:VERSION", show_default=False)]


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
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Publish a version of a model, and make it the active one.

    ARTIFACT is the model's file. Up to 512 KiB it goes into the update itself.
    """
    loaded = load_config(config, settings or ())
    if format_name not in FORMATS:
        raise ConfigError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    update = PublishModel(
        _model_id(model),
        format_name,
        make_artifact(artifact, upload=upload, uri=uri, s3=loaded.artifacts.s3),
        activate=activate,
        options=dict(read_format_options(option)),
        checks=_read_checks(check) if check is not None else (),
        occurred_on=_now(),
    )
    if _send(loaded, update, as_json):
        where = update.artifact.uri or "inline"
        say(f"published {model}{' and activated it' if activate else ''}: {format_name}, {where}")
        _warn_of_place(loaded, update.artifact.uri)


@app.command()
def activate(
    model: Version, config: ConfigFile = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Make a published version the one that scores events which name the model alone."""
    loaded = load_config(config, settings or ())
    if _send(loaded, ActivateModel(_model_id(model), occurred_on=_now()), as_json):
        say(f"activated {model}")


@app.command()
def retire(
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION|NAME", show_default=False)],
    every: Annotated[bool, typer.Option("--all", help="Every version of the model NAME.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Take a version that is not active out of the catalog, or with --all the whole model."""
    loaded = load_config(config, settings or ())
    if every:
        if ":" in model:
            raise UpdateError(f"--all retires every version: say {model.partition(':')[0]} alone")
        retired = RetiredModel(model)
    else:
        model_id = _model_id(model)
        retired = RetiredModel(model_id.name, model_id.version)
    if _send(loaded, RetireModel(retired, all=every, occurred_on=_now()), as_json):
        say(f"retired {model}")


@app.command("list")
def list_models(config: ConfigFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List the versions that are published, as the control topic says."""
    loaded = load_config(config, settings or ())
    with Client(loaded.kafka.client_settings()) as client:
        catalog = read_catalog(client, loaded)
    versions = list(published(catalog))
    if as_json:
        write_json(describe(version, active) for version, active in versions)
    else:
        write_table([_row(version, active) for version, active in versions], "no models are published")


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(metavar="[NAME[:VERSION]]", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on as they come, until Ctrl-C.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Say what each subtask of the job last said of each version."""
    loaded = load_config(config, settings or ())
    topic = loaded.topics.model_status
    statuses = Statuses()
    with Client(loaded.kafka.client_settings()) as client:
        if watch and as_json:
            for records in client.follow(topic, from_beginning=True):
                write_json(one for one in statuses.add(records) if is_about(one, model))
        elif watch:
            with Live(refresh_per_second=4) as live:
                for records in client.follow(topic, from_beginning=True):
                    statuses.add(records)
                    live.update(make_table(_rows(statuses.now(model))))
        statuses.add(client.read_to_end(topic))
    if as_json:
        write_json(statuses.now(model))
    else:
        write_table(_rows(statuses.now(model)), "no job has said anything of it" if model else "no statuses")


def read_catalog(client: Client, config: JobConfig) -> Catalog:
    """Fold the control topic as it is now."""
    catalog = Catalog()
    for record in client.read_to_end(config.topics.control):
        catalog, _ = fold_one(catalog, record.value or b"", record.offset or 0, config.catalog.max_bytes)
    return catalog


def published(catalog: Catalog) -> Iterator[tuple[PublishModel, bool]]:
    """The published versions by name and number, each with whether it is the active one."""
    for _, model in sorted(catalog.models.items()):
        for number, version in sorted(model.versions.items()):
            yield version, number == model.active


def describe(version: PublishModel, active: bool) -> dict[str, JsonValue]:
    """A published version, for programs: with the size of an inline artifact, not its bytes."""
    artifact = version.artifact
    place = {"uri": artifact.uri} if artifact.inline is None else {"inline_bytes": len(artifact.inline)}
    return {
        "model": version.model.name,
        "version": version.model.version,
        "active": active,
        "format": version.format,
        "options": version.options,
        "artifact": {"sha256": artifact.sha256, **place},
        "checks": len(version.checks),
        "sha256": version.identity(),
        "occurred_on": version.occurred_on,
    }


def _row(version: PublishModel, active: bool) -> dict[str, JsonValue]:
    artifact = version.artifact
    return {
        "model": str(version.model),
        "active": "active" if active else "",
        "format": version.format,
        "sha256": version.identity()[:12],
        "artifact": artifact.uri or f"inline, {len(artifact.inline or b'')} bytes",
        "options": " ".join(f"{key}={value}" for key, value in version.options.items()),
    }


def _send(config: JobConfig, update: ModelUpdate, as_json: bool) -> bool:
    """Send an update that the catalog will take; returns whether it changes anything."""
    with Client(config.kafka.client_settings()) as client:
        before = read_catalog(client, config)
        after = apply(
            before,
            update,
            before.offset + 1,
            max_bytes=config.catalog.max_bytes,
            serving=_serving(client, config) if isinstance(update, RetireModel) else (),
        )
        changes = after.models != before.models
        if isinstance(update, RetireModel) and update.model.name not in before.models:
            raise UpdateError(f"{update.reference} can't be retired: it is not published")
        # Also where nothing changes: saying it again is how a version that failed to load is tried again.
        client.send(config.topics.control, [Record(encode_update(update), update.model.name.encode())])
    if as_json:
        write_json(
            [{"model": update.reference, "type": type(update).__struct_config__.tag, "changed": changes}]
        )
    elif not changes:
        say(f"{update.reference} is so already; where it failed to load, the job tries again")
        if isinstance(update, PublishModel) and update.activate != (
            before.models[update.model.name].active == update.model.version
        ):
            say(f"it is {'not ' if update.activate else ''}active: see `modelstream models activate`")
    return changes and not as_json


def _serving(client: Client, config: JobConfig) -> set[ModelId]:
    statuses = Statuses()
    statuses.add(client.read_to_end(config.topics.model_status))
    return statuses.serving(config.name)


def _warn_of_place(config: JobConfig, uri: str | None) -> None:
    """Say that a job of this configuration would not fetch an artifact; the running one may be another."""
    if uri is None:
        return
    try:
        AllowedPlaces(config.artifacts.allow, config.artifacts.allow_private_addresses).check(uri)
    except ArtifactError as error:
        say(f"a job with this configuration will not load it: {error}")


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


def _rows(statuses: Iterable[ModelStatus]) -> list[dict[str, JsonValue]]:
    return [
        {
            "model": str(one.model),
            "status": one.status,
            "subtask": f"{one.subtask + 1} of {one.parallelism}",
            "load_ms": None if one.load_ms is None else round(one.load_ms),
            "at": one.at,
            "job": one.job,
            "cause": "; ".join([*([one.cause] if one.cause else []), *one.notes]),
        }
        for one in statuses
    ]


def _model_id(text: str) -> ModelId:
    try:
        return ModelId.parse(text)
    except ValueError as error:
        raise UpdateError(str(error)) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
