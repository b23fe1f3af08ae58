"""Pools of worker processes: what they score, and whatever a record may do to its process instead."""

import asyncio
import math
import os
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from examples.iris import train
from tests import deadly_records, poisonous_models
from tests.leftovers import children_with, open_files
from tests.waiting import wait_until
from udfs.errors import Fault, ModelCrashedError, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.updates import Artifact, Check, PublishModel
from udfs.offload.worker_pool import WorkerPool
from udfs.options import Options
from udfs.records import ModelId
from udfs.scorers import load_scorer

MIB = 2**20
SECONDS = 60.0
T = TypeVar("T")
Results = Sequence[JsonValue | ScoreError]


def publish(format_name: str, *checks: Check) -> PublishModel:
    artifact = Artifact("0" * 64, inline=b"not read: the file is")
    return PublishModel(ModelId("m", 1), format_name, artifact, checks=checks)


class Pools:
    """Makes pools, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.artifact = folder / "a model"
        self.artifact.write_text("good")

    def deadly(
        self, workers: int = 1, max_memory: int = 1024 * MIB, options: Options | None = None
    ) -> WorkerPool:
        return WorkerPool(
            publish("deadly"),
            self.artifact,
            options or {},
            workers=workers,
            max_memory=max_memory,
            load_scorer=deadly_records.LOADER,
            formats=["deadly"],
        )

    def poisonous(
        self, does: str, *checks: Check, max_memory: int = 1024 * MIB, workers: int = 1
    ) -> WorkerPool:
        self.artifact.write_text(does)
        return WorkerPool(
            publish("poison", *checks),
            self.artifact,
            {},
            workers=workers,
            max_memory=max_memory,
            load_scorer=poisonous_models.LOADER,
            formats=["poison"],
        )


@pytest.fixture
def pools(tmp_path: Path) -> Pools:
    return Pools(tmp_path)


def with_pool(
    pool: WorkerPool,
    use: Callable[[WorkerPool], Coroutine[object, object, T]],
    loop: asyncio.AbstractEventLoop | None = None,
) -> T:
    async def run() -> T:
        await pool.open(SECONDS)
        try:
            return await use(pool)
        finally:
            await pool.close()

    with asyncio.Runner(loop_factory=None if loop is None else lambda: loop) as runner:
        return runner.run(run())


def score(
    pool: WorkerPool, *inputs: JsonValue, seconds: float = SECONDS
) -> Coroutine[object, object, Results]:
    return pool.score(inputs, seconds, ())


def scored(pool: WorkerPool, *inputs: JsonValue) -> Results:
    return with_pool(pool, lambda pool: score(pool, *inputs))


async def refused(scoring: Coroutine[object, object, Results]) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        await scoring
    return caught.value


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


async def who(pool: WorkerPool) -> int:
    [pid] = await score(pool, "who")
    assert isinstance(pid, int)
    return pid


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestScoring:
    def test_results_have_the_order_of_the_records(self, pools: Pools) -> None:
        assert scored(pools.deadly(), *range(1000)) == list(range(1000))

    def test_a_bad_record_fails_alone(self, pools: Pools) -> None:
        first, bad, last = scored(pools.deadly(), 1, "bad", 3)
        assert (first, str(bad), last) == (1, "bad", 3)
        assert isinstance(bad, ScoreError)

    def test_outputs_that_are_no_json_fail_alone(self, pools: Pools) -> None:
        first, bad, last = scored(pools.deadly(), 1, "no JSON", 3)
        assert isinstance(bad, ScoreError)
        assert (first, last) == (1, 3)

    def test_outputs_that_are_nested_too_deeply_fail_alone(self, pools: Pools) -> None:
        _, bad, _ = scored(pools.deadly(), 1, "nested", 3)
        assert isinstance(bad, ScoreError)

    def test_a_model_that_raises_fails_its_records_and_lives_on(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> tuple[Results, bool]:
            before = await who(pool)
            return await score(pool, "no such deed", 1), before == await who(pool)

        results, is_the_same = with_pool(pools.deadly(), use)
        assert [str(result) for result in results] == ["the model failed: KeyError: 'no such deed'"] * 2
        assert is_the_same

    @pytest.mark.parametrize("value", [math.inf, -math.inf, 2**70, ["ü\u2028"], {"a": [None, True, 1.5]}])
    def test_values_arrive_as_they_are(self, pools: Pools, value: JsonValue) -> None:
        assert scored(pools.deadly(), value) == [value]

    def test_not_a_number_arrives_as_it_is(self, pools: Pools) -> None:
        [value] = scored(pools.deadly(), math.nan)
        assert isinstance(value, float)
        assert math.isnan(value)

    def test_workers_score_side_by_side(self, pools: Pools, tmp_path: Path) -> None:
        one, other = str(tmp_path / "one"), str(tmp_path / "other")

        async def use(pool: WorkerPool) -> Sequence[Results]:
            meeting = score(pool, {"meet": [one, other]}), score(pool, {"meet": [other, one]})
            return await asyncio.gather(*meeting)

        [[first], [second]] = with_pool(pools.deadly(workers=2), use)
        assert first != second

    def test_batches_wait_for_a_worker_that_is_busy(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> Sequence[Results]:
            return await asyncio.gather(*(score(pool, number) for number in range(5)))

        assert with_pool(pools.deadly(), use) == [[number] for number in range(5)]

    def test_a_batch_that_waits_too_long_is_worth_another_attempt(self, pools: Pools, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"

        async def use(pool: WorkerPool) -> tuple[OffloadError, Results]:
            meeting = asyncio.create_task(score(pool, {"meet": [str(one), str(other)]}))
            await until(one.exists, "the batch before it")
            error = await refused(score(pool, 1, seconds=0.2))
            other.touch()
            return error, await meeting

        error, results = with_pool(pools.deadly(), use)
        assert (str(error), error.fault) == ("workers of m:1: none was idle in 0.2 s", Fault.PASSING)
        assert len(results) == 1

    def test_a_real_model_gives_what_it_gives_here(self, tmp_path: Path) -> None:
        artifact = tmp_path / "iris.onnx"
        train.write_onnx(train.fit_logistic_regression(), artifact)
        inputs: list[JsonValue] = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], "no flower"]
        pool = WorkerPool(publish("onnx"), artifact, {}, workers=1, max_memory=2048 * MIB, formats=["onnx"])
        assert list(map(repr, scored(pool, *inputs))) == list(
            map(repr, load_scorer("onnx", artifact, {}).score_batch(inputs))
        )

    def test_what_a_trial_prepared_is_loaded_in_the_artifact_s_place(self, tmp_path: Path) -> None:
        prepared = tmp_path / "prepared"
        train.write_pfa(train.fit_logistic_regression(), prepared)
        pool = WorkerPool(
            publish("pfa"),
            tmp_path / "not there",
            {},
            workers=1,
            max_memory=2048 * MIB,
            prepared=prepared,
            formats=["pfa"],
        )
        [bad] = scored(pool, "no flower")
        assert isinstance(bad, ScoreError)


class TestThePool:
    def test_it_is_a_remote_that_may_be_asked_again(self, pools: Pools) -> None:
        pool = pools.deadly()
        assert (pool.endpoint, pool.is_repeatable, pool.max_batch) == ("workers of m:1", True, None)

    def test_it_has_the_notes_of_the_scorer(self, pools: Pools) -> None:
        async def use(pool: WorkerPool) -> tuple[str, ...]:
            return pool.notes

        assert with_pool(pools.deadly(), use) == ("mind the records",)

    def test_the_scorer_has_the_options(self, pools: Pools) -> None:
        assert scored(pools.deadly(options={"a": [1]}), "options") == [{"a": [1]}]

    def test_workers_take_what_others_leave_and_go_first_when_memory_runs_out(self, pools: Pools) -> None:
        cores = max(len(os.sched_getaffinity(0)) - 1, 1)
        told = {"nice": 10, "cores": cores, "oom_score_adj": 1000, "core": 0}
        assert scored(pools.deadly(), "tell of your process") == [told]

    def test_what_a_worker_writes_without_end_holds_nobody_up(self, pools: Pools) -> None:
        assert scored(pools.deadly(), "write much", 1) == [None, 1]

    def test_nothing_is_scored_once_it_is_closed(self, pools: Pools) -> None:
        async def run() -> OffloadError:
            pool = pools.deadly()
            await pool.open(SECONDS)
            await pool.close()
            return await refused(score(pool, 1))

        assert "closed" in str(asyncio.run(run()))


class TestOpening:
    """A version that can't be served is refused in the words of a load in the job's own process."""

    def fails(
        self, pool: WorkerPool, error: type[ModelLoadError], match: str, seconds: float = SECONDS
    ) -> None:
        with pytest.raises(ModelLoadError, match=match) as caught:
            asyncio.run(pool.open(seconds))
        assert type(caught.value) is error
        assert children_with("udfs.offload.worker_process") == []

    def test_a_model_that_its_format_refuses(self, pools: Pools) -> None:
        self.fails(pools.poisonous("refused", workers=2), ModelLoadError, r"^no model: line 1$")

    def test_a_load_that_raises(self, pools: Pools) -> None:
        self.fails(pools.poisonous("raises"), ModelLoadError, "^m:1: ZeroDivisionError")

    def test_a_check_that_differs(self, pools: Pools) -> None:
        check = Check(2, 5)
        self.fails(
            pools.poisonous("good", check), ModelLoadError, "^check 1 differs: outputs: expected 5, got 4$"
        )

    def test_a_format_that_is_not_allowed(self, pools: Pools) -> None:
        pool = WorkerPool(
            publish("onnx"), pools.artifact, {}, workers=1, max_memory=1024 * MIB, formats=["pfa"]
        )
        self.fails(pool, ModelLoadError, "'onnx' is not allowed here; models.formats: pfa")

    @pytest.mark.parametrize(
        ("does", "how"),
        [
            ("null pointer", "SIGSEGV"),
            ("aborts", "SIGABRT, after it said: terminate called"),
            ("exits", "code 3"),
        ],
    )
    def test_a_crash(self, pools: Pools, does: str, how: str) -> None:
        pool = pools.poisonous(does)
        self.fails(pool, ModelCrashedError, f"^m:1: loading it ended its worker: .* by .*{how}$")

    def test_a_load_that_never_ends(self, pools: Pools) -> None:
        match = r"^m:1: not loaded in 0.5 s; see loading.deadline$"
        self.fails(pools.poisonous("hangs"), ModelLoadError, match, seconds=0.5)

    def test_a_load_that_takes_too_much_memory(self, pools: Pools) -> None:
        pool = pools.poisonous("grows", max_memory=256 * MIB)
        self.fails(pool, ModelLoadError, f"more than {256 * MIB} bytes of memory; see loading.max_memory$")

    def test_checks_that_are_nested_too_deeply_to_hand_over(self, pools: Pools) -> None:
        data: list[object] = []
        for _ in range(2000):
            data = [data]
        self.fails(pools.poisonous("good", Check(data, None)), ModelLoadError, "nested too deeply")

    def test_a_process_that_does_not_start(
        self, pools: Pools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        python = tmp_path / "python3"
        python.write_text("#!/nowhere\n")
        python.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(python))
        self.fails(
            pools.deadly(), ModelLoadError, "^m:1: no worker can be started: No such file or directory$"
        )

    def test_an_opening_that_nobody_needs_any_more(self, pools: Pools) -> None:
        async def run() -> None:
            opening = asyncio.create_task(pools.poisonous("hangs", workers=2).open(SECONDS))
            await until(lambda: len(children_with("udfs.offload.worker_process")) == 2, "the workers")
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening

        asyncio.run(run())
        assert children_with("udfs.offload.worker_process") == []


class TestNothingIsLeft:
    def test_of_a_pool_that_was_closed(
        self, pools: Pools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        me = psutil.Process()
        before, files = set(me.children()), open_files()
        scored(pools.deadly(workers=2), 1)
        assert set(me.children()) <= before
        assert list(temporary.iterdir()) == []
        wait_until(lambda: not open_files() - files, what="the end of what it had open")

    def test_of_what_a_model_started(self, pools: Pools) -> None:
        [pid] = scored(pools.deadly(), "start a child")
        assert isinstance(pid, int)
        wait_until(lambda: is_gone(pid), what="the end of the child")

    def test_of_a_batch_that_was_being_scored(self, pools: Pools, tmp_path: Path) -> None:
        told = tmp_path / "told"

        async def run() -> tuple[int, OffloadError]:
            pool = pools.deadly()
            await pool.open(SECONDS)
            scoring = asyncio.create_task(refused(score(pool, {"tell and hang": str(told)})))
            await until(told.exists, "the batch")
            await pool.close()
            return int(told.read_text()), await scoring

        pid, error = asyncio.run(run())
        assert is_gone(pid)
        assert error.fault is Fault.PASSING
