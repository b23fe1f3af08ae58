"""Updates sent to a job, and what its subtasks make of them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from cli.control import Control, now
from cli.waiting import Awaited, Outcome, Show, Words, listen
from udfs.errors import TopicError
from udfs.models.catalog import Catalog, Model
from udfs.models.updates import ActivateModel, ModelUpdate, PublishModel, RetireModel
from udfs.records import ModelId, Phase


class Change(NamedTuple):
    """An update that was sent."""

    update: ModelUpdate
    changed: bool
    """Whether it changes anything; where not, subtasks where the version failed try again."""
    active: bool
    """Whether the catalog then has its version as the active one."""
    words: Words | None = None
    """What the subtasks said; None where nobody waited for it."""
    outcome: Outcome | None = None
    serving: Mapping[int, ModelId | None] = {}
    """Where a subtask failed: what scores the model's events in each now, None where nothing does."""


def make_change(
    control: Control, update: ModelUpdate, *, seconds: float | None = None, show: Show | None = None
) -> Change:
    """Send an update that the job will take, and wait for every subtask's word.

    Args:
        control: the job's models.
        update: the update.
        seconds: how long to wait; None: not at all.
        show: called with the words as they come.

    Raises:
        UpdateError: the job would refuse it; it was not sent.
    """
    control.check_may_send(update.model.name)
    before = control.catalog()
    after = control.preview(update, before)
    changed = after.models != before.models
    active = after.models[update.model.name].active == update.model.version
    awaited = [*_awaited(update, before, after, changed)]
    if seconds is None or not awaited:
        control.send(update)
        return Change(update, changed, active)
    words = Words(control.config.name, awaited)
    # A word that is said before anybody listens would be missed.
    with control.listening() as stream:
        control.send(update)
        outcome = listen(words, stream, seconds, show=show)
    serving: Mapping[int, ModelId | None] = {}
    if outcome == "failed":
        with suppress(TopicError):  # what is known by now must be told in any case
            serving = control.statuses().serving(words.job, after.models[update.model.name])
    return Change(update, changed, active, words, outcome, serving)


def roll_out(
    control: Control,
    staged: PublishModel,
    margin: float,
    *,
    seconds: float,
    wait: bool = True,
    show: Show | None = None,
) -> list[Change]:
    """Publish a version and, when every subtask is ready for it, activate it in all at one event time.

    Where a subtask fails, or is not ready in time, nothing is activated.

    Args:
        control: the job's models.
        staged: the version; its ``activate`` is false.
        margin: seconds of event time between the last event that was scored and the switch.
        seconds: how long to wait for the subtasks, once for each of both updates.
        wait: whether to wait for their word on the activation, too.
        show: called with the words as they come.

    Returns:
        The publication, and the activation where there was one.
    """
    published = make_change(control, staged, seconds=seconds, show=show)
    if published.outcome != "everywhere" or published.active:
        return [published]
    highest = control.statuses().highest_event_time(control.config.name, staged.model.name)
    switch = None if highest is None else highest + round(margin * 1000)
    activation = ActivateModel(staged.model, occurred_on=now(), effective_from=switch)
    return [published, make_change(control, activation, seconds=seconds if wait else None, show=show)]


def _awaited(update: ModelUpdate, before: Catalog, after: Catalog, changed: bool) -> Iterator[Awaited]:
    if isinstance(update, RetireModel):
        switch = update.effective_from if changed else None
        gone = before.models[update.model.name]
        numbers = [update.model.version] if update.model.version is not None else _every_version(gone)
        for number in sorted(numbers):
            published = gone.versions.get(number)
            identity = published.identity() if published else gone.retired[number]
            retired = frozenset[Phase](["retired"])
            yield Awaited(ModelId(gone.name, number), identity, retired, switch)
        return
    model = after.models[update.model.name]
    active = model.active == update.model.version
    identity = model.versions[update.model.version].identity()
    phases = frozenset[Phase](["active"] if active else ["ready", "active"])
    # That of the timeline: an activation may only let what held before hold on.
    switch = model.timeline[-1].effective_from if active and changed else None
    yield Awaited(update.model, identity, phases, switch)


def _every_version(model: Model) -> Iterable[int]:
    """The versions that retiring all of a model is about: those that are left, else those that were."""
    return model.versions or model.retired
