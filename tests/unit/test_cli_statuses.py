"""What the status topic says of a job."""

from collections.abc import Sequence

import msgspec
import pytest

from cli.statuses import Statuses
from connectors.client import Record
from udfs.models.catalog import Model
from udfs.models.timeline import Activation
from udfs.records import ModelId, ModelStatus, Phase


def said(
    version: int,
    status: Phase,
    at: int,
    *,
    subtask: int = 0,
    job: str = "job",
    scored: int | None = None,
    switch: int | None = None,
) -> Record:
    one = ModelStatus(
        job,
        ModelId("iris", version),
        status,
        subtask,
        2,
        0,
        "0" * 64,
        f"2026-11-23T10:00:{at:02}Z",
        highest_event_time=scored,
        effective_from=switch,
    )
    return Record(msgspec.json.encode(one), one.key())


def standing_in_for(active: int, *records: Record) -> set[str]:
    statuses = Statuses()
    statuses.add(records)
    return {str(model) for model in statuses.standing_in("job", ModelId("iris", active))}


@pytest.mark.parametrize("words", [["failed"], ["loading"], []])
def test_where_the_active_version_is_not_the_one_before_stands_in_for_it(words: list[Phase]) -> None:
    active = [said(1, "active", 1), said(1, "active", 1, subtask=1), said(2, "active", 3)]

    assert standing_in_for(2, *active, *(said(2, word, 3, subtask=1) for word in words)) == {"iris:1"}


def test_the_version_that_became_active_last_stands_in() -> None:
    words = [said(2, "active", 1), said(1, "active", 2), said(3, "failed", 3)]

    assert standing_in_for(3, *words) == {"iris:1"}


@pytest.mark.parametrize("switch", [None, 9])
def test_where_all_have_the_active_version_none_stands_in(switch: int | None) -> None:
    assert standing_in_for(2, said(1, "active", 1), said(2, "active", 2, switch=switch)) == set()


def test_other_jobs_and_retired_versions_stand_in_for_none() -> None:
    words = [said(1, "active", 1), said(1, "retired", 2), said(3, "active", 3, job="other")]

    assert standing_in_for(2, *words) == set()


def serving(log: Sequence[tuple[int, int | None]], *records: Record) -> list[str]:
    """What serves in each subtask, after activations of versions from event times on."""
    statuses = Statuses()
    statuses.add(records)
    model = Model("iris", activations=tuple(Activation(*one) for one in log))
    return [str(one) for _, one in sorted(statuses.serving("job", model).items())]


ONE_THEN_TWO = [(1, None), (2, None)]
AT_NINE = [(1, None), (2, 9)]


def test_what_was_activated_last_of_what_a_subtask_has_serves() -> None:
    words = [said(1, "active", 1), said(2, "failed", 2), said(2, "failed", 2, subtask=1)]

    assert serving(ONE_THEN_TWO, *words) == ["iris:1", "None"]


def test_before_a_switch_the_earlier_version_serves() -> None:
    words = [said(1, "active", 1, scored=8), said(2, "active", 2, switch=9)]

    assert serving(AT_NINE, *words) == ["iris:1", "None"]


def test_after_a_switch_the_later_version_serves() -> None:
    words = [said(1, "active", 1, scored=8), said(2, "active", 2, switch=9, scored=9)]

    assert serving(AT_NINE, *words)[0] == "iris:2"


def test_a_switch_that_was_taken_back_counts_for_nothing() -> None:
    words = [said(2, "active", 1, switch=9, scored=30), said(1, "active", 2, switch=20)]

    assert serving([*AT_NINE, (1, 20), (2, 15)], *words)[0] == "iris:2"


def test_a_version_that_was_never_activated_serves_nothing() -> None:
    assert serving(AT_NINE, said(7, "active", 1)) == ["None", "None"]


def test_other_jobs_serve_nothing_here() -> None:
    assert serving(AT_NINE, said(1, "active", 1, job="other")) == []


def highest(*records: Record) -> int | None:
    statuses = Statuses()
    statuses.add(records)
    return statuses.highest_event_time("job", "iris")


def test_the_highest_event_time_is_that_of_all_subtasks_and_versions() -> None:
    assert highest(said(1, "ready", 1, scored=5), said(2, "active", 1, subtask=1, scored=9)) == 9


def test_a_subtask_that_reads_its_events_anew_has_not_scored_what_it_scored_before() -> None:
    assert highest(said(1, "active", 1, scored=9), said(2, "active", 2, scored=5)) == 5


def test_where_nobody_scored_there_is_no_highest_event_time() -> None:
    assert highest(said(1, "active", 1), said(1, "active", 1, job="other", scored=9)) is None
