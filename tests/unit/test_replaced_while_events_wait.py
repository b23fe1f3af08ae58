"""A version is let go of while a batch waits for room: each of its events leaves once."""

import msgspec

from tests.offloading import E, OffloadingBench
from tests.unit.test_subtask import publish
from udfs.offload.lane_settings import LaneSettings
from udfs.records import ModelId


def far(number: int) -> E:
    return E(number, model="far")


class Replaced:
    """A version that is retired, and its lane let go of when the next is loaded: while a batch waits."""

    def __init__(self, *offloaded: ModelId, is_local_loaded: bool = True, max_events: int = 10_000) -> None:
        self.bench = OffloadingBench(LaneSettings(max_waiting=1), max_events=max_events)
        self.bench.offloaded |= {*offloaded, ModelId("far", 2)}
        if is_local_loaded:
            self.bench.loaded(1)
        self.bench.offload()
        self.bench.update(msgspec.structs.replace(publish(2), model=ModelId("far", 2)))
        self.bench.retire_far(1)

    def outcomes(self, *events: E) -> list[int]:
        """Send a batch, and give the ids of what came of it in the end.

        While it waits, ``m`` answers where it is offloaded, then the next version is loaded, then all answer.
        """
        self._waits = 0 if ModelId("m", 1) in self.bench.lanes else 1
        self.bench.mailbox.when_waited = self._waited
        left = self.bench.outcomes(*events)
        for _ in range(5):
            self.bench.answer()
            left += self.bench.outcomes()
        return sorted(number for number, _ in left)

    def _waited(self) -> None:
        self._waits += 1
        if self._waits == 1:
            self.bench.lanes[ModelId("m", 1)].answer()
        elif self._waits == 2:
            self.bench.loader.finish()
        else:
            self.bench.answer()


def test_local_predictions_between_events_that_are_asked_anew_leave_once() -> None:
    events = [E(number, model="m" if number % 2 else "far") for number in range(6)]
    assert Replaced().outcomes(*events) == [*range(6)]


def test_offloaded_events_of_another_model_between_events_that_are_asked_anew_leave_once() -> None:
    events = [far(0), far(1), E(2), far(3), far(4)]
    assert Replaced(ModelId("m", 1)).outcomes(*events) == [*range(5)]


def test_events_are_handed_over_before_the_stream_waits_for_room_among_those_that_are_held() -> None:
    replaced = Replaced(is_local_loaded=False, max_events=1)
    replaced.bench.publish(1)
    replaced.bench.loader.finish_when_waited_for = True
    assert replaced.outcomes(far(0), E(1, key=b"1"), E(2, key=b"2"), E(3, key=b"3")) == [*range(4)]
