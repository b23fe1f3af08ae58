"""A remote gets ready once, for all that wait for it, however soon each of them has to end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.scripted_remote import ScriptedRemote, after, answers, breaks, fails, gives, hangs, scored
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.updates import Check
from udfs.offload.late_remote import LateRemote

CHECKS = [Check(number, {"scored": number}) for number in (1, 2, 3)]
SOON = 0.05


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test that waits for coroutines."""

    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


async def score(late: LateRemote, number: int = 7) -> object:
    (result,) = await late.score([number], 10, ())
    return result


@on_a_loop
async def test_requests_that_come_at_once_wait_for_one_opening() -> None:
    remote = ScriptedRemote(opens=[after(SOON)])
    late = LateRemote(remote, CHECKS, 3)

    assert [*await asyncio.gather(score(late, 8), score(late, 9))] == [scored(8), scored(9)]

    assert remote.opened == 1
    assert remote.batches == [[1, 2, 3], [8], [9]]


@on_a_loop
async def test_an_opening_goes_on_when_a_request_that_waits_for_it_has_to_end() -> None:
    remote = ScriptedRemote(opens=[after(SOON)])
    late = LateRemote(remote)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(score(late), SOON / 10)

    assert await score(late) == scored(7)

    assert remote.opened == 1


@on_a_loop
async def test_an_opening_ends_in_time_and_the_next_request_begins_another() -> None:
    remote = ScriptedRemote(opens=[hangs, answers])
    late = LateRemote(remote, opening_seconds=SOON)

    with pytest.raises(OffloadError, match=r"test://server was not ready within 0\.05 s") as error:
        await score(late)
    assert error.value.fault is Fault.PASSING

    assert await score(late) == scored(7)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("is_connected", [False, True], ids=["connecting", "checks"])
def test_no_record_is_to_blame_for_what_an_opening_meets(fault: Fault, *, is_connected: bool) -> None:
    act = fails(fault, "not now", 3.0, is_answer=True)
    remote = ScriptedRemote(act) if is_connected else ScriptedRemote(opens=[act])
    late = LateRemote(remote, CHECKS, 3)

    async def twice() -> None:
        with pytest.raises(OffloadError, match="not now") as error:
            await score(late)
        assert error.value.fault is (Fault.PASSING if fault is Fault.PASSING else Fault.LASTING)
        assert (error.value.retry_after, error.value.is_answer) == (3.0, True)
        assert await score(late) == scored(7)

    asyncio.run(twice())
    assert remote.opened == (1 if is_connected else 2)


@on_a_loop
async def test_what_an_opening_should_not_raise_is_raised_to_who_waits_for_it() -> None:
    late = LateRemote(ScriptedRemote(opens=[breaks(lambda: KeyError("odd"))]))

    with pytest.raises(KeyError, match="odd"):
        await score(late)

    assert await score(late) == scored(7)


@on_a_loop
async def test_a_version_that_is_not_what_was_published_is_not_opened_again() -> None:
    remote = ScriptedRemote(opens=[breaks(lambda: ModelLoadError("no such output"))])
    late = LateRemote(remote)

    for _ in range(2):
        with pytest.raises(OffloadError, match="no such output") as error:
            await score(late)
        assert error.value.fault is Fault.LASTING

    assert remote.opened == 1
    assert str(late.failure) == "no such output"


@on_a_loop
async def test_checks_pass_with_a_result_each_alone() -> None:
    late = LateRemote(ScriptedRemote(gives(*map(scored, (1, 2, 3, 4)))), CHECKS, 3)
    await late.open(10)

    with pytest.raises(OffloadError, match="gave 4 results for 3 checks"):
        await late.open(10)
    assert (late.is_open, late.failure) == (False, None)

    await late.open(10)
    assert late.is_open


@on_a_loop
async def test_checks_are_no_more_at_a_time_than_a_remote_takes() -> None:
    remote = ScriptedRemote(max_batch=2)
    late = LateRemote(remote, CHECKS, 3)

    await late.open(10)
    assert (late.is_open, remote.batches) == (False, [])
    await late.open(10)

    assert (late.is_open, remote.batches) == (True, [[1, 2], [3]])


@pytest.mark.parametrize("opens_by_asking", [True, False])
def test_it_is_open_by_asking_where_its_remote_is(opens_by_asking: bool) -> None:
    late = LateRemote(ScriptedRemote(opens_by_asking=opens_by_asking))

    assert asyncio.run(late.open(10)) is opens_by_asking


@pytest.mark.parametrize(("checks", "is_asked"), [(CHECKS, True), ([], False)])
def test_checks_are_questions_and_none_are_none(checks: list[Check], is_asked: bool) -> None:
    late = LateRemote(ScriptedRemote(opens_by_asking=False), checks, 3)

    async def connect_and_check() -> list[bool]:
        return [await late.open(10), await late.open(10)]

    assert asyncio.run(connect_and_check()) == [False, is_asked]


@on_a_loop
async def test_a_remote_is_closed_after_the_end_of_its_opening() -> None:
    remote = ScriptedRemote(hangs)
    late = LateRemote(remote, CHECKS)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(score(late), SOON)
    assert remote.at_a_time == 1

    await late.close()

    assert (remote.at_a_time, remote.closed) == (0, 1)
