"""One event loop in a thread of its own, which ends in order."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from tests.waiting import wait_until
from udfs.offload.loop_thread import LoopClosedError, LoopThread

T = TypeVar("T")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close(30)


async def own_thread() -> threading.Thread:
    return threading.current_thread()


async def for_ever(began: threading.Event, ended: list[str] | None = None) -> None:
    try:
        began.set()
        await asyncio.Event().wait()
    finally:
        if ended is not None:
            ended.append("for ever")


def test_it_starts_when_it_is_needed() -> None:
    before = set(threading.enumerate())
    LoopThread("never needed").close(1)
    assert not [one for one in set(threading.enumerate()) - before if one.name == "never needed"]


def test_coroutines_run_in_one_daemon_thread(loop: LoopThread) -> None:
    threads = {loop.run(own_thread()) for _ in range(3)}
    assert len(threads) == 1
    assert {thread.daemon for thread in threads} == {True}
    assert threading.current_thread() not in threads


def test_an_exception_is_the_callers(loop: LoopThread) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("1/0")

    with pytest.raises(ZeroDivisionError):
        loop.run(fail())


def test_what_takes_too_long_is_cancelled() -> None:
    began, ended = threading.Event(), list[str]()

    class Waits(LoopThread):
        def start(self, coroutine: Coroutine[object, object, T]) -> "concurrent.futures.Future[T]":
            future = super().start(coroutine)
            began.wait(30)  # one that is cancelled before it began never gets to its `finally`
            return future

    loop = Waits()
    with pytest.raises(TimeoutError):
        loop.run(for_ever(began, ended), timeout=0.01)
    wait_until(lambda: ended)
    loop.close(30)


def test_the_loop_does_not_wait_for_itself(loop: LoopThread) -> None:
    async def wait_for_itself() -> None:
        loop.run(own_thread())

    with pytest.raises(RuntimeError, match="can't wait for itself"):
        loop.run(wait_for_itself())


def test_functions_are_called_in_order(loop: LoopThread) -> None:
    called: list[int] = []
    for number in range(3):
        loop.call_soon(called.append, number)
    loop.run(own_thread())
    assert called == [0, 1, 2]


def test_closing_cancels_what_runs_and_ends_the_thread() -> None:
    loop, began, ended = LoopThread(), threading.Event(), list[str]()
    thread = loop.run(own_thread())
    future = loop.start(for_ever(began, ended))
    began.wait(30)
    loop.close(30)
    assert (ended, future.cancelled(), thread.is_alive()) == (["for ever"], True, False)


def test_what_was_started_just_before_the_end_gets_to_its_finally() -> None:
    loop, ended = LoopThread(), list[str]()
    loop.start(for_ever(threading.Event(), ended))
    loop.close(30)
    assert ended == ["for ever"]


def test_what_was_started_before_the_loop_ran_gets_to_its_finally_too() -> None:
    may_run = threading.Event()

    class LateLoop(asyncio.SelectorEventLoop):
        def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
            may_run.wait(30)
            return super().create_task(coro, **options)

    loop, ended = LoopThread(make_loop=LateLoop), list[str]()
    loop.start(for_ever(threading.Event(), ended))
    closer = threading.Thread(target=loop.close, args=(30,))
    closer.start()
    wait_until(lambda: loop.is_closing, pause=0)
    with pytest.raises(LoopClosedError):
        loop.call_soon(print)  # refused once the loop was told to close
    may_run.set()
    closer.join(30)
    assert ended == ["for ever"]


def test_functions_that_were_accepted_are_called() -> None:
    loop, called = LoopThread(), list[int]()
    for number in range(100):
        loop.call_soon(called.append, number)
    loop.close(30)
    assert called == list(range(100))


def test_what_must_come_to_its_end_does() -> None:
    loop, done, began = LoopThread(), list[str](), threading.Event()

    async def last() -> None:
        began.set()
        await asyncio.sleep(0.01)
        done.append("last")

    loop.call_soon(lambda: loop.finish(last()))
    began.wait(30)
    loop.close(30)
    assert done == ["last"]


def test_what_is_cancelled_may_begin_something_last() -> None:
    loop, done, began = LoopThread(), list[str](), threading.Event()

    async def last() -> None:
        await asyncio.sleep(0)
        done.append("last")

    async def hand_over() -> None:
        try:
            await for_ever(began)
        finally:
            loop.finish(last())

    loop.start(hand_over())
    began.wait(30)
    loop.close(30)
    assert done == ["last"]


def test_closing_does_not_wait_for_ever() -> None:
    loop, release = LoopThread(), threading.Event()
    thread = loop.run(own_thread())
    loop.call_soon(release.wait)
    loop.close(0.01)
    assert thread.is_alive()
    release.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_closed_one_takes_nothing(loop: LoopThread) -> None:
    loop.close(30)
    with pytest.raises(LoopClosedError):
        loop.call_soon(print)
    with pytest.raises(LoopClosedError):
        loop.start(own_thread())
    with pytest.raises(LoopClosedError):
        loop.run(own_thread())


def test_it_may_be_closed_twice(loop: LoopThread) -> None:
    loop.run(own_thread())
    loop.close(30)
    loop.close(30)


def test_who_waits_for_what_closing_cancels_is_told() -> None:
    loop, began = LoopThread(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(loop.run, for_ever(began))
        began.wait(30)
        loop.close(30)
        with pytest.raises(LoopClosedError):
            waiter.result(30)


def test_what_blocks_a_few_threads_holds_up_no_other(loop: LoopThread) -> None:
    release = threading.Event()

    async def run() -> str:
        running = asyncio.get_running_loop()
        blocked = [running.run_in_executor(None, release.wait) for _ in range(24)]
        try:
            async with asyncio.timeout(30):
                return await running.run_in_executor(None, lambda: "answered")
        finally:
            release.set()
            await asyncio.gather(*blocked)

    assert loop.run(run()) == "answered"
