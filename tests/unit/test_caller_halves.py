"""A batch that is refused, that meets a server in trouble or does harm is halved: its records fail alone."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.called import calls, error_of, left_alone
from tests.scripted_remote import (
    BAD,
    after,
    answers,
    fails,
    fails_of_bad,
    hangs,
    refuses_bad,
    scored,
)
from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.breaker import FAULTS_IN_A_ROW, BreakerState
from udfs.offload.caller import MOST_REQUESTS

PASSING, RECORD, LASTING = Fault.PASSING, Fault.RECORD, Fault.LASTING
UNCLEAR, HARMFUL = Fault.UNCLEAR, Fault.HARMFUL


def test_a_bad_record_fails_alone() -> None:
    called = calls(then=refuses_bad)
    inputs: list[JsonValue] = [*range(7), BAD, *range(8, 20)]
    results = called.call(inputs)
    assert [str(error_of(results[7])), error_of(results[7]).fault] == ["there is a bad one", RECORD]
    assert results[:7] + results[8:] == [scored(data) for data in inputs if data != BAD]


def test_halves_are_sent_one_after_the_other() -> None:
    called = calls(then=after(0.1, refuses_bad))
    called.call([BAD, "b", BAD, "d"])
    assert called.remote.most_at_a_time == 1


def test_a_batch_of_bad_records_takes_a_bounded_number_of_requests() -> None:
    called = calls(then=refuses_bad)
    results = called.call([BAD] * 1000)
    assert len(called.remote.batches) == MOST_REQUESTS
    assert {error_of(result).fault for result in results} == {PASSING}
    assert "there is a bad one (of one of" in str(results[-1])


def test_halving_ends_with_the_deadline() -> None:
    called = calls(then=after(0.9, refuses_bad))
    results = called.call([BAD, *range(99)], seconds=2)
    assert called.seconds == 2
    assert {error_of(result).fault for result in results} == {PASSING}


def test_what_may_not_be_repeated_is_not_halved() -> None:
    called = calls(then=refuses_bad, is_repeatable=False)
    assert [error_of(result).fault for result in called.call([BAD, "b"])] == [RECORD, RECORD]
    assert len(called.remote.batches) == 1


def test_halves_are_tried_again_too() -> None:
    called = calls(refuses_bad, fails(PASSING), then=refuses_bad)
    results = called.call(["a", BAD])
    assert results[0] == scored("a")
    assert error_of(results[1]).fault is RECORD


class TestAServerThatFails:
    """Nothing says whether that is for the content."""

    def test_of_one_record_fails_that_alone(self) -> None:
        called = calls(then=fails_of_bad(UNCLEAR))
        inputs: list[JsonValue] = [*range(7), BAD, *range(8, 20)]
        results = called.call(inputs)
        assert error_of(results[7]).fault is RECORD
        assert results[:7] + results[8:] == [scored(data) for data in inputs if data != BAD]
        assert called.breaker.state is BreakerState.CLOSED

    @pytest.mark.parametrize("bad", [{100, 900}, {0, 999}, {*range(10, 1000, 100)}], ids=str)
    def test_of_few_records_fails_them_alone(self, bad: set[int]) -> None:
        called = calls(then=fails_of_bad(UNCLEAR))
        results = called.call([BAD if number in bad else number for number in range(1000)])
        failed = {number for number, one in enumerate(results) if isinstance(one, OffloadError)}
        assert failed >= bad
        assert {error_of(results[number]).fault for number in bad} <= {RECORD, PASSING}

    def test_of_a_record_in_each_batch_opens_no_breaker(self) -> None:
        called = calls(then=fails_of_bad(UNCLEAR))
        for _ in range(2 * FAULTS_IN_A_ROW):
            called.call([BAD, "b", "c", "d"])
        assert called.breaker.state is BreakerState.CLOSED

    def test_of_a_probe_leaves_the_breaker_open(self) -> None:
        called = left_alone(calls(then=fails(UNCLEAR)))
        called.call(["a", "b"])
        assert called.breaker.state is BreakerState.OPEN
        assert called.breaker.refusal(1.9) is not None

    def test_makes_no_bad_records_of_those_that_another_refused(self) -> None:
        called = calls(refuses_bad, then=fails(UNCLEAR))
        results = called.call([BAD, "b", "c", "d"])
        assert {error_of(one).fault for one in results} == {PASSING}

    @pytest.mark.parametrize("count", [1, 2, 3, 1000])
    def test_of_everything_is_a_passing_fault(self, count: int) -> None:
        results = calls(then=fails(UNCLEAR, "broken")).call(list(range(count)))
        assert {(str(error_of(one)), error_of(one).fault) for one in results} == {("broken", PASSING)}

    def test_of_everything_gets_few_requests(self) -> None:
        called = calls(then=fails(UNCLEAR))
        called.call(list(range(1000)))
        assert len(called.remote.batches) <= 14

    def test_of_everything_opens_the_breaker(self) -> None:
        called = calls(then=fails(UNCLEAR))
        for _ in range(FAULTS_IN_A_ROW):
            called.call(list(range(4)))
        assert called.breaker.state is BreakerState.OPEN

    def test_for_a_moment_is_asked_again(self) -> None:
        assert calls(fails(UNCLEAR)).call() == [scored("a")]

    def test_is_not_asked_again_for_what_may_not_be_repeated(self) -> None:
        called = calls(then=fails(UNCLEAR), is_repeatable=False)
        assert {error_of(one).fault for one in called.call(["a", "b"])} == {PASSING}
        assert len(called.remote.batches) == 1


class TestAHarmfulRecord:
    """One that ends or hangs the process that tries it."""

    def test_fails_alone(self) -> None:
        called = calls(then=fails_of_bad(HARMFUL))
        inputs: list[JsonValue] = [*range(7), BAD, *range(8, 20)]
        results = called.call(inputs)
        assert error_of(results[7]).fault is HARMFUL
        assert results[:7] + results[8:] == [scored(data) for data in inputs if data != BAD]

    def test_does_not_open_the_breaker(self) -> None:
        called = calls(then=fails_of_bad(HARMFUL))
        for _ in range(FAULTS_IN_A_ROW + 1):
            called.call([BAD])
        assert called.breaker.state is BreakerState.CLOSED

    def test_is_tried_twice_alone(self) -> None:
        called = calls(then=fails_of_bad(HARMFUL), attempts=9)
        called.call([BAD])
        assert called.remote.batches == [[BAD], [BAD]]

    @pytest.mark.parametrize("fault", [PASSING, LASTING])
    def test_stays_one_whatever_comes_of_its_second_attempt(self, fault: Fault) -> None:
        called = calls(fails(HARMFUL, "ended"), then=fails(fault))
        error = error_of(called.call()[0])
        assert (str(error), error.fault) == ("ended", HARMFUL)

    def test_that_hangs_leaves_time_for_the_others(self) -> None:
        async def hangs_of_bad(inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
            if BAD in inputs:
                await asyncio.sleep(called.remote.seconds[-1] * 0.99)
                raise OffloadError("it hung", HARMFUL)
            await asyncio.sleep(0.001 * len(inputs))
            return await answers(inputs)

        called = calls(then=hangs_of_bad)
        inputs: list[JsonValue] = [BAD, *range(999)]
        results = called.call(inputs, seconds=8)
        assert results[1:] == [scored(data) for data in inputs[1:]]
        assert error_of(results[0]).fault is HARMFUL
        assert called.seconds <= 24

    def test_that_hangs_is_not_tried_twice(self) -> None:
        called = calls(after(3, fails(HARMFUL)), attempts=9)
        assert error_of(called.call(seconds=5)[0]).fault is HARMFUL
        assert len(called.remote.batches) == 1

    def test_is_one_also_where_another_is_in_the_other_half(self) -> None:
        results = calls(then=fails_of_bad(HARMFUL)).call([BAD, "a", "b", BAD])
        assert [error_of(results[0]).fault, error_of(results[3]).fault] == [HARMFUL, HARMFUL]
        assert results[1:3] == [scored("a"), scored("b")]

    def test_is_suspected_where_the_time_is_over(self) -> None:
        called = calls(after(0.9, fails(HARMFUL, "it hung")), then=hangs)
        results = called.call(["a", "b", "c", "d"], seconds=1)
        assert {error_of(one).fault for one in results} == {HARMFUL}
        assert called.seconds == 3
        assert "may be what did harm before: it hung" in str(results[0])
