"""A batch is asked for within its deadline, again where that helps, in halves where some of it is refused."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.called import Called, calls, error_of, left_alone
from tests.scripted_remote import (
    Act,
    ScriptedRemote,
    after,
    breaks,
    fails,
    gives,
    hangs,
    scored,
)
from tests.virtual_time import VirtualLoop
from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.offload.breaker import FAULTS_IN_A_ROW, BreakerState
from udfs.offload.caller import Caller, wait_seconds

PASSING, RECORD, LASTING = Fault.PASSING, Fault.RECORD, Fault.LASTING
UNCLEAR, HARMFUL = Fault.UNCLEAR, Fault.HARMFUL


def test_a_batch_is_one_request() -> None:
    called = calls()
    assert called.call(["a", "b", None]) == [scored("a"), scored("b"), scored(None)]
    assert called.remote.batches == [["a", "b", None]]


def test_an_error_of_a_record_is_its_result() -> None:
    bad = ScoreError("no such field")
    assert calls(gives("x", bad)).call(["a", "b"]) == ["x", bad]


def test_records_that_may_not_have_been_sent_close_no_breaker() -> None:
    called = left_alone(calls(gives(ScoreError("no such field"))))
    called.call()
    assert called.breaker.state is BreakerState.OPEN


def test_a_passing_fault_is_tried_again() -> None:
    called = calls(fails(PASSING), fails(PASSING))
    assert called.call() == [scored("a")]
    assert (called.counts.requests, called.counts.retries, called.counts.failures) == (3, 2, 2)


def test_the_last_fault_is_the_error() -> None:
    called = calls(*(fails(PASSING, f"busy {number}") for number in range(9)))
    assert str(error_of(called.call()[0])) == "busy 2"
    assert len(called.remote.batches) == 3


@pytest.mark.parametrize("fault", [LASTING, RECORD])
def test_no_other_fault_is_tried_again(fault: Fault) -> None:
    called = calls(then=fails(fault))
    assert error_of(called.call()[0]).fault is fault
    assert len(called.remote.batches) == 1


def test_what_may_not_be_repeated_is_sent_once() -> None:
    called = calls(then=fails(PASSING), is_repeatable=False)
    assert error_of(called.call()[0]).fault is PASSING
    assert len(called.remote.batches) == 1


def test_waits_double_with_full_jitter() -> None:
    called = calls(then=fails(PASSING), attempts=4)
    called.call()
    waits = [later - earlier for earlier, later in pairwise(called.remote.sent_at)]
    assert waits == pytest.approx([0.05, 0.1, 0.2])


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.0), (1.0, 5.0)])
def test_waits_are_bounded(random: float, expected: float) -> None:
    assert wait_seconds(100_000, OffloadError("busy", PASSING), lambda: random) == expected


def test_a_server_is_left_alone_as_long_as_it_asked_for() -> None:
    called = calls(fails(PASSING, retry_after=2))
    assert called.call() == [scored("a")]
    assert called.seconds == pytest.approx(2.05)


@pytest.mark.parametrize("retry_after", [5.0, float("inf")])
def test_no_wait_begins_that_the_deadline_does_not_allow(retry_after: float) -> None:
    called = calls(fails(PASSING, "busy", retry_after))
    assert str(error_of(called.call()[0])) == "busy"
    assert called.seconds == 0


@pytest.mark.parametrize("retry_after", [-1.0, float("nan")])
def test_nonsense_of_a_server_is_no_wait(retry_after: float) -> None:
    called = calls(fails(PASSING, retry_after=retry_after))
    assert called.call() == [scored("a")]
    assert called.seconds == pytest.approx(0.05)


def test_the_deadline_holds_for_a_remote_that_hangs() -> None:
    called = calls(hangs)
    error = error_of(called.call(seconds=2)[0])
    assert (str(error), error.fault) == ("test://server did not answer within 2 s", PASSING)
    assert called.seconds == 2
    assert (called.counts.timeouts, called.counts.failures) == (1, 1)


def test_the_deadline_is_for_all_attempts_together() -> None:
    called = calls(after(1.5, fails(PASSING)), hangs)
    assert error_of(called.call(seconds=2)[0]).fault is PASSING
    assert called.seconds == 2
    assert called.remote.seconds == pytest.approx([2, 0.45])


def test_a_timeout_of_the_remotes_own_is_one() -> None:
    called = calls(after(1.999, fails(PASSING)))
    called.call(seconds=2)
    assert called.counts.timeouts == 1


def test_a_fault_before_the_deadline_is_no_timeout() -> None:
    called = calls(after(1, fails(PASSING)))
    called.call()
    assert called.counts.timeouts == 0


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (gives("x"), "test://server gave 1 results for 2 records"),
        (gives("x", "y", "z"), "test://server gave 3 results for 2 records"),
        (breaks(lambda: KeyError("outputs")), "test://server: unexpected KeyError: 'outputs'"),
        (breaks(lambda: TimeoutError("its own")), "test://server: unexpected TimeoutError: its own"),
        (breaks(lambda: ScoreError("raised")), "test://server: unexpected ScoreError: raised"),
    ],
)
def test_a_broken_promise_of_the_remote_is_a_lasting_fault(act: Act, text: str) -> None:
    called = calls(act)
    errors = [error_of(result) for result in called.call(["a", "b"])]
    assert [(str(error), error.fault) for error in errors] == [(text, LASTING)] * 2
    assert len(called.remote.batches) == 1


def test_the_error_does_not_keep_the_batch() -> None:
    error = error_of(calls(then=fails(LASTING)).call()[0])
    assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


def test_an_open_breaker_answers_at_once() -> None:
    called = calls(then=fails(PASSING), attempts=1)
    for _ in range(FAULTS_IN_A_ROW):
        called.call()
    error = error_of(called.call()[0])
    assert "was not asked" in str(error)
    assert len(called.remote.batches) == FAULTS_IN_A_ROW


def test_a_request_that_was_sent_waits_for_its_endpoint_to_come_back() -> None:
    called = calls(*[fails(PASSING)] * FAULTS_IN_A_ROW, attempts=FAULTS_IN_A_ROW + 1)
    assert called.call() == [scored("a")]
    assert called.breaker.state is BreakerState.CLOSED
    assert 1 < called.seconds < 5


@pytest.mark.parametrize("fault", [LASTING, RECORD, HARMFUL])
def test_what_is_no_answer_says_nothing_of_the_endpoint(fault: Fault) -> None:
    called = calls(*[fails(PASSING)] * (FAULTS_IN_A_ROW - 1), fails(fault), fails(PASSING), attempts=1)
    for _ in range(FAULTS_IN_A_ROW + 1):
        called.call()
    assert called.breaker.state is BreakerState.OPEN


@pytest.mark.parametrize("fault", [LASTING, RECORD, HARMFUL])
def test_a_probe_that_is_no_answer_makes_room_for_another(fault: Fault) -> None:
    called = calls(fails(fault))
    for _ in range(FAULTS_IN_A_ROW):
        called.breaker.fail(-1, "refused", called.breaker.admit(-1), -1)
    called.call(["a", "b"])
    assert called.call() == [scored("a")]


@pytest.mark.parametrize("fault", [LASTING, RECORD])
def test_a_refusal_is_an_answer_of_the_endpoint(fault: Fault) -> None:
    refusal = fails(fault, is_answer=True)
    called = calls(*[fails(PASSING)] * (FAULTS_IN_A_ROW - 1), refusal, fails(PASSING), attempts=1)
    for _ in range(FAULTS_IN_A_ROW + 1):
        called.call()
    assert called.breaker.state is BreakerState.CLOSED


def test_a_cancelled_probe_makes_room_for_another() -> None:
    called = calls(then=hangs)
    for _ in range(FAULTS_IN_A_ROW):
        called.breaker.fail(-1, "refused", called.breaker.admit(-1), -1)

    async def give_up(caller: Caller) -> None:
        probe = asyncio.create_task(caller.call(["a"], 5, ()))
        await asyncio.sleep(1)
        probe.cancel()
        await asyncio.wait([probe])

    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(give_up(called.caller(loop)))
    assert called.remote.batches == [["a"]]
    assert called.breaker.admit(1) > 0


def test_the_latency_of_each_request_is_counted() -> None:
    called = calls(after(0.05, fails(PASSING)), after(1))
    called.call()
    found = {name for name, number in called.counts.items() if name.startswith("requests_of") and number}
    assert found == {"requests_of_ms_to_64", "requests_of_ms_to_1024"}


def test_opening_is_tried_again_until_it_succeeds() -> None:
    called = Called(ScriptedRemote(opens=[fails(PASSING)] * 7))
    called.open(60)
    assert called.remote.opened == 8


@pytest.mark.parametrize(
    ("opens_by_asking", "state"), [(True, BreakerState.CLOSED), (False, BreakerState.OPEN)]
)
def test_opening_closes_the_breaker_where_the_server_answered(
    opens_by_asking: bool, state: BreakerState
) -> None:
    called = Called(ScriptedRemote(opens_by_asking=opens_by_asking))
    for _ in range(FAULTS_IN_A_ROW):
        called.breaker.fail(0, "refused", called.breaker.admit(0), 0)
    called.open()
    assert called.breaker.state is state


def test_opening_closes_the_breaker_where_the_server_answered_at_last() -> None:
    called = left_alone(Called(ScriptedRemote(opens=[fails(PASSING)])))
    called.open()
    assert called.breaker.state is BreakerState.CLOSED


Error = Callable[[], Exception]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (lambda: OffloadError("no such model", LASTING), OffloadError, "^no such model$"),
        (lambda: ModelLoadError("has no input 'x'"), ModelLoadError, "^has no input 'x'$"),
        (lambda: KeyError("inputs"), OffloadError, "^test://server: unexpected KeyError: 'inputs'$"),
    ],
)
def test_what_can_never_be_opened_is_not_tried_again(error: Error, kind: type[Exception], text: str) -> None:
    called = Called(ScriptedRemote(opens=[breaks(error)]))
    with pytest.raises(kind, match=text):
        called.open()
    assert called.remote.opened == 1


def test_opening_ends_with_its_time() -> None:
    called = Called(ScriptedRemote(opens=[fails(PASSING, "not yet")] * 1000))
    with pytest.raises(OffloadError, match=r"^not yet$"):
        called.open(10)
    assert 4 < called.remote.opened < 30


def test_opening_that_hangs_ends_with_its_time() -> None:
    with pytest.raises(OffloadError, match="did not answer within 10 s"):
        Called(ScriptedRemote(opens=[hangs])).open(10)
