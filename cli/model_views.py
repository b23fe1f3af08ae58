"""What `models list` and `models status` show: rows for people, JSON for programs."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cli.reports import describe_status, lateness
from cli.times import write_time
from udfs.json_values import JsonValue
from udfs.models.catalog import Catalog
from udfs.models.places import shown
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId, ModelStatus

Row = dict[str, JsonValue]


class Period(NamedTuple):
    """Event times, ms since 1970, between which a version is active; None: without a beginning, or an end."""

    since: int | None
    until: int | None

    def __str__(self) -> str:
        since, until = write_time(self.since), write_time(self.until)
        if since is None:
            return "active" if until is None else f"until {until}"
        return f"from {since}" if until is None else f"{since} to {until}"


class Published(NamedTuple):
    """A published version."""

    version: PublishModel
    periods: tuple[Period, ...]
    """When it is active."""
    is_leaving: bool
    """Whether it is retired, and stays for events of some time."""
    retired_from: int | None
    """The event time from which it is so, ms since 1970, where it has one."""

    @property
    def is_active(self) -> bool:
        """Whether the latest events are its."""
        return bool(self.periods) and self.periods[-1].until is None


def published(catalog: Catalog) -> Iterator[Published]:
    """The published versions by name and number."""
    for _, model in sorted(catalog.models.items()):
        timeline = model.timeline
        ends = [*(one.effective_from for one in timeline[1:]), None]
        for number, version in sorted(model.versions.items()):
            periods = (
                Period(one.effective_from, end)
                for one, end in zip(timeline, ends, strict=False)
                if one.version == number
            )
            yield Published(version, tuple(periods), number in model.leaving, model.leaving.get(number))


def versions_of(catalog: Catalog) -> dict[ModelId, PublishModel]:
    """The published versions by their ids."""
    return {one.version.model: one.version for one in published(catalog)}


def describe_version(one: Published) -> Row:
    """A published version, for programs: with the size of an inline artifact, not its bytes."""
    version = one.version
    return {
        "model": version.model.name,
        "version": version.model.version,
        "active": one.is_active,
        "periods": [{"from": period.since, "until": period.until} for period in one.periods],
        "retired": one.is_leaving,
        "retired_from": one.retired_from,
        "format": version.format,
        "execution": _execution(version),
        "options": version.options,
        "endpoint": version.endpoint,
        "artifact": _describe_artifact(version.artifact),
        "checks": len(version.checks),
        "sha256": version.identity(),
        "occurred_on": version.occurred_on,
    }


def _describe_artifact(artifact: Artifact | None) -> Row | None:
    if artifact is None:
        return None
    place: Row = {"uri": artifact.uri} if artifact.inline is None else {"inline_bytes": len(artifact.inline)}
    return {"sha256": artifact.sha256, **place}


def version_rows(versions: Iterable[Published]) -> list[Row]:
    """Published versions, for people. The columns that only some kinds of them have may be left out."""
    return _without_empty([_version_row(one) for one in versions], ("execution", "artifact", "endpoint"))


def _version_row(one: Published) -> Row:
    version, artifact = one.version, one.version.artifact
    since = "" if one.retired_from is None else f" from {write_time(one.retired_from)}"
    retired = [f"retired{since}"] if one.is_leaving else []
    return {
        "model": str(version.model),
        "active": ", ".join([*map(str, one.periods), *retired]),
        "format": version.format,
        "execution": _offloaded(version),
        "sha256": version.identity()[:12],
        "artifact": None if artifact is None else artifact.uri or f"inline, {len(version.inline)} bytes",
        "endpoint": _shown_endpoint(version),
        "options": _shown_options(version),
    }


def _shown_options(version: PublishModel) -> str:
    without = "url" if version.endpoint is not None else None  # it has a column of its own
    return " ".join(f"{key}={value}" for key, value in version.options.items() if key != without)


def _execution(version: PublishModel) -> str:
    return "offload" if version.is_offloaded else "inline"


def _offloaded(version: PublishModel) -> str | None:
    """What people are told of the execution: nothing where it is inline."""
    return "offload" if version.is_offloaded else None


def _shown_endpoint(version: PublishModel) -> str | None:
    return None if version.endpoint is None else shown(version.endpoint)


def unmentioned(catalog: Catalog, statuses: Iterable[ModelStatus], of: str | None) -> list[PublishModel]:
    """Published versions of a model, or all, of which no subtask has said anything."""
    mentioned = {status.model for status in statuses}
    return [
        version
        for version in (one.version for one in published(catalog))
        if version.model not in mentioned and of in (None, version.model.name, str(version.model))
    ]


def describe_statuses(
    statuses: Iterable[ModelStatus],
    versions: Mapping[ModelId, PublishModel],
    silent: Iterable[PublishModel] = (),
) -> list[Row]:
    """Statuses, for programs: all fields of each, and where its version is scored.

    Args:
        statuses: what was said.
        versions: what is published. Of a status whose version is not, it is null where that was scored.
        silent: published versions without a word: all that would have been said of them is null.
    """
    rows = []
    for status in statuses:
        version = versions.get(status.model)
        where: Row = dict.fromkeys(("execution", "endpoint")) if version is None else _whereabouts(version)
        rows.append({**describe_status(status), **where})
    for version in silent:
        of: Row = {"name": version.model.name, "version": version.model.version}
        nothing: Row = dict.fromkeys(ModelStatus.__struct_fields__)
        rows.append({**nothing, "model": of, "sha256": version.identity(), **_whereabouts(version)})
    return rows


def _whereabouts(version: PublishModel) -> Row:
    return {"execution": _execution(version), "endpoint": version.endpoint}


def status_rows(
    statuses: Iterable[ModelStatus],
    versions: Mapping[ModelId, PublishModel],
    silent: Iterable[PublishModel] = (),
    *,
    job: str,
) -> list[Row]:
    """Statuses, for people, without the columns that would be empty; see `describe_statuses`.

    Args:
        statuses: what was said.
        versions: what is published.
        silent: published versions without a word.
        job: whose statuses need not say it; where there are those of others, all say whose they are.
    """
    rows = [_status_row(status, versions.get(status.model)) for status in statuses]
    empty: Row = dict.fromkeys(_COLUMNS)
    rows += [
        {
            **empty,
            "model": str(version.model),
            "status": "-",
            "execution": _offloaded(version),
            "endpoint": _shown_endpoint(version),
        }
        for version in silent
    ]
    if all(row["job"] in (None, job) for row in rows):
        rows = [{**row, "job": None} for row in rows]
    return _without_empty(rows, _COLUMNS)


_COLUMNS = (
    *("job", "model", "status", "subtask", "execution", "endpoint", "since", "scored", "load_ms"),
    *("highest_event_time", "effective_from", "attempt", "cause"),
)


def _status_row(status: ModelStatus, version: PublishModel | None) -> Row:
    why = lateness(status) if status.status == "late" else status.cause
    values = (
        status.job,
        str(status.model),
        status.status,
        f"{status.subtask + 1} of {status.parallelism}",
        None if version is None else _offloaded(version),
        None if version is None else _shown_endpoint(version),
        (status.since or status.at)[:19].replace("T", " "),
        status.scored,
        None if status.load_ms is None else round(status.load_ms),
        write_time(status.highest_event_time),
        write_time(status.effective_from),
        status.attempt,
        "; ".join((*((why,) if why else ()), *status.notes)),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _without_empty(rows: Sequence[Row], columns: Collection[str]) -> list[Row]:
    """Rows without those of some columns in which they have nothing."""
    empty = {column for column in columns if all(row[column] in (None, "") for row in rows)}
    return [{column: value for column, value in row.items() if column not in empty} for row in rows]
