"""Subtasks that start again from their state, and the servers of a model ``far``, for tests."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.loads import plain_load
from tests.scripted_remote import Act, ScriptedRemote, answers, fails
from tests.subtasks import Bench, E
from tests.unit.test_subtask import load_doubling
from tests.waiting import wait_until
from udfs import remotes
from udfs.errors import Fault
from udfs.models.load_watch import LoadWatch
from udfs.models.places import AllowedPlaces
from udfs.models.updates import Check, PublishModel
from udfs.models.version_loading import LoadedVersion
from udfs.offload.opening import Offloading, OffloadSettings
from udfs.records import ModelId, ModelStatus

FAR = ModelId("far", 1)
AWAY, DENIED = fails(Fault.PASSING, "connection refused"), fails(Fault.LASTING, "no such model")

MakeBench = Callable[..., Bench]


class Servers:
    """What remotes that are connected from now on meet."""

    opens: Sequence[Act] = ()

    def __init__(self) -> None:
        self.remotes: list[ScriptedRemote] = []

    def connect(self, *_: object) -> ScriptedRemote:
        self.remotes.append(ScriptedRemote(opens=self.opens))
        return self.remotes[-1]

    def come_up(self, then: Act = answers) -> None:
        """Have the servers of all remotes answer."""
        for remote in self.remotes:
            remote._opens.clear()
            remote._then = then


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    made = Servers()
    monkeypatch.setattr(remotes, "connect", made.connect)
    return made


@pytest.fixture
def make_bench(servers: Servers) -> Iterator[MakeBench]:
    """Subtasks that ask these servers.

    ``make(before=None, *, batch=True)`` starts one, from the state of another; its models are loaded after
    the first batch.
    """
    offloading = Offloading(OffloadSettings(), AllowedPlaces(), ("rest",))
    local = plain_load(load_doubling, ("double",))
    made: list[Bench] = []

    def load(published: PublishModel, watch: LoadWatch) -> LoadedVersion:
        if not published.is_remote:
            return local(published, watch)
        seconds = 0.1 if servers.opens else 10.0
        scorer = offloading.connect(published, seconds, late_after=watch.late_after)
        return LoadedVersion(scorer, 1.0, 0, scorer.notes)

    def make(before: Bench | None = None, *, batch: bool = True) -> Bench:
        made.append(Bench(before=before, mailbox=offloading.mailbox, load=load))
        if batch:
            made[-1].events()
            finish(made[-1])
        return made[-1]

    try:
        yield make
    finally:
        for bench in made:
            bench.subtask.close()
        offloading.close(10)


def far(version: int = 1, *checks: Check) -> PublishModel:
    return PublishModel(ModelId("far", version), "rest", options={"url": "http://far"}, checks=checks)


def finish(bench: Bench) -> None:
    """Load what is to be loaded, and what that brings about."""
    while bench.serving.is_loading:
        bench.loader.finish()
        bench.events()


def follow(bench: Bench, update: PublishModel) -> None:
    bench.update(update)
    finish(bench)


def last_status(bench: Bench, model: ModelId) -> ModelStatus:
    return [one for one in bench.statuses if one.model == model][-1]


def last_of_far(bench: Bench) -> tuple[str, str]:
    """What was last said of versions 1 and 2."""
    return last_status(bench, FAR).status, last_status(bench, ModelId("far", 2)).status


def answered(bench: Bench, event: E) -> int | tuple[int, int]:
    """What becomes of an event."""
    ended = bench.events(event)
    return (ended or wait_until(bench.events, what="the answer"))[0]
