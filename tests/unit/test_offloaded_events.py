"""What a subtask promises of events that are scored beside the stream."""

import json

import msgspec
import pytest

from tests.offloading import E, LaneByHand, OffloadingBench, unreachable
from tests.unit.test_subtask import publish
from udfs.batches import BatchKind, Envelope, EventBatch, decode_outcomes, encode_envelope
from udfs.errors import Fault, OffloadError, ScoreError
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.updates import ActivateModel, RetiredModel, RetireModel
from udfs.offload import in_flight
from udfs.offload.lane_settings import LaneSettings, Overload
from udfs.records import ModelId

FALLBACK = LaneSettings(fallback=ModelId("m", 1))


@pytest.fixture
def bench() -> OffloadingBench:
    return OffloadingBench()


@pytest.fixture
def lane(bench: OffloadingBench) -> LaneByHand:
    bench.loaded(1)
    return bench.offload()


def far(number: int, key: bytes | None = b"key") -> E:
    return E(number, key=key, model="far")


def in_state(bench: OffloadingBench) -> list[int]:
    """The ids of the events that the state has."""
    return [json.loads(event.value)["id"] for event in HeldEvents.decode(bench.state.held)]


def test_an_answer_leaves_as_a_prediction_of_the_version_that_was_asked(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    assert bench.outcomes(far(1)) == []
    lane.answer()
    assert bench.outcomes() == [(1, "far:1")]


def test_events_of_other_models_pass_those_in_flight(bench: OffloadingBench, lane: LaneByHand) -> None:
    assert bench.outcomes(far(1), E(2)) == [(2, "m:1")]
    assert bench.outcomes(E(3)) == [(3, "m:1")]


def test_what_leaves_a_batch_at_once_keeps_its_order(bench: OffloadingBench, lane: LaneByHand) -> None:
    (numbers, _) = zip(
        *bench.outcomes(E(1), far(2), E(3), E(4), E(5, model="m:9"), E(6), far(7), E(8)), strict=True
    )
    assert numbers == (1, 3, 4, 6, 8)
    assert [ask.data for ask in lane.asks] == [2, 7]


def test_a_prediction_of_a_batch_leaves_with_the_record_of_its_own_event(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    records = [
        (
            json.dumps({"id": number, "model": model, "data": number}).encode(),
            encode_envelope(Envelope("events", 0, number, 0, b"k" * number, False, ())),
        )
        for number, model in enumerate(["m", "far", "m", "m", "far", "m"])
    ]
    turn = bench.turn(BatchKind.EVENTS, records)
    assert turn.outcomes is not None
    left = {json.loads(one.value)["id"]: one.envelope for one in decode_outcomes(turn.outcomes)}
    assert left == {number: records[number][1] for number in (0, 2, 3, 5)}


def test_of_events_whose_model_nobody_waits_for_nobody_asks_the_key(
    bench: OffloadingBench, lane: LaneByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.outcomes(far(1))
    asked: list[int] = []
    key = EventBatch.key

    def asking(batch: EventBatch, index: int) -> bytes | None:
        asked.append(index)
        return key(batch, index)

    monkeypatch.setattr(EventBatch, "key", asking)
    assert bench.outcomes(E(2), far(3), E(4)) == [(2, "m:1"), (4, "m:1")]
    assert asked == []


def test_a_prediction_stands_behind_an_event_of_its_key_in_the_same_batch(bench: OffloadingBench) -> None:
    lane = bench.offload(1)
    bench.offloaded.discard(ModelId("far", 2))
    bench.update(msgspec.structs.replace(publish(2), model=ModelId("far", 2), effective_from=100))
    bench.loader.finish()
    bench.events()
    early, late = E(1, 50, b"a", "far"), E(2, 150, b"a", "far")
    assert bench.outcomes(early, late, E(3, 151, b"b", "far")) == [(3, "far:2")]
    lane.answer()
    assert bench.outcomes() == [(1, "far:1"), (2, "far:2")]


def test_predictions_of_one_key_keep_the_order_of_its_events(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    assert bench.outcomes() == []
    lane.answer(1)
    assert bench.outcomes() == [(1, "far:1"), (2, "far:1")]


def test_predictions_of_other_keys_do_not_wait(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.outcomes(far(1, b"a"), far(2, b"b"), far(3, None))
    lane.answer(2)
    assert bench.outcomes() == [(2, "far:1")]
    lane.answer(3)
    assert bench.outcomes() == [(3, "far:1")]


def test_predictions_leave_as_they_come_where_no_order_is_asked_for() -> None:
    bench = OffloadingBench(LaneSettings(ordered=False))
    lane = bench.offload()
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    assert bench.outcomes() == [(2, "far:1")]


def test_order_is_kept_while_a_model_moves_from_offloaded_to_inline(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1))
    bench.offload(2, execution="inline")
    assert bench.outcomes(far(2), far(3, b"other")) == [(3, "far:2")]
    lane.answer(1)
    assert bench.outcomes() == [(1, "far:1"), (2, "far:2")]


def test_order_is_kept_while_a_model_moves_from_inline_to_offloaded(bench: OffloadingBench) -> None:
    bench.offload(1, execution="inline")
    assert bench.outcomes(far(1)) == [(1, "far:1")]
    lane = bench.offload(2)
    bench.outcomes(far(2))
    lane.answer()
    assert bench.outcomes() == [(2, "far:2")]


def test_what_was_asked_of_a_version_that_is_retired_is_still_answered(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1))
    bench.offload(2)
    lane.answer()
    assert bench.outcomes() == [(1, "far:1")]


def test_a_record_that_can_not_be_scored_is_a_dead_letter_in_its_place(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    lane.answer(1, result=ScoreError("too short"))
    assert bench.outcomes() == [(1, "score: too short"), (2, "far:1")]


def test_a_request_that_fails_makes_dead_letters_of_stage_offload(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1))
    lane.answer(result=unreachable("connection refused"))
    assert bench.outcomes() == [(1, "offload: connection refused")]


def test_outputs_that_are_no_json_are_a_dead_letter(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.outcomes(far(1))
    lane.answer(result="\ud800")
    ((number, said),) = bench.outcomes()
    assert (number, said.partition(":")[0]) == (1, "score")


def test_an_answer_too_large_for_its_topic_is_a_dead_letter(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.outcomes(far(1))
    lane.answer(result="x" * 20_000)
    ((number, said),) = bench.outcomes()
    assert (number, said.partition(":")[0]) == (1, "encode")


def test_events_in_flight_are_in_the_state_until_they_have_left(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), far(2, b"other"))
    assert in_state(bench) == [1, 2]
    lane.answer(1)
    bench.outcomes()
    assert in_state(bench) == [2]


def test_an_answer_that_waits_behind_another_is_in_the_state_too(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    bench.outcomes()
    assert in_state(bench) == [1, 2]


def test_events_in_flight_are_scored_again_after_a_restart_in_their_order(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    bench.outcomes()
    again = OffloadingBench(before=bench)
    again.loader.finish()
    assert again.outcomes() == []
    (lane_again,) = again.lanes.values()
    assert [ask.data for ask in lane_again.asks] == [1, 2]
    lane_again.answer()
    assert again.outcomes() == [(1, "far:1"), (2, "far:1")]
    assert in_state(again) == []


def test_events_in_flight_go_before_those_that_were_held_behind_them(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1), E(2, model="missing"))
    assert in_state(bench) == [1, 2]


def test_the_end_of_the_input_waits_for_every_answer(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.outcomes(far(1), far(2))
    lane.answer()
    assert bench.outcomes(kind=BatchKind.END_OF_INPUT) == [(1, "far:1"), (2, "far:1")]


def test_a_full_lane_keeps_the_stream_back_by_default() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=2))
    lane = bench.offload()
    lane.answer_when_full = lane.answer
    outcomes = bench.outcomes(*map(far, range(1, 6))) + bench.outcomes()
    assert outcomes == [(number, "far:1") for number in range(1, 5)]
    assert [ask.data for ask in lane.asks] == [5]


def test_a_full_lane_makes_dead_letters_where_that_was_chosen() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=1, on_overload="dead-letter"))
    bench.offload()
    bench.outcomes(far(1))
    ((number, said),) = bench.outcomes(far(2))
    assert number == 2
    assert said.startswith("offload: far:1: too many events wait for it already (max_waiting: 1)")


def test_events_of_a_server_that_is_left_alone_are_dead_letters_at_once(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.loaded(1)
    lane.refusal = OffloadError("the server was not asked", Fault.PASSING)

    outcomes = bench.outcomes(far(1), E(2), far(3))

    assert sorted(outcomes) == [
        (1, "offload: the server was not asked"),
        (2, "m:1"),
        (3, "offload: the server was not asked"),
    ]
    assert (lane.asks, lane.refused, in_state(bench)) == ([], 2, [])


def test_a_fallback_answers_for_a_server_that_is_left_alone() -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    lane = bench.offload()
    lane.refusal = OffloadError("the server was not asked", Fault.PASSING)

    bench.outcomes(far(1))
    lane.answer(result=lane.refusal)

    assert bench.outcomes() == [(1, "m:1")]


def test_events_of_one_batch_find_the_room_that_there_is_and_no_more() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=3, on_overload="dead-letter"))
    lane = bench.offload()
    dead = bench.outcomes(*(far(number, b"%d" % number) for number in range(1, 8)))
    assert [number for number, _ in dead] == [4, 5, 6, 7]
    assert [ask.data for ask in lane.asks] == [1, 2, 3]


def test_another_version_answers_for_a_full_lane_where_that_was_chosen() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=1, on_overload="fallback", fallback=ModelId("m", 1)))
    bench.loaded(1)
    bench.offload()
    bench.outcomes(far(1, b"a"))
    bench.outcomes(far(2, b"b"))
    assert bench.outcomes() == [(2, "m:1")]


def test_dead_letters_of_a_full_lane_are_not_left_to_the_fallback() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=1, on_overload="dead-letter", fallback=ModelId("m", 1)))
    bench.loaded(1)
    bench.offload()
    ((number, said),) = bench.outcomes(far(1), far(2))
    assert number == 2
    assert said.startswith("offload: far:1: too many events wait")


def test_answers_behind_one_that_does_not_come_are_bounded_too() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=2, in_flight=1, max_batch=2, on_overload="dead-letter"))
    lane = bench.offload()
    outcomes = []
    for number in range(1, 6):
        outcomes += bench.outcomes(far(number))
        lane.answer(*range(2, 6))
    assert in_state(bench) == [1, 2, 3, 4]
    assert [number for number, _ in outcomes] == [5]


def test_answers_behind_one_that_does_not_come_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "MOST_IN_FLIGHT_BYTES", 100)
    bench = OffloadingBench(LaneSettings(on_overload="dead-letter"))
    lane = bench.offload()
    outcomes = bench.outcomes(far(1), far(2))
    lane.answer(2)
    outcomes += bench.outcomes(*map(far, range(3, 10)))
    assert in_state(bench) == [1, 2]
    assert [number for number, _ in outcomes] == [3, 4, 5, 6, 7, 8, 9]


def test_one_event_goes_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "MOST_IN_FLIGHT_BYTES", 1)
    bench = OffloadingBench(LaneSettings(on_overload="dead-letter"))
    lane = bench.offload()
    bench.outcomes(far(1))
    assert [ask.data for ask in lane.asks] == [1]


def test_what_a_fallback_scores_behind_one_that_does_not_come_is_bounded_by_waiting() -> None:
    few = LaneSettings(
        max_waiting=2, in_flight=1, max_batch=2, on_overload="fallback", fallback=ModelId("m", 1)
    )
    bench = OffloadingBench(few)
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(far(1), far(2), far(3), far(4))
    bench.mailbox.when_waited = lane.answer
    outcomes = bench.outcomes(far(5))
    lane.answer()
    outcomes += bench.outcomes()
    assert [number for number, _ in outcomes] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("on_overload", ["backpressure", "dead-letter", "fallback"])
def test_what_was_in_flight_before_a_restart_waits_for_room_whatever_was_chosen(
    on_overload: Overload,
) -> None:
    few = LaneSettings(max_waiting=2, on_overload=on_overload, fallback=ModelId("m", 1))
    bench = OffloadingBench(LaneSettings())
    bench.loaded(1)
    bench.offload()
    bench.outcomes(*map(far, range(1, 7)))
    again = OffloadingBench(few, before=bench)
    again.answers_when_full = True
    again.loader.finish()
    outcomes = again.outcomes()
    again.lanes[ModelId("far", 1)].answer()
    outcomes += again.outcomes()
    assert outcomes == [(number, "far:1") for number in range(1, 7)]


def test_events_that_wait_for_room_of_a_version_that_ends_go_to_the_next() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=1))
    lane = bench.offload()
    bench.offload(2, activate=False)

    def end() -> None:
        lane.answer()
        bench.subtask.on_update(*bench.record(ActivateModel(ModelId("far", 2))))
        bench.subtask.on_update(*bench.record(RetireModel(RetiredModel("far", 1))))

    bench.mailbox.when_waited = end
    outcomes = bench.outcomes(far(1), far(2))
    bench.answer()
    assert outcomes + bench.outcomes() == [(1, "far:1"), (2, "far:2")]


def test_events_of_a_server_that_is_left_alone_stand_behind_those_of_their_key(
    bench: OffloadingBench, lane: LaneByHand
) -> None:
    bench.outcomes(far(1))
    lane.refusal = OffloadError("the server was not asked", Fault.PASSING)
    bench.outcomes(far(2))
    lane.answer(1)
    assert bench.outcomes() == [(1, "far:1")]
    lane.answer(2, result=lane.refusal)
    assert bench.outcomes() == [(2, "offload: the server was not asked")]


def test_a_version_that_ends_keeps_nobody_who_waits_for_room_of_another() -> None:
    bench = OffloadingBench(LaneSettings(max_waiting=1))
    bench.offloaded.add(ModelId("m", 1))
    bench.loaded(1)
    ending = bench.offload()
    bench.offload(2, activate=False)

    def end() -> None:
        if not ending.is_ending:
            bench.subtask.on_update(*bench.record(ActivateModel(ModelId("far", 2))))
            bench.subtask.on_update(*bench.record(RetireModel(RetiredModel("far", 1))))
        bench.answer()

    bench.mailbox.when_waited = end
    outcomes = bench.outcomes(E(1), far(2), E(3), far(4), E(5), far(6))
    end()
    outcomes += bench.outcomes()
    assert sorted(outcomes) == [
        (1, "m:1"),
        (2, "far:1"),
        (3, "m:1"),
        (4, "far:2"),
        (5, "m:1"),
        (6, "far:2"),
    ]


def test_events_wait_for_a_fallback_that_is_being_loaded() -> None:
    bench = OffloadingBench(FALLBACK)
    lane = bench.offload()
    bench.outcomes(far(1))
    bench.publish(1)
    lane.answer(result=unreachable())
    assert bench.outcomes() == []
    assert in_state(bench) == [1]
    bench.loader.finish()
    assert bench.outcomes() == [(1, "m:1")]


def test_a_fallback_is_loaded_with_what_it_stands_in_for() -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    bench.loaded(2)
    bench.loaded(3)
    bench.pool_clock.seconds += 3600
    bench.events()
    assert ModelId("m", 1) not in bench.pool
    bench.offload()
    bench.loader.finish()
    bench.events()
    bench.pool_clock.seconds += 3600
    bench.events()
    assert ModelId("m", 1) in bench.pool


def test_the_end_of_the_input_waits_for_a_fallback_that_is_being_loaded() -> None:
    bench = OffloadingBench(FALLBACK)
    lane = bench.offload()
    bench.outcomes(far(1))
    bench.publish(1)
    lane.answer(result=unreachable())
    bench.loader.finish_when_waited_for = True
    assert bench.outcomes(kind=BatchKind.END_OF_INPUT) == [(1, "m:1")]


def test_what_a_fallback_scored_is_counted_for_it() -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(far(1), far(2))
    lane.answer(1)
    lane.answer(2, result=unreachable())
    bench.clock.seconds += 1
    bench.outcomes()
    bench.clock.seconds += 1
    bench.outcomes()
    last = {str(status.model): status.scored for status in bench.statuses}
    assert (last["far:1"], last["m:1"]) == (1, 1)


@pytest.mark.parametrize("fault", [Fault.PASSING, Fault.LASTING])
def test_the_fallback_answers_for_a_server_that_does_not(fault: Fault) -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(far(1))
    lane.answer(result=OffloadError("gone", fault))
    assert bench.outcomes() == [(1, "m:1")]


def test_a_fallback_keeps_its_place_in_the_order() -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(far(1), far(2))
    lane.answer(2)
    lane.answer(1, result=unreachable())
    assert bench.outcomes() == [(1, "m:1"), (2, "far:1")]


@pytest.mark.parametrize("error", [ScoreError("bad"), OffloadError("refused", Fault.RECORD)])
def test_no_fallback_answers_for_a_record_that_is_refused(error: ScoreError | OffloadError) -> None:
    bench = OffloadingBench(FALLBACK)
    bench.loaded(1)
    lane = bench.offload()
    bench.outcomes(far(1))
    lane.answer(result=error)
    assert bench.outcomes() == [(1, f"{error.stage}: {error}")]


def test_a_fallback_that_is_missing_is_said_with_the_servers_fault() -> None:
    bench = OffloadingBench(FALLBACK)
    lane = bench.offload()
    bench.outcomes(far(1))
    lane.answer(result=unreachable("gone"))
    ((_, said),) = bench.outcomes()
    assert said.startswith("offload: gone; its fallback: ")


def test_a_fallback_that_is_offloaded_itself_does_not_answer() -> None:
    bench = OffloadingBench(LaneSettings(fallback=ModelId("far", 2)))
    lane = bench.offload()
    bench.offload(2, activate=False)
    bench.outcomes(far(1))
    lane.answer(result=unreachable("gone"))
    assert bench.outcomes() == [(1, "offload: gone; its fallback: far:2 is offloaded too")]


def test_the_trace_context_of_an_event_goes_with_it(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.send_traced(1, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert lane.asks[0].trace == (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)


def test_a_version_that_is_gone_closes_its_lane(bench: OffloadingBench, lane: LaneByHand) -> None:
    bench.offload(2)
    bench.retire_far(1)
    bench.events()
    assert lane.is_ending


def test_events_wait_for_an_offloaded_version_that_is_being_connected() -> None:
    bench = OffloadingBench(missing=MissingPolicies("dead-letter"))
    bench.connect_later()
    assert bench.outcomes(far(1)) == []
    bench.loader.finish()
    bench.outcomes()
    (lane,) = bench.lanes.values()
    assert [ask.data for ask in lane.asks] == [1]
