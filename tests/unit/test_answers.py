"""Of the last events it is known what answered them, and news of each is told once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from udfs.answers import Answer, Answers
from udfs.records import ModelId

ONE, TWO = ModelId("m", 1), ModelId("m", 2)


def times(*at: int) -> NDArray[np.int64]:
    return np.array(at, np.int64)


def answered(*at: int, model: ModelId | None = ONE) -> Answers:
    made = Answers()
    made.add("m", model, times(*at))
    return made


def from_ten(model: ModelId | None) -> tuple[list[int], list[Answer]]:
    """What answers when a version took over at 10."""
    return [10], [Answer(ONE, counts=True), Answer(model, counts=True)]


def test_events_that_are_answered_otherwise_now_are_counted() -> None:
    assert answered(9, 10, 11).settle("m", *from_ten(TWO)) == 2


def test_events_that_would_get_the_same_answer_are_not_counted() -> None:
    assert answered(9, 10, 11).settle("m", *from_ten(ONE)) == 0


def test_an_event_that_was_counted_is_not_counted_again() -> None:
    events = answered(10)
    events.settle("m", *from_ten(TWO))
    events.add("m", ONE, times(12))

    assert events.settle("m", *from_ten(TWO)) == 1


def test_an_event_whose_answer_has_changed_again_is_counted_again() -> None:
    events = answered(10)
    events.settle("m", *from_ten(TWO))

    assert events.settle("m", *from_ten(None)) == 1


def test_an_event_whose_answer_is_what_it_was_at_first_is_not_counted() -> None:
    events = answered(10)
    events.settle("m", *from_ten(TWO))

    assert events.settle("m", *from_ten(ONE)) == 0


def test_an_event_that_nothing_answered_is_counted_when_something_does() -> None:
    assert answered(10, model=None).settle("m", *from_ten(ONE)) == 1


def test_periods_that_do_not_count_are_taken_for_told() -> None:
    events = answered(10)

    assert events.settle("m", [], [Answer(TWO, counts=False)]) == 0
    assert events.settle("m", [], [Answer(TWO, counts=True)]) == 0


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(1, 70_000), max_size=8))
def test_the_last_events_are_remembered_and_of_those_before_the_highest_time(sizes: list[int]) -> None:
    events = answered()
    sent = 0
    for size in sizes:
        events.add("m", ONE, np.arange(sent, sent + size))
        sent += size

    remembered = events.settle("m", [], [Answer(TWO, counts=True)])

    assert remembered == min(sent, 100_000)
    assert events.forgotten("m") == sent - remembered - 1


def test_many_batches_of_one_event_take_the_room_of_one_large_batch() -> None:
    events = answered()
    for at in range(1000):
        events.add("m", ONE, times(at))

    assert events.settle("m", [500], [Answer(ONE, counts=True), Answer(TWO, counts=True)]) == 500


def test_of_too_many_references_the_one_that_was_used_longest_ago_is_forgotten() -> None:
    events = Answers()
    for number in range(25):
        events.add(f"m{number}", ONE, np.full(100_000, number, np.int64))

    assert "m0" not in events
    assert "m24" in events
    assert events.forgotten("m24") == 4


def test_what_is_dropped_is_not_remembered() -> None:
    events = answered(10)

    events.drop("m")

    assert list(events) == []
    assert events.forgotten("m") == -1


@pytest.mark.parametrize("count", [100_001, 250_000])
def test_a_batch_larger_than_the_memory_leaves_its_last_events(count: int) -> None:
    events = answered()

    events.add("m", ONE, np.arange(count))

    assert events.forgotten("m") == count - 100_001
