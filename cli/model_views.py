"""What `models list` and `models status` show: rows for people, JSON for programs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cli.reports import describe_status, lateness
from cli.times import write_time
from udfs.json_values import JsonValue
from udfs.models.catalog import Catalog
from udfs.models.updates import PublishModel
from udfs.records import ModelStatus

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


def describe_version(one: Published) -> Row:
    """A published version, for programs: with the size of an inline artifact, not its bytes."""
    version, artifact = one.version, one.version.artifact
    place: Row = {"uri": artifact.uri} if artifact.inline is None else {"inline_bytes": len(artifact.inline)}
    return {
        "model": version.model.name,
        "version": version.model.version,
        "active": one.is_active,
        "periods": [{"from": period.since, "until": period.until} for period in one.periods],
        "retired": one.is_leaving,
        "retired_from": one.retired_from,
        "format": version.format,
        "options": version.options,
        "artifact": {"sha256": artifact.sha256, **place},
        "checks": len(version.checks),
        "sha256": version.identity(),
        "occurred_on": version.occurred_on,
    }


def version_row(one: Published) -> Row:
    """A published version, for people."""
    version, artifact = one.version, one.version.artifact
    since = "" if one.retired_from is None else f" from {write_time(one.retired_from)}"
    retired = [f"retired{since}"] if one.is_leaving else []
    return {
        "model": str(version.model),
        "active": ", ".join([*map(str, one.periods), *retired]),
        "format": version.format,
        "sha256": version.identity()[:12],
        "artifact": artifact.uri or f"inline, {len(artifact.inline or b'')} bytes",
        "options": " ".join(f"{key}={value}" for key, value in version.options.items()),
    }


def unmentioned(catalog: Catalog, statuses: Iterable[ModelStatus], of: str | None) -> list[PublishModel]:
    """Published versions of a model, or all, of which no subtask has said anything."""
    mentioned = {status.model for status in statuses}
    return [
        version
        for version in (one.version for one in published(catalog))
        if version.model not in mentioned and of in (None, version.model.name, str(version.model))
    ]


def describe_statuses(statuses: Iterable[ModelStatus], silent: Iterable[PublishModel] = ()) -> list[Row]:
    """Statuses, for programs: all fields of each; those of a version without a word are null."""
    rows = [describe_status(status) for status in statuses]
    for version in silent:
        of: Row = {"name": version.model.name, "version": version.model.version}
        nothing: Row = dict.fromkeys(ModelStatus.__struct_fields__)
        rows.append({**nothing, "model": of, "sha256": version.identity()})
    return rows


def status_rows(statuses: Iterable[ModelStatus], silent: Iterable[PublishModel] = ()) -> list[Row]:
    """Statuses, for people, without the columns that would be empty."""
    rows = [_status_row(status) for status in statuses]
    empty: Row = dict.fromkeys(_COLUMNS)
    rows += [{**empty, "model": str(version.model), "status": "-"} for version in silent]
    return _without_empty_columns(rows)


_COLUMNS = (
    *("model", "status", "subtask", "since", "scored", "load_ms", "highest_event_time"),
    *("effective_from", "attempt", "job", "cause"),
)


def _status_row(status: ModelStatus) -> Row:
    why = lateness(status) if status.status == "late" else status.cause
    values = (
        str(status.model),
        status.status,
        f"{status.subtask + 1} of {status.parallelism}",
        (status.since or status.at)[:19].replace("T", " "),
        status.scored,
        None if status.load_ms is None else round(status.load_ms),
        write_time(status.highest_event_time),
        write_time(status.effective_from),
        status.attempt,
        status.job,
        "; ".join((*((why,) if why else ()), *status.notes)),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _without_empty_columns(rows: Sequence[Row]) -> list[Row]:
    filled = [column for column in _COLUMNS if any(row[column] not in (None, "") for row in rows)]
    return [{column: row[column] for column in filled} for row in rows]
