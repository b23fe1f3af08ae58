"""Worker processes are killed while they score: each event still ends once, and none outlives its job."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.cluster.models import iris_onnx
from tests.far_model import data as iris
from tests.heavy_model import heavy
from tests.leftovers import children_with
from tests.offload_stand import KEYS, Ended, OffloadStand
from tests.waiting import wait_until
from udfs.json_values import JsonValue

FIELDS = ("a", "b")
ROUNDS = 100
"""A thousand events take half a second."""
DEADLINE = 120
"""Of a batch: workers take what others leave of the processor."""
NEAR = range(100_000, 100_100)
"""Events of a model that is scored in the subtask itself."""


def data(number: int) -> JsonValue:
    return iris(number) if number in NEAR else {"a": number, "b": 1}


def right(ended: Sequence[Ended]) -> bool:
    return [one.outputs for one in ended] == [{"sum": [one.number + 1]} for one in ended]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[OffloadStand]:
    with OffloadStand(tmp_path, [], data) as made:
        yield made


def workers() -> list[psutil.Process]:
    """Those of this process, also of earlier stands."""
    return children_with("udfs.offload.worker_process")


def busy_workers(stand: OffloadStand, count: int) -> list[psutil.Process]:
    """Have all workers stop where they are, send them events, and wait until each has a batch."""
    stopped = workers()
    for one in stopped:
        one.suspend()
    stand.send(range(count))
    wait_until(lambda: stand.count("far", "in_flight") == len(stopped), what="a batch for each worker")
    return stopped


def test_events_of_a_worker_that_is_killed_are_scored_by_the_next(stand: OffloadStand) -> None:
    stand.publish(heavy("far", FIELDS, ROUNDS, deadline=DEADLINE))
    [worker] = busy_workers(stand, 1000)

    worker.kill()

    assert right(stand.outcomes(range(1000)))
    assert stand.count("far", "failures") > 0
    assert worker not in workers()


def test_one_of_two_workers_is_killed_and_keys_keep_their_order(stand: OffloadStand) -> None:
    stand.publish(heavy("far", FIELDS, ROUNDS, workers=2, max_batch=200, deadline=DEADLINE))
    killed, other = busy_workers(stand, 2000)

    killed.kill()
    other.resume()

    assert right(stand.outcomes(range(2000)))
    for key in range(KEYS):
        left = [one.number for one in stand.ended if one.number % KEYS == key]
        assert left == sorted(left)
    wait_until(lambda: len(workers()) == 2, what="another worker")


def test_busy_workers_slow_no_local_model(stand: OffloadStand) -> None:
    stand.publish(iris_onnx("near", 1))
    stand.publish(heavy("far", FIELDS, ROUNDS, deadline=DEADLINE))
    [worker] = busy_workers(stand, 3000)

    stand.send(NEAR, "near")

    stand.outcomes(NEAR)
    assert len(stand.in_flight) == 3000
    worker.resume()
    assert right(stand.outcomes(range(3000)))


def test_events_at_workers_are_scored_after_a_restart_and_the_workers_are_gone(stand: OffloadStand) -> None:
    stand.publish(heavy("far", FIELDS, ROUNDS, deadline=DEADLINE))
    before = busy_workers(stand, 2000)
    stand.checkpoint()

    with stand.crash() as after:
        assert not any(one in before for one in workers())
        assert right(after.outcomes(range(2000)))
    assert workers() == []
