"""A job starts again with events in flight, or with their server away: each ends once, in its key's order."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import model_servers
from devtools.model_servers import InferenceServer
from tests.far_model import Far, data
from tests.faults import Hang, Pass, Refuse
from tests.offload_stand import KEYS, OffloadStand
from udfs.json_values import JsonValue

PATIENT: dict[str, JsonValue] = {"attempts": 100, "deadline": 60}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def far(request: pytest.FixtureRequest, server: InferenceServer) -> Iterator[Far]:
    with Far.before(server, request.param) as made:
        yield made


@pytest.fixture
def stand(far: Far, tmp_path: Path) -> Iterator[OffloadStand]:
    with OffloadStand(tmp_path, far.places, data) as made:
        yield made


def test_events_in_flight_at_a_checkpoint_are_scored_after_a_restart(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(max_batch=7, **PATIENT))
    stand.send(range(20))
    stand.outcomes(range(10))
    far.proxy.fault = Hang()
    stand.send(range(20, 60))
    stand.checkpoint()
    assert stand.in_flight
    stand.send(range(60, 80))
    far.proxy.fault = Pass()

    with stand.crash() as after:
        assert far.predicts(after.outcomes(range(80)))
        for key in range(KEYS):
            left = [one.number for one in after.ended if one.number % KEYS == key]
            assert left == [*range(key, 80, KEYS)]


def test_what_left_after_the_checkpoint_leaves_once_more(far: Far, stand: OffloadStand) -> None:
    """The transaction that it was written with is given up."""
    stand.publish(far.model(**PATIENT))
    stand.send(range(10))
    stand.checkpoint()
    stand.outcomes(range(10))
    stand.send(range(10, 20))
    stand.outcomes(range(20))

    with stand.crash() as after:
        assert far.predicts(after.outcomes(range(20)))


def test_a_server_that_is_away_at_a_restart_keeps_its_version(far: Far, stand: OffloadStand) -> None:
    published = far.model(deadline=8, attempts=100)
    stand.publish(published)
    stand.checkpoint()
    far.proxy.fault = Refuse()
    with stand.crash() as after:
        after.send(range(20))

        [note] = after.said_of(published.model, "active").notes
        assert note.startswith("could not be reached")
        assert far.url in note
        assert len(after.outcomes(range(20))) == 20
        far.proxy.fault = Pass()
        sent = after.send_until(lambda: after.ended[-1].outputs is not None)
        after.send(range(sent, sent + 20))
        assert far.predicts(after.outcomes(range(sent, sent + 20)))


def test_an_event_in_flight_at_two_restarts_leaves_once(far: Far, stand: OffloadStand) -> None:
    stand.publish(far.model(deadline=8))
    far.proxy.fault = Hang()
    stand.send(range(10))
    stand.checkpoint()
    between = stand.crash()
    between.until(lambda: between.count("far", "in_flight") > 0, "a request")
    between.checkpoint()
    far.proxy.fault = Pass()

    with between.crash() as after:
        assert far.predicts(after.outcomes(range(10)))
