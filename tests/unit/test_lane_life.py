"""Lanes open, score beside what flows through them, and close without leaving a record unanswered."""

import threading
from collections.abc import Iterator

import pytest

from tests.lanes import Beside, Gate, asks, texts
from tests.scripted_remote import (
    BAD,
    ScriptedRemote,
    after,
    breaks,
    fails,
    refuses_bad,
    scored,
)
from tests.waiting import wait_until
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.offload.lane_settings import LaneSettings


@pytest.fixture
def beside() -> Iterator[Beside]:
    with Beside() as made:
        yield made


@pytest.fixture
def still() -> Iterator[Beside]:
    with Beside(stands_still=True) as made:
        yield made


def test_opening_tries_again(beside: Beside) -> None:
    remote = ScriptedRemote(opens=[fails(Fault.PASSING)] * 3)
    beside.lane(remote).open(60)
    assert remote.opened == 4


def test_what_the_remote_says_of_its_options_is_raised(beside: Beside) -> None:
    remote = ScriptedRemote(opens=[breaks(lambda: ModelLoadError("has no input 'x'"))])
    with pytest.raises(ModelLoadError, match=r"^has no input 'x'$"):
        beside.lane(remote).open(60)


def test_records_may_be_scored_beside_the_window(beside: Beside) -> None:
    remote = ScriptedRemote(fails(Fault.PASSING), then=refuses_bad)
    results = beside.lane(remote, LaneSettings(max_batch=2)).score(["a", "b", BAD, "d", "e"])
    assert [results[0], results[1], results[3], results[4]] == [scored(data) for data in "abde"]
    assert isinstance(results[2], OffloadError)
    assert beside.mailbox.take() == []


def test_scoring_beside_the_window_has_a_time_of_its_own(beside: Beside) -> None:
    lane = beside.lane(ScriptedRemote(then=after(6)), LaneSettings(max_batch=1))
    results = lane.score(["a", "b", "c"], seconds=13)
    assert results[:2] == [scored("a"), scored("b")]
    assert isinstance(results[2], OffloadError)
    assert results[2].fault is Fault.PASSING


def test_no_records_are_scored_to_no_results(beside: Beside) -> None:
    assert beside.lane(ScriptedRemote()).score([]) == []


def test_closing_answers_what_is_in_flight_and_waits_and_then_closes_the_remote(still: Beside) -> None:
    gate = Gate()
    remote = ScriptedRemote(then=gate)
    lane = still.lane(remote, LaneSettings(max_batch=1, in_flight=1))
    lane.submit(asks(range(3)))
    lane.close()
    still.run_on_loop()
    assert remote.closed == 0
    gate.open_on(still)
    assert still.collect(3) == {number: scored(number) for number in range(3)}
    wait_until(lambda: remote.closed)


def test_a_lane_may_be_closed_twice(beside: Beside) -> None:
    remote = ScriptedRemote()
    lane = beside.lane(remote)
    lane.close()
    lane.close()
    beside.run_on_loop()
    assert remote.closed == 1


def test_a_closed_lane_answers_that_it_is(beside: Beside) -> None:
    lane = beside.lane(ScriptedRemote())
    lane.close()
    beside.run_on_loop()
    lane.submit(asks(range(3)))
    expected = "test://server was given up: its model is not loaded any more"
    assert texts(beside.collect(3)) == {expected}
    assert [str(result) for result in lane.score(["a"])] == [expected]
    with pytest.raises(OffloadError, match=expected):
        lane.open(5)


def test_a_lane_that_never_opened_closes_its_remote(beside: Beside) -> None:
    remote = ScriptedRemote(opens=[fails(Fault.LASTING)])
    lane = beside.lane(remote)
    with pytest.raises(OffloadError):
        lane.open(5)
    lane.close()
    beside.run_on_loop()
    assert remote.closed == 1


def test_closing_ends_an_opening(still: Beside) -> None:
    gate = Gate()
    remote, said = ScriptedRemote(opens=[gate]), list[str]()
    lane = still.lane(remote)

    def open_it() -> None:
        try:
            lane.open(60)
        except OffloadError as error:
            said.append(str(error))

    opener = threading.Thread(target=open_it)
    opener.start()
    wait_until(lambda: remote.opened, pause=0)
    lane.close()
    opener.join(30)
    wait_until(lambda: remote.closed)
    assert said


def test_a_remote_that_fails_to_close_is_told_of(beside: Beside, caplog: pytest.LogCaptureFixture) -> None:
    class Unclosable(ScriptedRemote):
        async def close(self) -> None:
            raise OSError("still busy")

    beside.lane(Unclosable()).close()
    beside.run_on_loop()
    wait_until(lambda: "test://server was not closed in order: OSError: still busy" in caplog.text)


def test_closing_the_loop_answers_everything_and_closes_the_remotes() -> None:
    remote = ScriptedRemote(then=Gate())
    with Beside(stands_still=True) as beside:
        lane = beside.lane(remote, LaneSettings(max_batch=1, in_flight=2))
        lane.submit(asks(range(10)))
    assert len(texts(beside.collect(10))) == 1
    assert remote.closed == 1


def test_what_is_submitted_after_the_loop_ended_is_answered() -> None:
    with Beside() as beside:
        lane = beside.lane(ScriptedRemote())
    lane.submit(asks(range(3)))
    assert len(texts(beside.collect(3))) == 1
    assert isinstance(lane.score(["a"])[0], OffloadError)
    with pytest.raises(OffloadError):
        lane.open(5)
