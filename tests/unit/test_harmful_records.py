"""A record that ends or hangs the process that scores it is never scored where the job runs."""

from tests.offloading import E, OffloadingBench
from udfs.errors import Fault, OffloadError
from udfs.offload.lane_settings import LaneSettings
from udfs.records import ModelId


def test_no_fallback_answers_for_a_harmful_record() -> None:
    bench = OffloadingBench(LaneSettings(fallback=ModelId("m", 1)))
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(E(1, model="far"))
    lane.answer(result=OffloadError("a worker ended", Fault.HARMFUL))
    assert bench.outcomes() == [(1, "offload: a worker ended")]
