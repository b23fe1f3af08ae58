"""Which versions must reach their servers, so that they displace none that works, and which need not."""

import msgspec
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
    last_of_far,
    last_status,
)
from tests.scripted_remote import Act, gives
from tests.subtasks import E
from udfs.models.catalog import Catalog
from udfs.models.updates import ActivateModel, Check, RetiredModel, RetireModel
from udfs.records import ModelId
from udfs.subtask import State


def test_a_version_that_was_published_while_the_job_was_down_must_reach_its_server(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    first.record(far(2))
    servers.opens = [DENIED] * 1000

    again = make_bench(first)

    assert last_status(again, ModelId("far", 2)).status == "failed"
    finish(again)
    assert last_status(again, FAR).status == "active"


def test_a_version_that_is_published_to_a_running_job_must_reach_its_server(
    make_bench: MakeBench, servers: Servers
) -> None:
    servers.opens = [DENIED] * 1000
    bench = make_bench()

    follow(bench, far())

    assert last_status(bench, FAR).status == "failed"


def test_a_version_that_failed_and_is_published_again_must_reach_its_server(
    make_bench: MakeBench, servers: Servers
) -> None:
    servers.opens = [AWAY] * 1000
    first = make_bench()
    first.record(far(1, Check(1, {"scored": 1})))
    again = make_bench(first)
    servers.come_up(then=gives(0))
    answered(again, E(1, model="far"))
    again.events()
    assert last_status(again, FAR).status == "failed"

    servers.opens = [DENIED] * 1000
    follow(again, far(1, Check(1, {"scored": 1})))

    status = last_status(again, FAR)
    assert status.status == "failed"
    assert "no such model" in (status.cause or "")


def test_a_version_that_is_published_before_the_first_batch_must_reach_its_server(
    make_bench: MakeBench, servers: Servers
) -> None:
    servers.opens = [DENIED] * 1000
    bench = make_bench(batch=False)

    bench.update(far())
    bench.events()
    finish(bench)

    assert last_status(bench, FAR).status == "failed"


@pytest.mark.parametrize("fault", [AWAY, DENIED], ids=["away", "denied"])
@pytest.mark.parametrize("is_local", [False, True], ids=["remote", "local"])
def test_a_version_that_never_worked_displaces_none_that_served(
    make_bench: MakeBench, servers: Servers, fault: Act, *, is_local: bool
) -> None:
    bench = make_bench()
    if is_local:
        bench.loaded(1, name="far")
    else:
        follow(bench, far())
    servers.opens = [fault] * 1000
    follow(bench, far(2))
    assert last_of_far(bench) == ("active", "failed")

    for _ in range(2):
        bench = make_bench(bench)
        assert last_of_far(bench) == ("active", "failed")


def test_a_version_whose_check_differed_displaces_none_that_served(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2, Check(1, {"scored": 0})))
    assert last_of_far(first) == ("active", "failed")
    servers.opens = [AWAY] * 1000

    assert last_of_far(make_bench(first)) == ("active", "failed")


def test_a_version_that_failed_when_its_server_came_displaces_none_that_served(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2, Check(1, {"scored": 1})))
    servers.opens = [DENIED] * 1000
    again = make_bench(first)
    servers.come_up(then=gives(0))
    answered(again, E(1, model="far"))
    finish(again)
    assert last_of_far(again) == ("active", "failed")

    assert last_of_far(make_bench(again)) == ("active", "failed")


def test_a_version_that_never_worked_serves_when_its_server_is_there_at_a_restart(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    servers.opens = [DENIED] * 1000
    follow(first, far(2))
    servers.opens = []

    again = make_bench(first)

    assert last_status(again, ModelId("far", 2)).status == "active"
    servers.opens = [DENIED] * 1000
    assert last_status(make_bench(again), ModelId("far", 2)).status == "active"


@pytest.mark.parametrize(("fault", "status"), [(AWAY, "active"), (DENIED, "failed")], ids=["away", "denied"])
def test_where_no_version_is_known_to_have_served_a_server_may_be_away_but_not_refuse(
    make_bench: MakeBench, servers: Servers, fault: Act, status: str
) -> None:
    servers.opens = [fault] * 1000
    first = make_bench()
    follow(first, far())
    assert last_status(first, FAR).status == "failed"

    assert last_status(make_bench(first), FAR).status == status


@pytest.mark.parametrize("fault", [AWAY, DENIED], ids=["away", "denied"])
def test_an_activation_of_a_version_that_served_displaces_none_where_its_server_is_not_there(
    make_bench: MakeBench, servers: Servers, fault: Act
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2))
    again = make_bench(first)
    servers.opens = [fault] * 1000

    again.update(ActivateModel(FAR))
    finish(again)

    assert last_of_far(again) == ("failed", "active")
    assert answered(again, E(1, model="far")) == (1, 2)


def test_an_activation_before_the_first_batch_displaces_none_where_its_server_is_not_there(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2))
    servers.opens = [DENIED] * 1000
    again = make_bench(first, batch=False)

    again.update(ActivateModel(FAR))
    again.events()
    finish(again)

    assert last_of_far(again) == ("failed", "active")


def test_a_version_that_served_and_is_published_again_is_not_ready_before_its_server_is(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2))
    again = make_bench(first)
    servers.opens = [AWAY] * 1000

    follow(again, msgspec.structs.replace(far(), activate=False))

    assert last_of_far(again) == ("failed", "active")


def test_a_version_that_is_retired_and_published_again_while_the_job_is_down_must_reach_its_server(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    follow(first, far())
    follow(first, far(2))
    first.update(RetireModel(RetiredModel("far", 1)))
    first.events()
    first.record(far())
    servers.opens = [DENIED] * 1000

    again = make_bench(first)

    assert last_of_far(again) == ("failed", "active")


def test_a_local_version_that_can_not_be_had_at_one_restart_is_not_displaced_at_the_next(
    make_bench: MakeBench, servers: Servers
) -> None:
    first = make_bench()
    first.loaded(1, name="far")
    servers.opens = [AWAY] * 1000
    follow(first, far(2))
    first.fails.add(FAR)
    again = make_bench(first)
    assert last_of_far(again) == ("failed", "failed")
    again.fails.discard(FAR)

    assert last_of_far(make_bench(again)) == ("active", "failed")


def test_a_version_that_nobody_reached_in_an_added_subtask_displaces_none_when_it_is_gone_again(
    make_bench: MakeBench, servers: Servers
) -> None:
    only = make_bench()
    follow(only, far())
    servers.opens = [AWAY] * 1000
    follow(only, far(2))
    one = make_bench(only)
    only.state = only.state._replace(served_versions=[])
    added = make_bench(only)
    assert (last_of_far(one), last_of_far(added)) == (("active", "failed"), ("closed", "active"))
    one.state = one.state._replace(served_versions=one.state.served_versions + added.state.served_versions)

    assert last_of_far(make_bench(one)) == ("active", "failed")


def test_a_job_that_begins_anew_serves_what_the_running_one_serves(
    make_bench: MakeBench, servers: Servers
) -> None:
    running = make_bench()
    running.loaded(1, name="far")
    servers.opens = [DENIED] * 1000
    follow(running, far(2))
    assert last_of_far(running) == ("active", "failed")
    running.serving.catalog = Catalog()
    running.state = State([], [], [])

    assert last_of_far(make_bench(running)) == ("active", "failed")
