"""An endpoint that is down is left alone, and found again when it is back."""

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import Fault, OffloadError
from udfs.offload.breaker import FAULTS_IN_A_ROW, Breaker, Breakers, BreakerState


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker("grpc://127.0.0.1:8081")
    for number in range(FAULTS_IN_A_ROW):
        breaker.fail(now, f"refused {number}", breaker.admit(now), now)
    return breaker


def test_a_few_faults_do_not_open_it() -> None:
    breaker = Breaker("e")
    for _ in range(FAULTS_IN_A_ROW - 1):
        breaker.fail(0, "refused", breaker.admit(0), 0)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.refusal(0) is None


def test_faults_count_in_a_row_only() -> None:
    breaker = Breaker("e")
    for _ in range(3):
        for _ in range(FAULTS_IN_A_ROW - 1):
            breaker.fail(0, "refused", breaker.admit(0), 0)
        breaker.succeed()
    assert breaker.state is BreakerState.CLOSED


def test_enough_faults_open_it() -> None:
    assert opened().state is BreakerState.OPEN


def test_the_refusal_says_who_since_when_and_why() -> None:
    refusal = opened(100).refusal(100.5)
    assert refusal is not None
    assert str(refusal) == (
        "grpc://127.0.0.1:8081 was not asked: it has been failing for 0.5 s, 5 times in a row, "
        "the last time with: refused 4"
    )
    assert (refusal.fault, refusal.retry_after) == (Fault.PASSING, 0.5)


def test_nothing_is_sent_while_it_is_open() -> None:
    with pytest.raises(OffloadError, match="was not asked"):
        opened(100).admit(100.9)


def test_after_the_pause_one_request_is_the_probe() -> None:
    breaker = opened(100)
    assert breaker.admit(101) > 0
    assert breaker.state is BreakerState.HALF_OPEN
    with pytest.raises(OffloadError):
        breaker.admit(101)


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = opened(100)
    breaker.admit(101)
    breaker.succeed()
    assert (breaker.state, breaker.admit(101)) == (BreakerState.CLOSED, 0)


def test_pauses_double_up_to_a_bound() -> None:
    breaker, now, pauses = opened(0), 0.0, []
    for _ in range(7):
        refusal = breaker.refusal(now)
        assert refusal is not None
        assert refusal.retry_after is not None
        pauses.append(refusal.retry_after)
        now += refusal.retry_after
        breaker.fail(now, "refused", breaker.admit(now), now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_success_resets_the_pause() -> None:
    breaker = opened(0)
    breaker.fail(1, "refused", breaker.admit(1), 1)
    breaker.succeed()
    for _ in range(FAULTS_IN_A_ROW):
        breaker.fail(10, "refused", breaker.admit(10), 10)
    refusal = breaker.refusal(10)
    assert refusal is not None
    assert refusal.retry_after == 1


def test_requests_from_before_the_opening_say_nothing_of_the_probe() -> None:
    breaker = opened(0)
    probe = breaker.admit(1)
    told: list[BreakerState] = []
    breaker.watch(told.append)
    breaker.fail(1, "one from before", 0, 1)
    assert told == []
    breaker.fail(1, "refused", probe, 1)
    assert told == [BreakerState.OPEN]


def test_a_late_probe_says_nothing_of_the_next() -> None:
    breaker = opened(0)
    late = breaker.admit(1)
    breaker.succeed()
    for _ in range(FAULTS_IN_A_ROW):
        breaker.fail(2, "refused", breaker.admit(2), 2)
    breaker.admit(3)
    breaker.fail(3, "at last", late, 3)
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_probe_that_is_given_up_makes_room_for_another() -> None:
    breaker = opened(0)
    breaker.abandon(1, breaker.admit(1))
    assert breaker.admit(1) > 0


def test_giving_up_another_request_changes_nothing() -> None:
    breaker = Breaker("e")
    breaker.abandon(1, breaker.admit(1))
    assert breaker.state is BreakerState.CLOSED


def test_watchers_are_told_of_changes_until_they_leave() -> None:
    breaker, told = Breaker("e"), list[BreakerState]()
    watch = told.append
    breaker.watch(watch)
    for _ in range(FAULTS_IN_A_ROW):
        breaker.fail(0, "refused", breaker.admit(0), 0)
    breaker.admit(1)
    breaker.unwatch(watch)
    breaker.succeed()
    assert told == [BreakerState.OPEN, BreakerState.HALF_OPEN]


def test_an_endpoint_has_one_breaker() -> None:
    breakers = Breakers()
    assert breakers.of("a") is breakers.of("a")
    assert breakers.of("a") is not breakers.of("b")


def test_a_breaker_that_nobody_uses_is_let_go() -> None:
    breakers = Breakers()
    used, unused = breakers.of("a"), weakref.ref(breakers.of("b"))
    gc.collect()
    assert breakers.of("a") is used
    assert unused() is None


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["ask", "succeed", "fail", "abandon"]), st.floats(0, 3))))
def test_there_is_never_more_than_one_probe_and_it_always_recovers(steps: list[tuple[str, float]]) -> None:
    breaker, now, asked = Breaker("e"), 0.0, list[int]()
    for what, seconds in steps:
        now += seconds
        if what == "ask":
            if breaker.refusal(now) is None:
                asked.append(breaker.admit(now))
        elif asked:
            if what == "succeed":
                asked.pop(0)
                breaker.succeed()
            elif what == "fail":
                breaker.fail(now, "refused", asked.pop(0), now)
            else:
                breaker.abandon(now, asked.pop(0))
        if breaker.state is BreakerState.HALF_OPEN:
            assert sum(probe == max(asked) for probe in asked) == 1
    for probe in asked:
        breaker.fail(now, "refused", probe, now)
    breaker.admit(now + 30)
    breaker.succeed()
    assert breaker.state is BreakerState.CLOSED


def test_requests_that_one_broken_connection_had_are_one_fault() -> None:
    breaker = Breaker("test://server")
    for _ in range(2 * FAULTS_IN_A_ROW):
        breaker.fail(1.0, "reset", 0, 0.5)

    assert breaker.state is BreakerState.CLOSED


def test_requests_that_were_sent_after_a_fault_count_again() -> None:
    breaker = Breaker("test://server")
    for number in range(FAULTS_IN_A_ROW):
        breaker.fail(number + 1.0, "reset", 0, float(number))

    assert breaker.state is BreakerState.OPEN


def test_requests_that_each_had_all_of_their_time_count_each() -> None:
    breaker = Breaker("e")
    for probe in [breaker.admit(0) for _ in range(FAULTS_IN_A_ROW)]:
        breaker.fail(5, "no answer", probe, 0, is_evidence=True)
    assert breaker.state is BreakerState.OPEN
