"""A real MLServer behind a proxy that does what networks do: each event still ends once, and only its own
model's events are slowed down."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import model_servers
from devtools.model_servers import InferenceServer
from tests.cluster.models import iris_onnx
from tests.far_model import BAD, Far, data
from tests.faults import Cut, Delay, Fault, Garbage, Hang, Pass, Refuse, Reset, Storm
from tests.offload_stand import OffloadStand
from udfs.json_values import JsonValue
from udfs.offload.breaker import FAULTS_IN_A_ROW, BreakerState

NEAR = iris_onnx("near", 1)
"""Scored in the subtask itself."""
PATIENT: dict[str, JsonValue] = {"attempts": 100, "deadline": 15}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


@pytest.fixture(params=["grpc"])
def far(request: pytest.FixtureRequest, server: InferenceServer) -> Iterator[Far]:
    with Far.before(server, request.param) as made:
        yield made


@pytest.fixture
def stand(far: Far, tmp_path: Path) -> Iterator[OffloadStand]:
    with OffloadStand(tmp_path, far.places, data) as made:
        yield made


over_both = pytest.mark.parametrize("far", ["grpc", "http"], indirect=True)
over_http = pytest.mark.parametrize("far", ["http"], indirect=True)


@over_both
def test_what_is_not_answered_in_time_is_a_dead_letter_that_says_so(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(deadline=0.3))
    far.proxy.fault = Delay(30)

    stand.send(range(20))

    for one in stand.outcomes(range(20)):
        assert one.model == "far:1"
        assert one.error.startswith("offload: ")
        assert far.url in one.error
        assert "0.3 s" in one.error


def is_open(stand: OffloadStand) -> bool:
    return stand.count("far", "breaker_state") == BreakerState.OPEN


TROUBLES: list[tuple[str, Fault]] = [
    ("grpc", Refuse()),
    ("grpc", Reset()),
    ("grpc", Reset(after_bytes=20)),
    ("grpc", Cut()),
    ("grpc", Garbage()),
    ("http", Refuse()),
    ("http", Reset()),
    ("http", Reset(after_bytes=20)),
    ("http", Cut()),
    ("http", Garbage()),
    ("http", Storm(503)),
    ("http", Storm(429)),
]


@pytest.mark.parametrize(("far", "fault"), TROUBLES, indirect=["far"], ids=str)
def test_what_passes_in_time_costs_no_prediction(far: Far, stand: OffloadStand, fault: Fault) -> None:
    stand.publish(far.model(**PATIENT))
    far.proxy.fault = fault
    stand.send(range(20))
    stand.until(lambda: stand.count("far", "failures") > 0, "a fault")

    far.proxy.fault = Pass()

    assert far.predicts(stand.outcomes(range(20)))
    assert stand.count("far", "retries") > 0


@over_both
def test_a_server_that_is_down_is_left_alone_and_found_when_it_is_back(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(attempts=1))
    far.server.kill()
    try:
        # Some probes later it is left alone for seconds, in which nobody asks, however slow this machine is.
        sent = stand.send_until(
            lambda: is_open(stand) and stand.count("far", "requests") >= FAULTS_IN_A_ROW + 2
        )
        asked, started = stand.count("far", "requests"), time.monotonic()
        stand.send(range(sent, sent + 100), key=b"of nobody before")
        assert all(f"{far.url} was not asked" in one.error for one in stand.outcomes(range(sent, sent + 100)))
        assert time.monotonic() - started < 5
        assert stand.count("far", "requests") == asked
    finally:
        far.server.restart()
    stand.send_until(lambda: stand.ended[-1].outputs is not None)

    assert stand.count("far", "breaker_state") == BreakerState.CLOSED
    assert stand.count("far", "breaker_openings") == 1


def test_a_new_version_on_a_server_that_is_back_is_not_held_up_by_the_past(
    far: Far, stand: OffloadStand
) -> None:
    stand.publish(far.model(attempts=1))
    far.proxy.fault = Refuse()
    sent = stand.send_until(lambda: is_open(stand))

    far.proxy.fault = Pass()
    stand.publish(far.model(2))
    stand.send(range(sent, sent + 100))

    assert far.predicts(stand.outcomes(range(sent, sent + 100)), "far:2")


def test_a_server_that_hangs_slows_no_other_and_no_local_model(far: Far, stand: OffloadStand) -> None:
    stand.publish(NEAR)
    stand.publish(far.beside())
    stand.publish(far.model(deadline=30))
    far.proxy.fault = Hang()
    names = ("far", "near", "other")
    started = time.monotonic()

    stand.send_to([(number, names[number % 3]) for number in range(300)], key=b"one for all")

    assert {one.model for one in stand.outcomes([n for n in range(300) if n % 3])} == {"near:1", "other:1"}
    assert time.monotonic() - started < 10
    assert stand.in_flight == {*range(0, 300, 3)}


def test_the_fallback_answers_when_the_deadline_passes_and_its_prediction_says_so(
    far: Far, stand: OffloadStand
) -> None:
    stand.publish(NEAR)
    stand.publish(far.model(deadline=0.3, fallback="near:1"))
    far.proxy.fault = Hang()

    stand.send(range(20))

    assert {one.model for one in stand.outcomes(range(20))} == {"near:1"}
    assert all(one.outputs for one in stand.ended)


FULL: dict[str, JsonValue] = {
    "deadline": 0.3,
    "attempts": 1,
    "in_flight": 1,
    "max_batch": 1,
    "max_waiting": 4,
}
"""Of a lane with room for five events at most: one that was sent, four that wait."""


def fill(stand: OffloadStand) -> None:
    """Send 20 events, of which the first is asked for before the others come."""
    stand.send([0], key=None)
    stand.until(lambda: stand.count("far", "requests") == 1, "the first request")
    stand.send(range(1, 20), key=None)


def test_what_a_lane_has_no_room_for_is_a_dead_letter(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(**{**FULL, "deadline": 60}, on_overload="dead-letter"))
    far.proxy.fault = Delay(2)

    fill(stand)

    refused = [one.number for one in stand.outcomes(range(20)) if "max_waiting: 4" in one.error]
    assert refused == [*range(5, 20)]


def test_what_a_lane_has_no_room_for_is_scored_by_the_fallback(far: Far, stand: OffloadStand) -> None:
    stand.publish(NEAR)
    # A request has room for more than it holds: where all are full, the fallback's events would wait as well.
    roomy: dict[str, JsonValue] = {**FULL, "deadline": 60, "max_batch": 100}
    stand.publish(far.model(**roomy, on_overload="fallback", fallback="near:1"))
    far.proxy.fault = Delay(3)

    fill(stand)

    assert [one.model for one in stand.outcomes(range(20))] == ["far:1"] * 5 + ["near:1"] * 15


def test_what_a_lane_has_no_room_for_waits_and_with_it_the_stream(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(**{**FULL, "deadline": 15}, on_overload="backpressure"))
    far.proxy.fault = Delay(0.02)

    for number in range(40):
        stand.send([number])
        assert len(stand.in_flight) <= 5

    assert far.predicts(stand.outcomes(range(40)))


def test_a_server_that_hangs_has_no_more_events_than_its_lane_has_room_for(
    far: Far, stand: OffloadStand
) -> None:
    bounds: dict[str, JsonValue] = {"in_flight": 2, "max_batch": 10, "max_waiting": 100}
    stand.publish(far.model(**bounds, deadline=30, on_overload="dead-letter", ordered=False))
    far.proxy.fault = Hang()

    for start in range(0, 2000, 100):
        stand.send(range(start, start + 100))
        stand.beat()

    assert 100 <= len(stand.in_flight) <= 100 + 2 * 10


@over_both
def test_an_event_that_the_server_refuses_fails_alone(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model())
    numbers = [*range(50), BAD, *range(50, 100)]

    stand.send(numbers)
    *others, bad = stand.outcomes([*range(100), BAD])

    assert far.predicts(others)
    assert bad.model == "far:1"
    assert bad.error.startswith("offload: ")


@over_http
def test_events_of_a_key_keep_their_order_where_answers_do_not(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(max_batch=1, **PATIENT))
    far.proxy.fault = Storm(503, retry_after="1")
    stand.send([0], key=b"a")
    stand.until(lambda: stand.count("far", "failures") == 1, "a fault")
    far.proxy.fault = Pass()

    stand.send(range(1, 10), key=b"a")
    stand.send(range(10, 20), key=b"b")

    stand.outcomes(range(20))
    left = [one.number for one in stand.ended]
    assert [number for number in left if number < 10] == [*range(10)]
    assert [number for number in left if number >= 10] == [*range(10, 20)]
    assert left[-10:] == [*range(10)]
    assert far.predicts(stand.ended)


@over_http
def test_events_of_an_unordered_model_leave_when_they_are_answered(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(max_batch=1, ordered=False, **PATIENT))
    far.proxy.fault = Storm(503, retry_after="1")
    stand.send([0], key=b"a")
    stand.until(lambda: stand.count("far", "failures") == 1, "a fault")
    far.proxy.fault = Pass()

    stand.send(range(1, 10), key=b"a")

    stand.outcomes(range(10))
    assert stand.ended[-1].number == 0


def test_requests_are_counted_with_what_became_of_them(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(attempts=1, deadline=3))
    stand.send(range(3))
    stand.outcomes(range(3))
    far.proxy.fault = Hang()
    stand.send([3])
    stand.outcomes([3])

    names = ("requests", "timeouts", "failures", "records", "in_flight", "records_in_batches_to_10")
    assert {name: stand.count("far", name) for name in names} == {
        "requests": 2,
        "timeouts": 1,
        "failures": 1,
        "records": 4,
        "in_flight": 0,
        "records_in_batches_to_10": 3,
    }
