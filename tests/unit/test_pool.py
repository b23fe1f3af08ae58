"""What stays loaded: within bounds, the least recently used out first, never what must stay."""

from collections.abc import Sequence

import msgspec
import pytest

from tests.loads import Clock
from udfs.engine import LoadedModel
from udfs.json_values import JsonValue
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.records import ModelId, ServedModel

GIB = 1024**3


class Scorer:
    closed = 0

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return []

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> LoadedModels:
    return LoadedModels(PoolBounds(versions=3, memory_bytes=10 * GIB, idle=60), clock)


def number(version: int) -> ModelId:
    return ModelId("m", version)


def add(pool: LoadedModels, version: int, memory_bytes: int = 0, kept: tuple[ModelId, ...] = ()) -> list[str]:
    model = LoadedModel(ServedModel("m", version, ""), Scorer(), msgspec.Raw(b"{}"), 1.0, ())
    return [str(closed) for closed in pool.add(number(version), model, memory_bytes, kept)]


def test_beyond_the_most_versions_the_least_recently_used_is_closed(pool: LoadedModels) -> None:
    for version in (1, 2, 3):
        assert add(pool, version) == []
    pool.use(number(1))

    assert add(pool, 4) == ["m:2"]
    assert [one.version for one in pool] == [3, 1, 4]


def test_beyond_the_memory_too(pool: LoadedModels) -> None:
    add(pool, 1, 6 * GIB)

    assert add(pool, 2, 6 * GIB) == ["m:1"]


def test_what_must_stay_stays_even_beyond_the_bounds(pool: LoadedModels) -> None:
    add(pool, 1, 6 * GIB)

    assert add(pool, 2, 6 * GIB, kept=(number(1),)) == []


def test_one_that_is_larger_than_the_bound_is_kept_alone(pool: LoadedModels) -> None:
    add(pool, 1)

    assert add(pool, 2, 20 * GIB) == ["m:1"]
    assert number(2) in pool


def test_what_nothing_needs_is_closed_when_it_was_idle_for_long(pool: LoadedModels, clock: Clock) -> None:
    for version in (1, 2, 3):
        add(pool, version)
    clock.seconds = 59
    pool.use(number(2))
    clock.seconds = 61

    assert [str(one) for one in pool.close_idle(lambda: {number(3)})] == ["m:1"]


def test_what_is_needed_no_more_has_its_time_first(pool: LoadedModels, clock: Clock) -> None:
    add(pool, 1)
    clock.seconds = 100
    pool.close_idle(lambda: {number(1)})
    clock.seconds = 150

    assert pool.close_idle(lambda: ()) == []
    clock.seconds = 200
    assert [str(one) for one in pool.close_idle(lambda: ())] == ["m:1"]


def test_a_scorer_is_closed_once(pool: LoadedModels) -> None:
    add(pool, 1)
    model = pool.use(number(1))
    assert model is not None

    pool.close()
    pool.close()

    assert isinstance(model.scorer, Scorer)
    assert model.scorer.closed == 1
