"""Where a replay would give other predictions, and no update without a time explains it, `late` says so."""

import pytest

from tests.subtasks import Bench, E
from udfs.missing import MissingPolicies
from udfs.models.updates import RetiredModel, RetireModel
from udfs.records import ModelId


def test_events_from_before_the_first_activation_are_counted_when_an_earlier_one_comes() -> None:
    bench = Bench()
    bench.loaded(1, since=100)
    assert bench.events(E(1, 50)) == [1]

    bench.publish(2, since=40)

    assert bench.late() == [("m:2", 40, 1)]


def test_events_that_a_policy_made_dead_letters_are_counted_when_their_model_comes() -> None:
    bench = Bench(missing=MissingPolicies("dead-letter"))
    assert bench.events(E(1, 50)) == [1]

    bench.publish(1, since=40)

    assert bench.late() == [("m:1", 40, 1)]


def test_events_that_waited_in_vain_are_counted_when_their_model_comes() -> None:
    bench = Bench()
    bench.events(E(1, 50))
    bench.clock.seconds = 30
    assert bench.events() == [1]

    bench.publish(1, since=40)

    assert bench.late() == [("m:1", 40, 1)]


def test_events_that_wait_are_not_late() -> None:
    bench = Bench()
    bench.events(E(1, 50))

    bench.loaded(1, since=40)

    assert bench.late() == []


def with_stand_in() -> Bench:
    """An event that version 1 scored, since version 2 failed."""
    bench = Bench()
    bench.loaded(1, since=0)
    bench.loaded(2, since=100, fails=True)
    assert bench.events(E(1, 150)) == [(1, 1)]
    assert bench.late() == []
    return bench


def test_events_that_another_version_scored_are_counted_when_the_one_that_failed_is_loaded() -> None:
    bench = with_stand_in()

    bench.loaded(2, since=100)

    assert bench.late() == [("m:2", 100, 1)]
    assert bench.events(E(2, 150)) == [(2, 2)]


def test_a_version_that_has_failed_when_it_is_published_again_is_loaded_again() -> None:
    bench = Bench()
    bench.publish(1, since=0, fails=True)
    bench.loader.finish()

    bench.loaded(1, since=0)

    assert bench.events(E(1, 5)) == [(1, 1)]


def test_a_version_that_fails_again_was_not_late() -> None:
    bench = with_stand_in()

    bench.loaded(2, since=100, fails=True)

    assert bench.late() == []


def test_while_a_version_has_failed_other_updates_do_not_count_what_another_scored() -> None:
    bench = with_stand_in()

    bench.publish(3, since=1000)

    assert bench.late() == []


def test_events_that_name_a_version_are_counted_when_it_is_retired_from_before_them() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.loaded(2)
    bench.events(E(1, 50, model="m:1"), E(2, 30, model="m:1"), E(3, 50))

    bench.retire(1, since=40)

    assert bench.late() == [("m:1", 40, 1)]


def test_events_that_a_fallback_scored_are_counted_when_their_model_comes() -> None:
    bench = Bench(missing=MissingPolicies("hold", {"m": ModelId("f", 1)}))
    bench.loaded(1, name="f")
    assert bench.events(E(1, 50)) == [(1, 1)]

    bench.publish(1, since=40)

    assert bench.late() == [("m:1", 40, 1)]


def test_events_that_name_another_version_are_not_counted() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.events(E(1, 50, model="m:1"))

    bench.publish(2, since=40)

    assert bench.late() == []


def test_events_are_counted_that_the_version_before_takes_back() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.loaded(2, since=40)
    bench.events(E(1, 50))

    bench.activate(1, since=40)

    assert bench.late() == [("m:1", 40, 1)]


def test_an_event_is_counted_once() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.events(E(1, 50))
    bench.loaded(2, since=40)
    bench.events(E(2, 60))
    assert bench.late() == [("m:2", 40, 1)]

    bench.publish(3, since=55)

    assert bench.late() == [("m:3", 55, 1)]


@pytest.mark.parametrize("blocking", [True, False])
def test_an_activation_without_a_time_is_never_late(blocking: bool) -> None:
    bench = Bench(blocking=blocking)
    bench.loaded(1)
    bench.events(E(1, 50))
    bench.loaded(2)
    bench.events(E(2, 60))
    bench.activate(1)

    assert bench.late() == []


def test_what_an_activation_without_a_time_changed_is_not_counted_by_one_with_a_time() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.events(E(1, 50))
    bench.loaded(2)

    bench.publish(3, since=100)

    assert bench.late() == []


def test_what_was_answered_before_a_whole_model_was_retired_is_not_counted() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.events(E(1, 50))
    bench.update(RetireModel(RetiredModel("m"), all=True))

    bench.publish(2, since=40)

    assert bench.late() == []


def test_a_version_that_fails_at_once_is_not_late() -> None:
    bench = Bench(blocking=True)
    bench.loaded(1)
    bench.events(E(1, 50))

    bench.publish(2, since=40, fails=True)

    assert bench.late() == []


def test_where_more_was_answered_than_is_remembered_the_number_is_the_least() -> None:
    bench = Bench()
    bench.loaded(1)
    for start in range(0, 101_000, 1000):
        bench.events(*(E(number, number) for number in range(start, start + 1000)))
    bench.statuses = []

    bench.publish(2, since=10)

    (late,) = [one for one in bench.statuses if one.status == "late"]
    assert late.late_events == 100_000
    assert "at least 100000 events" in (late.cause or "")


def restarted(bench: Bench, *held_elsewhere: Bench) -> Bench:
    """The next attempt, at its first batch, which has also the states of other subtasks."""
    again = Bench(before=bench)
    for other in held_elsewhere:
        again.subtask.adopt(*other.state)
    again.events()
    return again


def test_what_a_restart_brings_is_told_once_however_many_states_are_adopted() -> None:
    bench, other = Bench(), Bench()
    for one in (bench, other):
        one.loaded(1)
        one.events(E(1, 150))
    state, catalog = bench.state, bench.subtask.catalog
    bench.publish(2, since=100)
    before = Bench(before=bench)
    before.state = state
    before.serving.catalog = catalog

    again = restarted(before, other)

    (late,) = [one for one in again.statuses if one.status == "late"]
    assert (late.model, late.effective_from, late.late_events) == (ModelId("m", 2), 100, None)
    assert "is not known" in (late.cause or "")


def test_what_the_state_knew_of_is_not_told_after_a_restart() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.loaded(2, since=100)
    bench.events(E(1, 150))

    assert restarted(bench).late() == []


def test_an_update_that_comes_before_the_states_are_adopted_is_late_for_what_they_had_scored() -> None:
    bench = Bench()
    bench.loaded(1)
    bench.events(E(1, 150))
    again = Bench(before=bench)

    again.publish(2, since=100)
    again.events()

    assert again.late() == [("m:2", 100, None)]


def test_the_highest_event_time_is_said_again_when_earlier_attempts_are_known() -> None:
    bench = Bench(blocking=True)
    bench.loaded(1)
    bench.events(E(1, 150))
    again = Bench(before=bench, blocking=True)

    again.events()

    said = [(one.status, one.highest_event_time) for one in again.statuses]
    assert said == [("loading", None), ("ready", None), ("active", None), ("active", 150)]
