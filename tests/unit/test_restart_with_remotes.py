"""A subtask that starts again from its state serves all its models, whatever becomes of their servers."""

from itertools import count

import pytest

from tests.restarts import (
    AWAY,
    DENIED,
    FAR,
    MakeBench,
    Servers,
    answered,
    far,
    finish,
    follow,
    last_status,
)
from tests.scripted_remote import Act, gives
from tests.subtasks import E
from tests.waiting import wait_until
from udfs.models.updates import Check
from udfs.records import ModelId


@pytest.mark.parametrize("fault", [AWAY, DENIED], ids=["away", "denied"])
def test_a_server_that_is_not_ready_at_a_restart_scores_when_it_is(
    make_bench: MakeBench, servers: Servers, fault: Act
) -> None:
    first = make_bench()
    first.loaded(1)
    follow(first, far())
    servers.opens = [fault] * 1000

    again = make_bench(first)

    assert again.events(E(1)) == [(1, 1)]
    assert last_status(again, FAR).status == "active"
    assert answered(again, E(2, model="far")) == 2
    servers.come_up()
    numbers = count(3)
    wait_until(lambda: isinstance(answered(again, E(next(numbers), model="far")), tuple), what="a prediction")


def test_a_version_fails_whose_check_differs_when_its_server_comes(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2, Check(1, {"scored": 1})))
    servers.opens = [DENIED] * 1000
    again = make_bench(first)
    assert last_status(again, ModelId("far", 2)).status == "active"

    servers.come_up(then=gives(0))
    assert answered(again, E(1, model="far")) == 1
    finish(again)

    status = last_status(again, ModelId("far", 2))
    assert status.status == "failed"
    assert "check 1 differs" in (status.cause or "")
    assert last_status(again, FAR).status == "active"


def test_a_version_that_connected_later_has_served_at_the_next_restart(
    make_bench: MakeBench, servers: Servers
) -> None:
    servers.opens = [AWAY] * 1000
    first = make_bench()
    follow(first, far())
    again = make_bench(first)
    servers.come_up()
    numbers = count(1)
    wait_until(lambda: isinstance(answered(again, E(next(numbers), model="far")), tuple), what="a prediction")
    again.events()
    servers.opens = [DENIED] * 1000

    assert last_status(make_bench(again), FAR).status == "active"


def test_a_server_may_be_away_at_two_restarts(make_bench: MakeBench, servers: Servers) -> None:
    bench = make_bench()
    follow(bench, far())
    follow(bench, far(2))
    servers.opens = [AWAY] * 1000

    for _ in range(2):
        bench = make_bench(bench)
        assert last_status(bench, ModelId("far", 2)).status == "active"


def test_a_version_that_came_while_the_job_was_down_has_served_at_the_next_restart(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    first.record(far(2))
    again = make_bench(first)
    assert last_status(again, ModelId("far", 2)).status == "active"
    again.serving.catalog = first.subtask.catalog  # the broadcast state is written with the next update
    servers.opens = [DENIED] * 1000

    assert last_status(make_bench(again), ModelId("far", 2)).status == "active"


def test_a_subtask_that_does_not_know_what_served_connects_later(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    first.state = first.state._replace(served_versions=[])
    servers.opens = [AWAY] * 1000

    assert last_status(make_bench(first), FAR).status == "active"


def test_what_served_in_several_subtasks_goes_on_in_the_one_that_follows_them(
    make_bench: MakeBench, servers: Servers
) -> None:
    one, other = make_bench(), make_bench()
    follow(one, far())
    other.loaded(1)
    servers.opens = [DENIED] * 1000

    merged = make_bench(one, batch=False)
    merged.subtask.adopt(*other.state)
    merged.events()
    finish(merged)

    assert last_status(merged, FAR).status == "active"
