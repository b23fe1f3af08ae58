"""What waits lets others pass: only events of its own key that name the same wait behind it."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.subtasks import Bench, E
from udfs.errors import ResolveError
from udfs.models.references import ServedReferences
from udfs.records import ModelId


def with_straggler(**more: Any) -> Bench:
    """Events from 100 on have a version, those before wait for one that has failed."""
    bench = Bench(**more)
    bench.loaded(1, fails=True)
    bench.loaded(2, since=100)
    assert bench.events(E(1, time=50, key=b"a")) == []
    return bench


def test_an_event_whose_version_failed_keeps_nobody_of_another_key() -> None:
    bench = with_straggler()

    assert bench.events(E(2, 150, b"b"), E(3, 151, b"c")) == [(2, 2), (3, 2)]


def test_an_event_whose_version_failed_keeps_the_next_of_its_key_until_it_is_over() -> None:
    bench = with_straggler()

    assert bench.events(E(2, 150, b"a")) == []
    bench.clock.seconds = 30

    assert bench.events() == [1, (2, 2)]


def test_an_event_of_its_key_that_names_another_model_passes() -> None:
    bench = with_straggler()
    bench.publish(1, name="n")
    bench.loader.finish()

    assert bench.events(E(2, 150, b"a", "n")) == [(2, 1)]


def test_an_event_without_a_key_keeps_nobody_and_waits_behind_nobody() -> None:
    bench = with_straggler()

    assert bench.events(E(2, 50, None), E(3, 150, None)) == [(3, 2)]


def test_a_reload_for_an_old_event_keeps_nobody_of_another_key() -> None:
    bench = Bench()
    for version, since in ((1, None), (2, 100), (3, 200)):
        bench.loaded(version, since)
    for _ in range(6):
        bench.pool_clock.seconds += 20
        bench.events(E(0, 300))

    assert bench.events(E(1, 50, b"a"), E(2, 301, b"b"), E(3, 301, b"a")) == [(2, 3)]
    bench.loader.finish()
    assert bench.events() == [(1, 1), (3, 3)]


@pytest.mark.parametrize("one_batch", [True, False])
def test_events_of_a_key_keep_their_order_behind_one_that_is_held(one_batch: bool) -> None:
    bench = Bench()
    bench.loaded(1, fails=True)
    bench.loaded(2, since=100)
    old, new = E(1, 50), E(2, 150)

    ended = bench.events(old, new) if one_batch else bench.events(old) + bench.events(new)
    assert ended == []
    bench.publish(1)
    bench.loader.finish()

    assert bench.events() == [(1, 1), (2, 2)]


def test_where_there_is_no_room_to_hold_an_event_those_behind_it_are_scored() -> None:
    bench = with_straggler(max_events=1)

    assert bench.events(E(2, 50, b"b"), E(3, 150, b"b"), E(4, 50, b"b"), E(5, 151, b"b")) == [
        2,
        (3, 2),
        4,
        (5, 2),
    ]


def test_an_event_that_can_never_be_scored_does_not_wait_behind_others() -> None:
    bench = Bench()
    bench.publish(1, since=10)

    assert bench.events(E(1, 20), E(2, 5)) == [2]


class Waits:
    """Ends the loads after some waits."""

    def __init__(self, bench: Bench, after: int) -> None:
        self._bench = bench
        self._after = after
        self.count = 0

    def __call__(self, seconds: float) -> None:
        self.count += 1
        if self.count == self._after:
            self._bench.loader.finish()


def test_while_a_batch_waits_for_room_nothing_is_scored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(max_events=1)
    bench.loaded(1)
    bench.publish(1, name="n")
    waits = Waits(bench, after=20)
    monkeypatch.setattr(bench.loader, "wait", waits)

    before = [E(number) for number in range(1, 11)]
    ended = bench.events(*before, E(11, model="n"), E(12, model="n"), E(13))

    assert waits.count == 20
    assert ended == [*((number, 1) for number in range(1, 11)), (11, 1), (12, 1), (13, 1)]
    bench.clock.seconds = 1
    bench.events()
    assert {one.model: one.scored for one in bench.statuses if one.scored} == {
        ModelId("m", 1): 11,
        ModelId("n", 1): 2,
    }


def test_an_event_that_comes_does_not_have_all_asked_for_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = with_straggler(max_events=1000)
    asked: list[str] = []
    absence = ServedReferences.absence

    def asking(models: ServedReferences, reference: str, at: int) -> ResolveError | None:
        asked.append(reference)
        return absence(models, reference, at)

    monkeypatch.setattr(ServedReferences, "absence", asking)
    for number in range(2, 20):
        bench.events(E(number, 50, b"%d" % number))

    assert asked == []
    bench.publish(1)
    bench.events()
    assert asked == ["m"]  # once for all of a period


def test_order_by_key_and_model_is_kept_however_long_a_load_takes() -> None:
    bench = Bench(max_events=100)
    bench.publish(1)
    ended: Sequence[Any] = [bench.events(E(number, key=b"%d" % (number % 3))) for number in range(9)]
    assert ended == [[]] * 9
    bench.loader.finish()

    assert bench.events(E(9, key=b"0")) == [(number, 1) for number in range(10)]


def test_at_the_end_of_the_input_what_waits_behind_a_dead_letter_is_scored() -> None:
    bench = with_straggler()
    bench.events(E(2, 150, b"a"))

    assert bench.end() == [1, (2, 2)]
