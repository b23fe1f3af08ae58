"""Events that wait: in order, bounded, and never gone."""

import math
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.batches import Envelope, encode_envelope
from udfs.held import HeldEvent, HeldEvents, micro_batches


def event(number: int, reference: str = "m") -> HeldEvent:
    return HeldEvent(reference, b"%d" % number, b"envelope")


def at(partition: int, offset: int) -> HeldEvent:
    """An event of a place, whose number is its offset."""
    envelope = Envelope("ms.events", partition, offset, 0, b"key", False, ())
    return HeldEvent("m", b"%d" % offset, encode_envelope(envelope))


def numbers(events: list[HeldEvent]) -> list[int]:
    return [int(one.value) for one in events]


def held(*events: HeldEvent, seconds: float = 10, now: float = 0) -> HeldEvents:
    made = HeldEvents(seconds, max_events=100, max_bytes=100_000)
    made.add(events, now)
    return made


def names(name: str) -> Callable[[HeldEvent, bool], bool]:
    return lambda event, _: event.reference == name


def is_due(_: HeldEvent, is_due: bool) -> bool:
    return is_due


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("mno"), st.sampled_from("hre"), st.integers(0, 5))))
def test_what_came_in_left_or_is_still_held_and_in_order(steps: list[tuple[str, str, int]]) -> None:
    waiting = HeldEvents(10, max_events=5, max_bytes=100_000)
    came, left, now = 0, [], 0.0
    for name, step, seconds in steps:
        now += seconds
        if step == "h" and waiting.has_room_for(event(came, name)):
            waiting.add([event(came, name)], now)
            came += 1
        elif step == "r":
            ready = waiting.take(names(name), now)
            assert numbers(ready) == sorted(numbers(ready))
            left += ready
        elif step == "e":
            left += waiting.take(is_due, now)
        assert len(waiting) <= 5
    left += waiting.take_all()

    assert sorted(numbers(left)) == list(range(came))


def test_the_time_that_an_event_waited_counts_on_after_a_restart() -> None:
    state = held(event(1)).encode(now=8)

    again = held(*HeldEvents.decode(state), now=1000)

    assert again.take(is_due, 1001) == []
    assert numbers(again.take(is_due, 1002)) == [1]


def test_what_several_subtasks_held_gets_the_order_of_its_offsets() -> None:
    one, other = (
        [at(partition=0, offset=offset) for offset in offsets] for offsets in ([1, 4, 5], [2, 3, 6])
    )
    together = held(*one)

    together.add_restored(other, now=0)

    assert numbers(together.take_all()) == [1, 2, 3, 4, 5, 6]


def test_state_is_as_it_was() -> None:
    events = [event(number, name) for number, name in enumerate("mnm")]

    assert HeldEvents.decode(held(*events).encode(now=0)) == events


def test_bytes_are_bounded_too() -> None:
    waiting = HeldEvents(10, max_events=100, max_bytes=event(1).size)

    assert waiting.has_room_for(event(1))
    waiting.add([event(1)], 0)
    assert not waiting.has_room_for(event(2))
    waiting.take_all()
    assert waiting.has_room_for(event(2))


def test_it_says_when_the_next_event_will_have_waited_long_enough() -> None:
    waiting = held(event(1), event(2), now=5)
    waiting.add([event(3)], now=7)

    assert waiting.due == 15
    waiting.take(names("none"), 16)  # what stays all the same is not due again
    assert waiting.due == 17
    waiting.take_all()
    assert waiting.due == math.inf


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=30)), st.integers(1, 5), st.integers(1, 60))
def test_what_is_released_is_scored_in_order_in_calls_of_bounded_size(
    values: list[bytes], max_events: int, max_bytes: int
) -> None:
    events = [HeldEvent("m", value, b"envelope") for value in values]

    batches = list(micro_batches(events, max_events, max_bytes))

    assert [one for batch in batches for one in batch] == events
    for batch in batches:
        assert 1 <= len(batch) <= max_events
        assert len(batch) == 1 or sum(one.size for one in batch) <= max_bytes
