"""What the commands say of changes: lines for people, JSON for programs, a table while they wait."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.live import Live

from cli.changes import Change
from cli.output import make_table, say, write_json
from cli.times import write_time
from cli.waiting import Show, Words
from jobs.config import JobConfig
from udfs.json_values import JsonValue
from udfs.models.places import shown
from udfs.models.updates import ActivateModel, PublishModel, RetireModel
from udfs.records import ModelId, ModelStatus

EXIT_STATUS = {None: 0, "everywhere": 0, "failed": 1, "timeout": 3}
"""Of a command, by what became of its last update."""


@contextmanager
def progress() -> Iterator[Show | None]:
    """Show on a terminal what each subtask has said; nothing where standard error is none."""
    if not sys.stderr.isatty():
        yield None
        return
    with Live(console=Console(stderr=True), transient=True) as live:
        yield lambda words: live.update(make_table([*_progress_rows(words)]))


def report(changes: Sequence[Change], config: JobConfig, *, as_json: bool) -> int:
    """Say what was changed and what became of it.

    Returns:
        The exit status of the command.
    """
    if as_json:
        write_json(describe_change(one) for one in changes)
    else:
        for one in changes:
            for line in _lines(one, config):
                say(line)
    return EXIT_STATUS[changes[-1].outcome]


def describe_change(change: Change) -> dict[str, JsonValue]:
    """A change, for programs; with the words of the subtasks where they were waited for."""
    update = change.update
    row: dict[str, JsonValue] = {
        "model": update.reference,
        "type": str(type(update).__struct_config__.tag),
        "changed": change.changed,
        "effective_from": update.effective_from,
    }
    if change.words is not None:
        row["outcome"] = change.outcome
        row["subtasks"] = [describe_status(one) for one in change.words.heard]
        row["late"] = [describe_status(one) for one in change.words.late]
        row["silent"] = [f"{model}/{subtask}" for model, subtask in change.words.missing]
        row["serving"] = [
            {"model": None if model is None else str(model), "subtasks": list(subtasks)}
            for model, subtasks in _by_version(change.serving).items()
        ]
    return row


def describe_status(status: ModelStatus) -> dict[str, JsonValue]:
    """A status, for programs: all of its fields, also those that were not said."""
    row: dict[str, JsonValue] = msgspec.to_builtins(msgspec.structs.asdict(status))
    return row


def lateness(status: ModelStatus) -> str:
    """What a status says of events that an update came after."""
    when = write_time(status.effective_from)
    return status.cause or f"{status.late_events} events at or past {when} had been scored before it"


def _lines(change: Change, config: JobConfig) -> Iterator[str]:
    yield _what_was_done(change)
    update = change.update
    if isinstance(update, PublishModel) and update.activate != change.active:
        yield f"it is {'not ' if update.activate else ''}active: see `modelstream models activate`"
    words = change.words
    if words is None:
        return
    for one in words.failed:
        yield f"{one.model} failed in {_subtask(one)}: {one.cause or 'no cause was said'}"
    yield from _lines_of_serving(change)
    if change.outcome == "everywhere":
        yield f"{update.reference} is {_state(change)} in {_all_of(words)} of {words.job}"
    if change.outcome == "timeout":
        yield from _lines_of_silence(words, config)
    for one in words.late:
        yield f"{one.model} was late in {_subtask(one)}: {lateness(one)}"


def _what_was_done(change: Change) -> str:
    update = change.update
    if not change.changed:
        again = "" if isinstance(update, RetireModel) else "; where it failed to load, the job tries again"
        return f"{update.reference} is so already{again}"
    switch = update.effective_from
    when = "" if switch is None else f", from the event time {write_time(switch)} on"
    match update:
        case PublishModel():
            activated = " and activated it" if update.activate and change.active else ""
            return f"published {update.reference}{activated}: {update.format}, {_source(update)}{when}"
        case ActivateModel():
            return f"activated {update.reference}{when}"
        case RetireModel():
            return f"retired {update.reference}{when}"


def _source(update: PublishModel) -> str:
    """Where a version is scored, or what it is loaded from."""
    if update.artifact is None:
        return shown(update.endpoint or "no server")
    place = update.artifact.uri or "inline"
    return f"offloaded, artifact {place}" if update.is_offloaded else place


def _state(change: Change) -> str:
    if isinstance(change.update, RetireModel):
        return "retired"
    return "active" if change.active else "ready"


def _lines_of_silence(words: Words, config: JobConfig) -> Iterator[str]:
    if words.parallelism is None:
        yield (
            f"no subtask of {words.job} said anything in time: is a job of this name running, and reading "
            f"{config.topics.control}? One that starts later follows the update, which stays in the topic"
        )
    said = {(one.model, one.subtask): one.status for one in words.heard}
    for model, subtask in words.missing:
        last = said.get((model, subtask))
        yield (
            f"subtask {subtask + 1} of {words.parallelism} did not say it of {model} in time: "
            f"{f'it last said {last}' if last else 'it said nothing'}"
        )
    yield (
        "see `modelstream models status`, what the job refused with `modelstream dead-letters list "
        "--stage update`, and the job's log; --timeout waits longer"
    )


def _lines_of_serving(change: Change) -> Iterator[str]:
    """What serves the model though the change failed; lines for subtasks that differ."""
    groups = _by_version(change.serving)
    for model, subtasks in groups.items():
        where = "" if len(groups) == 1 else f" in {_numbered(subtasks, len(change.serving))}"
        if model is None:
            yield f"no version of {change.update.model.name} serves{where}"
        else:
            still = "" if str(model) == change.update.reference else "still "
            yield f"{model} {still}serves{where}"
    words = change.words
    if not groups or words is None:
        return
    unheard = sorted({subtask for _, subtask in words.missing} - {one.subtask for one in words.failed})
    if unheard:
        yield f"{_numbered(unheard, len(change.serving))} may still change: no last word from there yet"


def _by_version(serving: Mapping[int, ModelId | None]) -> dict[ModelId | None, list[int]]:
    """The subtasks in which each version serves, or none."""
    groups: dict[ModelId | None, list[int]] = {}
    for subtask, model in sorted(serving.items()):
        groups.setdefault(model, []).append(subtask)
    return groups


def _numbered(subtasks: Sequence[int], parallelism: int) -> str:
    numbers = ", ".join(str(one + 1) for one in subtasks)
    return f"subtask{'s' if len(subtasks) > 1 else ''} {numbers} of {parallelism}"


def _progress_rows(words: Words) -> Iterable[dict[str, JsonValue]]:
    said = {(one.model, one.subtask): one for one in words.heard}
    for awaited in words.awaited:
        for subtask in range(words.parallelism or 0):
            last = said.get((awaited.model, subtask))
            yield {
                "model": str(awaited.model),
                "subtask": f"{subtask + 1} of {words.parallelism}",
                "status": last.status if last else "-",
                "cause": last.cause if last else None,
            }


def _subtask(status: ModelStatus) -> str:
    return f"subtask {status.subtask + 1} of {status.parallelism}"


def _all_of(words: Words) -> str:
    return "the subtask" if words.parallelism == 1 else f"all {words.parallelism} subtasks"
