"""Records go to their remote in batches, within bounds, and each gets one answer."""

import threading
from collections.abc import Iterator

import pytest

from tests.lanes import Beside, Gate, asks, texts
from tests.scripted_remote import (
    BAD,
    ScriptedRemote,
    after,
    fails,
    hangs,
    refuses_bad,
    scored,
)
from tests.waiting import wait_until
from udfs.errors import Fault, OffloadError
from udfs.offload.breaker import FAULTS_IN_A_ROW, BreakerState
from udfs.offload.lane import Ask, Lane
from udfs.offload.lane_settings import LaneSettings
from udfs.offload.waiting_asks import MOST_WAITING_BYTES

ONE_BY_ONE = LaneSettings(max_batch=1, in_flight=1, attempts=1)


@pytest.fixture
def beside() -> Iterator[Beside]:
    with Beside() as made:
        yield made


@pytest.fixture
def still() -> Iterator[Beside]:
    with Beside(stands_still=True) as made:
        yield made


def open_breaker(beside: Beside, lane: Lane) -> None:
    """Have a lane whose remote fails find out that its endpoint is down."""
    for number in range(FAULTS_IN_A_ROW):
        lane.submit(asks(["x"], -1 - number))
        beside.collect(number + 1)
    beside.answers.clear()
    assert beside.breaker.state is BreakerState.OPEN


def test_a_record_is_answered_by_its_ticket(beside: Beside) -> None:
    beside.lane(ScriptedRemote()).submit([Ask(7, "a", 1, ()), Ask(9, "b", 1, ())])
    assert beside.collect(2) == {7: scored("a"), 9: scored("b")}


def test_nothing_is_asked_for_no_record(beside: Beside) -> None:
    remote = ScriptedRemote()
    beside.lane(remote).submit([])
    beside.run_on_loop()
    assert remote.batches == []


@pytest.mark.parametrize(
    ("own", "remotes", "sizes"), [(4, None, [4, 4, 2]), (4, 3, [3, 3, 3, 1]), (4, 9, [4, 4, 2])]
)
def test_batches_are_bounded(beside: Beside, own: int, remotes: int | None, sizes: list[int]) -> None:
    remote = ScriptedRemote(max_batch=remotes)
    beside.lane(remote, LaneSettings(max_batch=own)).submit(asks(range(10)))
    beside.collect(10)
    assert [len(batch) for batch in remote.batches] == sizes


def test_what_waits_is_put_together(still: Beside) -> None:
    gate = Gate()
    remote = ScriptedRemote(gate)
    lane = still.lane(remote, LaneSettings(in_flight=1))
    for number in range(5):
        lane.submit(asks([number], number))
        still.run_on_loop()
    gate.open_on(still)
    still.collect(5)
    assert remote.batches == [[0], [1, 2, 3, 4]]


def test_requests_in_flight_are_bounded(beside: Beside) -> None:
    remote = ScriptedRemote(then=after(0.1))
    beside.lane(remote, LaneSettings(max_batch=1, in_flight=3)).submit(asks(range(10)))
    beside.collect(10)
    assert remote.most_at_a_time == 3
    assert beside.time.time() == pytest.approx(0.4)


def test_a_slow_lane_does_not_slow_another(still: Beside) -> None:
    still.lane(ScriptedRemote(then=hangs)).submit(asks(range(10)))
    still.lane(ScriptedRemote()).submit(asks(range(10), 100))
    still.run_on_loop()
    assert set(still.collect(10)) >= set(range(100, 110))


def test_a_lane_that_has_its_answers_at_hand_leaves_the_loop_to_others(beside: Beside) -> None:
    both_are_in = threading.Event()
    busy, other = beside.lane(ScriptedRemote(), ONE_BY_ONE), beside.lane(ScriptedRemote(), ONE_BY_ONE)
    beside.loop.call_soon(both_are_in.wait)
    busy.submit(asks(range(100)))
    other.submit(asks(["a"], 100))
    both_are_in.set()
    assert list(beside.collect(101)).index(100) < 50


def test_a_request_carries_the_first_trace_of_its_records(beside: Beside) -> None:
    remote = ScriptedRemote()
    traces = [(), (("traceparent", "00-1"),), (("traceparent", "00-2"),)]
    beside.lane(remote).submit([Ask(ticket, None, 1, trace) for ticket, trace in enumerate(traces)])
    beside.collect(3)
    assert remote.traces == [traces[1]]


def test_a_bad_record_fails_alone(beside: Beside) -> None:
    beside.lane(ScriptedRemote(then=refuses_bad)).submit(asks(["a", BAD, "c"]))
    found = beside.collect(3)
    assert (found[0], found[2]) == (scored("a"), scored("c"))
    assert isinstance(found[1], OffloadError)
    assert found[1].fault is Fault.RECORD


def test_the_deadline_is_the_settings(beside: Beside) -> None:
    beside.lane(ScriptedRemote(then=hangs), LaneSettings(deadline=0.25)).submit(asks(["a"]))
    assert texts(beside.collect(1)) == {"test://server did not answer within 0.25 s"}


def test_room_is_bounded_in_records(still: Beside) -> None:
    gate = Gate()
    lane = still.lane(ScriptedRemote(gate), LaneSettings(max_batch=1, in_flight=1, max_waiting=2))
    lane.submit(asks(range(3)))
    still.run_on_loop()
    assert (lane.waiting, lane.has_room(1)) == (2, False)
    gate.open_on(still)
    still.collect(3)
    assert lane.waiting == 0
    # One more than may wait: a slot of the window is free, some turns of the loop after its last answer.
    wait_until(lambda: lane.has_room(3, 3), what="a free slot")
    assert [lane.has_room(records, records) for records in (1, 2, 3, 4)] == [True, True, True, False]


def test_room_is_bounded_in_bytes(still: Beside) -> None:
    lane = still.lane(ScriptedRemote(then=hangs), ONE_BY_ONE)
    lane.submit([Ask(0, None, MOST_WAITING_BYTES, ()), Ask(1, None, MOST_WAITING_BYTES - 1, ())])
    still.run_on_loop()
    assert (lane.has_room(1), lane.has_room(2)) == (True, False)


def test_an_open_breaker_answers_at_once(beside: Beside) -> None:
    remote = ScriptedRemote(then=fails(Fault.PASSING, "refused"))
    lane = beside.lane(remote, ONE_BY_ONE)
    open_breaker(beside, lane)
    asked = len(remote.batches)
    lane.submit(asks(range(1000)))
    (text,) = texts(beside.collect(1000))
    assert "test://server was not asked" in text
    assert len(remote.batches) == asked


def test_what_waits_is_answered_when_the_breaker_opens(still: Beside) -> None:
    lane = still.lane(ScriptedRemote(then=hangs), LaneSettings(max_batch=1, in_flight=1))
    lane.submit(asks(range(10)))
    still.run_on_loop()
    for _ in range(FAULTS_IN_A_ROW):
        still.loop.call_soon(still.breaker.fail, 0.0, "refused", 0, 0.0)
    assert set(still.collect(9)) == set(range(1, 10))


def test_lanes_of_one_endpoint_share_its_breaker(beside: Beside) -> None:
    open_breaker(beside, beside.lane(ScriptedRemote(then=fails(Fault.PASSING)), ONE_BY_ONE))
    remote = ScriptedRemote()
    beside.lane(remote).submit(asks(["a"]))
    beside.collect(1)
    assert remote.batches == []


def test_an_endpoint_that_is_back_is_asked_again(beside: Beside) -> None:
    remote = ScriptedRemote(*[fails(Fault.PASSING)] * FAULTS_IN_A_ROW)
    lane = beside.lane(remote, ONE_BY_ONE)
    open_breaker(beside, lane)
    beside.advance(1)
    lane.submit(asks(["a"]))
    assert beside.collect(1) == {0: scored("a")}
    assert beside.breaker.state is BreakerState.CLOSED


def test_a_new_version_that_opens_closes_the_breaker(beside: Beside) -> None:
    old = beside.lane(ScriptedRemote(*[fails(Fault.PASSING)] * FAULTS_IN_A_ROW), ONE_BY_ONE)
    open_breaker(beside, old)
    beside.lane(ScriptedRemote()).open(5)
    old.submit(asks(["a"]))
    assert beside.collect(1) == {0: scored("a")}


def test_the_breakers_state_is_counted(beside: Beside) -> None:
    open_breaker(beside, beside.lane(ScriptedRemote(then=fails(Fault.PASSING)), ONE_BY_ONE))
    beside.lane(ScriptedRemote())
    assert (beside.counts.breaker_state, beside.counts.breaker_openings) == (2, 1)


def test_two_versions_of_a_model_count_one_opening(beside: Beside) -> None:
    lane, _ = (
        beside.lane(ScriptedRemote(then=fails(Fault.PASSING)), ONE_BY_ONE),
        beside.lane(ScriptedRemote()),
    )
    open_breaker(beside, lane)
    assert beside.counts.breaker_openings == 1


def test_records_and_requests_are_counted(beside: Beside) -> None:
    beside.lane(ScriptedRemote(fails(Fault.PASSING))).submit(asks(range(5)))
    beside.collect(5)
    found = {name: number for name, number in beside.counts.items() if number and "ms" not in name}
    assert found == {
        "requests": 2, "retries": 1, "failures": 1, "records": 5, "records_in_batches_to_10": 10
    }  # fmt: skip


def test_what_is_in_flight_is_counted(still: Beside) -> None:
    gate = Gate()
    still.lane(ScriptedRemote(then=gate), LaneSettings(max_batch=1, in_flight=3)).submit(asks(range(9)))
    still.run_on_loop()
    still.run_on_loop()
    assert still.counts.in_flight == 3
    gate.open_on(still)
    still.collect(9)
    still.run_on_loop()
    assert still.counts.in_flight == 0
