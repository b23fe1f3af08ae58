"""Workers that end: what their batch is answered with, and that others go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.leftovers import children_with
from tests.unit.test_worker_pool import MIB, Pools, is_gone, refused, score, until, who, with_pool
from tests.virtual_time import VirtualLoop
from tests.waiting import wait_until
from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.breaker import Breaker
from udfs.offload.caller import Caller
from udfs.offload.counts import Counts
from udfs.offload.worker_ended import WorkerEndedError
from udfs.offload.worker_pool import WorkerPool


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return Pools(tmp_path)


class TestFaults:
    """What may help a batch whose worker ended."""

    def error(self, pool: WorkerPool, *inputs: JsonValue, seconds: float = 60) -> OffloadError:
        async def use(pool: WorkerPool) -> OffloadError:
            error = await refused(score(pool, *inputs, seconds=seconds))
            assert await score(pool, 1) == [1]  # another worker is there
            return error

        return with_pool(pool, use)

    def test_several_records_are_suspected_so_that_they_are_halved(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), 1, "abort")
        text = "workers of m:1: a worker ended by SIGABRT, after it said: terminate called"
        assert (str(error), error.fault) == (text, Fault.HARMFUL)

    def test_a_record_alone_is_harmful(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), "exit")
        text = "workers of m:1: a worker ended by exit code 3"
        assert (str(error), error.fault) == (text, Fault.HARMFUL)

    def test_a_batch_that_never_ends_is_ended(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), 1, "hang", seconds=0.5)
        text = "workers of m:1: not scored in 0.5 s; the worker was ended"
        assert (str(error), error.fault) == (text, Fault.HARMFUL)

    def test_a_batch_that_takes_too_much_memory_is_ended(self, pools: Pools) -> None:
        error = self.error(pools.deadly(max_memory=256 * MIB), 1, "grow")
        text = "a worker was ended: it used more than 268435456 bytes of memory; see loading.max_memory"
        assert (str(error), error.fault) == (f"workers of m:1: {text}", Fault.HARMFUL)

    def test_an_answer_that_can_not_be_read_is_the_end_of_its_worker(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), "answer garbage")
        assert "an answer can't be read" in str(error)
        assert error.fault is Fault.HARMFUL

    def test_an_answer_without_end_is_the_end_of_its_worker(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), 1, "answer without end")
        assert "it answered with 4294967295 bytes" in str(error)

    def test_answers_that_are_too_long_together_are_halved(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), "long", "long")
        assert "are more than a worker passes at once" in str(error)
        assert error.fault is Fault.RECORD

    def test_records_that_are_too_long_together_are_halved(self, pools: Pools) -> None:
        error = self.error(pools.deadly(), *["x" * (40 << 20)] * 2)
        assert "are more than a worker passes at once" in str(error)
        assert error.fault is Fault.RECORD

    def test_a_record_that_is_nested_too_deeply_is_refused(self, pools: Pools) -> None:
        data: JsonValue = []
        for _ in range(2000):
            data = [data]
        error = self.error(pools.deadly(), data)
        assert "nested too deeply" in str(error)
        assert error.fault is Fault.RECORD


class TestOthers:
    def test_a_batch_of_another_worker_is_scored(self, pools: Pools, tmp_path: Path) -> None:
        mine, other = tmp_path / "mine", tmp_path / "other"

        async def use(pool: WorkerPool) -> tuple[OffloadError, int]:
            meeting = asyncio.create_task(score(pool, {"meet": [str(mine), str(other)]}))
            await until(mine.exists, "the batch beside it")
            error = await refused(score(pool, 1, "abort"))
            other.touch()
            return error, len(await meeting)

        error, count = with_pool(pools.deadly(workers=2), use)
        assert (error.fault, count) == (Fault.HARMFUL, 1)

    def test_the_other_records_of_a_batch_are_scored(self, pools: Pools) -> None:
        first, bad, last = called(pools, [1, "abort", 3], 60)
        assert (first, last) == (1, 3)
        assert isinstance(bad, OffloadError)
        assert bad.fault is Fault.HARMFUL

    def test_the_other_records_of_a_batch_that_hangs_are_scored(self, pools: Pools, tmp_path: Path) -> None:
        told, loop = tmp_path / "told", VirtualLoop(stands_still=True)
        hang: JsonValue = {"tell and hang": str(told)}

        async def use(pool: WorkerPool) -> list[JsonValue | ScoreError | OffloadError]:
            call = asyncio.create_task(caller_of(pool).call([1, hang, 3], 60, ()))
            for seconds in (60, 30, 15):  # for the batch, its half and the record alone
                await until(told.exists, "the record's turn")
                told.unlink()
                loop.advance(seconds)
            return await call

        first, bad, last = with_pool(pools.deadly(), use, loop)
        assert (first, last) == (1, 3)
        assert isinstance(bad, OffloadError)
        assert bad.fault is Fault.HARMFUL

    def test_a_record_whose_worker_something_else_ended_is_scored(self, pools: Pools, tmp_path: Path) -> None:
        assert called(pools, [{"abort but once": str(tmp_path / "once")}], 60) == ["scored"]

    def test_a_record_that_hangs_until_the_deadline_is_harmful(self, pools: Pools) -> None:
        [error] = called(pools, ["hang"], 0.5)
        assert isinstance(error, OffloadError)
        assert error.fault is Fault.HARMFUL

    def test_a_time_limit_of_who_waits_says_that_a_worker_used_it_up(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> BaseException | None:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.5):
                    await score(pool, "hang")
            assert caught.value.__cause__ is not None
            return caught.value.__cause__.__cause__

        assert isinstance(with_pool(pools.deadly(), use), WorkerEndedError)


def called(
    pools: Pools, inputs: list[JsonValue], seconds: float
) -> list[JsonValue | ScoreError | OffloadError]:
    """What a caller gets of a pool of one worker."""

    async def use(pool: WorkerPool) -> list[JsonValue | ScoreError | OffloadError]:
        return await caller_of(pool).call(inputs, seconds, ())

    return with_pool(pools.deadly(), use)


def caller_of(pool: WorkerPool) -> Caller:
    """A caller on the loop that runs, which makes three attempts."""
    loop = asyncio.get_running_loop()
    return Caller(pool, 3, Breaker(pool.endpoint), Counts(), loop.time, lambda: 0.0)


class TestFromOutside:
    def test_a_worker_that_is_killed_between_batches_costs_none(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> tuple[int, int]:
            before = await who(pool)
            os.kill(before, signal.SIGKILL)
            await until(lambda: is_gone(before), "its end")
            return before, await who(pool)

        before, after = with_pool(pools.deadly(), use)
        assert before != after

    def test_a_batch_whose_worker_is_killed_is_suspected(self, pools: Pools, tmp_path: Path) -> None:
        told = tmp_path / "told"

        async def use(pool: WorkerPool) -> OffloadError:
            scoring = asyncio.create_task(refused(score(pool, {"tell and hang": str(told)})))
            await until(told.exists, "the batch")
            os.kill(int(told.read_text()), signal.SIGKILL)
            return await scoring

        error = with_pool(pools.deadly(), use)
        assert (str(error), error.fault) == ("workers of m:1: a worker ended by SIGKILL", Fault.HARMFUL)

    def test_a_worker_that_nobody_watches_any_more_is_replaced(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> tuple[int, int]:
            before = await who(pool)
            [watch] = children_with("udfs.models.child_watch")
            watch.kill()
            await until(lambda: is_gone(before), "its end")
            return before, await who(pool)

        before, after = with_pool(pools.deadly(), use)
        assert before != after

    def test_a_batch_that_nobody_waits_for_any_more_is_the_end_of_its_worker(
        self, pools: Pools, tmp_path: Path
    ) -> None:
        told = tmp_path / "told"

        async def use(pool: WorkerPool) -> int:
            scoring = asyncio.create_task(score(pool, {"tell and hang": str(told)}))
            await until(told.exists, "the batch")
            scoring.cancel()
            return await who(pool)

        assert with_pool(pools.deadly(), use) != int(told.read_text())


class TestAPoolThatCanStartNone:
    def test_it_says_why_at_once(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> OffloadError:
            pools.artifact.write_text("bad")
            await refused(score(pool, 1, "abort"))
            return await refused(score(pool, 1))

        error = with_pool(pools.deadly(), use)
        text = "workers of m:1: no good model; another is started in 1 s"
        assert (str(error), error.fault) == (text, Fault.LASTING)

    def test_it_is_back_when_it_can(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> None:
            pools.artifact.write_text("bad")
            await refused(score(pool, 1, "abort"))
            await refused(score(pool, 1))
            pools.artifact.write_text("good")
            loop = asyncio.get_running_loop()
            await until(lambda: asyncio.run_coroutine_threadsafe(scores(pool), loop).result(), "a worker")

        with_pool(pools.deadly(), use)


async def scores(pool: WorkerPool) -> bool:
    try:
        return await score(pool, 1) == [1]
    except OffloadError:
        return False


@contextmanager
def pool_in_a_process(folder: Path, record: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a pool of two workers in a thread of it, which scores a record and never ends."""
    program = f"""
import asyncio, sys, threading
from pathlib import Path
from tests.unit.test_worker_pool import Pools, score
async def run():
    pool = Pools(Path(sys.argv[1])).deadly(workers=2)
    await pool.open(60)
    await score(pool, 1)
    Path(sys.argv[1], "open").touch()
    await score(pool, {record})
    await asyncio.Event().wait()
thread = threading.Thread(target=lambda: asyncio.run(run()))
thread.start()
thread.join()
"""
    temporary = folder / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        (sys.executable, "-c", program, str(folder)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary)},
        start_new_session=True,
    ) as parent:
        try:
            yield parent
        finally:
            parent.kill()


class TestTheEndOfTheParent:
    @pytest.mark.parametrize("record", ["1", "'hang'", "'start a child'"])
    def test_leaves_no_process_and_no_folder(self, tmp_path: Path, record: str) -> None:
        with pool_in_a_process(tmp_path, record) as parent:
            wait_until((tmp_path / "open").exists, what="the pool")
            started = psutil.Process(parent.pid).children(recursive=True)
            assert len(started) >= 4
            parent.kill()
        wait_until(lambda: all(is_gone(one.pid) for one in started), what="the end of its processes")
        wait_until(lambda: not list((tmp_path / "temporary").iterdir()), what="the end of its folders")
