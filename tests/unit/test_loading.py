"""Versions are loaded beside their caller, local ones one at a time, each within its deadline."""

import sys
import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.loads import Clock
from tests.waiting import wait_until
from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.models.load_watch import LoadWatch
from udfs.models.loading import BackgroundLoader, Told
from udfs.models.switch_interval import short_switch_interval
from udfs.models.updates import Artifact, PublishModel
from udfs.models.version_loading import LoadedVersion
from udfs.records import ModelId

DEADLINE = 10.0


class Scorer:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return []

    def close(self) -> None:
        self.closed.set()


class Loads:
    """A load that begins at once and ends when a test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()
        self.scorers: list[Scorer] = []
        self.cancelled: list[bool] = []
        self.let_go: list[str] = []
        self.has_turn = threading.Event()
        self.has_turn.set()
        self.is_holding = threading.Event()

    def __call__(self, published: PublishModel, watch: LoadWatch) -> LoadedVersion:
        self.begun.append(str(published.model))
        if published.model.name == "bad":
            raise ModelLoadError("damaged")
        if published.model.name == "foreign":
            raise ValueError("foreign")
        with watch.waiting_for_others():
            watch.say("fetching again")
            assert self.has_turn.wait(30)
        with watch.holding(lambda: self.let_go.append(str(published.model))):
            self.is_holding.set()
            assert self.may_end.wait(30)
        self.cancelled.append(watch.is_given_up)
        self.scorers.append(Scorer())
        return LoadedVersion(self.scorers[-1], 1.0, 1, ())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def loader(loads: Loads, clock: Clock) -> Iterator[BackgroundLoader]:
    made = BackgroundLoader(loads, DEADLINE, clock)
    yield made
    loads.has_turn.set()
    loads.may_end.set()
    made.close()


def publish(name: str, version: int = 1) -> PublishModel:
    return PublishModel(ModelId(name, version), "fake", Artifact("0" * 64, inline=b""))


def results(loader: BackgroundLoader, count: int) -> list[Told]:
    """The next words of loads that ended."""
    told: list[Told] = []

    def all_came() -> bool:
        loader.wait(0.05)
        told.extend(one for one in loader.take_told() if not isinstance(one.result, str))
        return len(told) >= count

    wait_until(all_came, what="the end of the loads")
    return told


def test_its_caller_goes_on_while_a_version_loads(loader: BackgroundLoader, loads: Loads) -> None:
    loader.begin(publish("m"))
    loader.wait(10)

    assert [one.result for one in loader.take_told()] == ["fetching again"]
    loads.may_end.set()
    (told,) = results(loader, 1)
    assert isinstance(told.result, LoadedVersion)


def test_versions_load_one_at_a_time_and_in_their_order(loader: BackgroundLoader, loads: Loads) -> None:
    for version in (1, 2, 3):
        loader.begin(publish("m", version))
    loader.wait(10)

    assert loads.begun == ["m:1"]
    loads.may_end.set()
    assert [told.published.model.version for told in results(loader, 3)] == [1, 2, 3]


def test_a_server_that_never_answers_delays_no_other_models_load(
    loader: BackgroundLoader, loads: Loads
) -> None:
    loader.begin(PublishModel(ModelId("away", 1), "rest", options={"url": "http://away"}))
    loader.begin(PublishModel(ModelId("away", 2), "rest", options={"url": "http://away"}))
    loader.begin(PublishModel(ModelId("bad", 1), "rest", options={"url": "http://near"}))
    loader.begin(publish("bad", 2))

    ended = results(loader, 2)

    assert {str(told.published.model) for told in ended} == {"bad:1", "bad:2"}
    assert "away:2" not in loads.begun


def test_so_many_models_connect_at_a_time_and_no_local_one_waits_for_them(
    loader: BackgroundLoader, loads: Loads
) -> None:
    for number in range(20):
        loader.begin(PublishModel(ModelId(f"away-{number}", 1), "rest", options={"url": "http://away"}))
    wait_until(lambda: len(loads.begun) == 16, what="the loads that may begin")

    loader.begin(publish("bad"))

    (told,) = results(loader, 1)
    assert str(told.published.model) == "bad:1"
    assert len(loads.begun) == 17
    loads.may_end.set()
    results(loader, 20)
    assert len(loads.begun) == 21


def test_what_can_not_be_loaded_says_why_and_the_next_one_loads(
    loader: BackgroundLoader, loads: Loads
) -> None:
    loads.may_end.set()
    for name in ("bad", "foreign", "m"):
        loader.begin(publish(name))

    bad, foreign, good = results(loader, 3)

    assert str(bad.result) == "damaged"
    assert str(foreign.result) == "foreign:1: ValueError: foreign"
    assert isinstance(good.result, LoadedVersion)


def test_a_load_that_never_ends_blocks_nobody(loader: BackgroundLoader, loads: Loads, clock: Clock) -> None:
    loader.begin(publish("hangs"))
    loader.begin(publish("bad"))
    assert loads.is_holding.wait(30)
    clock.seconds = DEADLINE + 2

    hung, after = results(loader, 2)

    assert str(hung.result) == "hangs:1: not loaded in 10 s; see loading.deadline"
    assert str(after.result) == "damaged"


def test_the_time_in_which_a_load_waits_for_others_is_not_its_own(
    loader: BackgroundLoader, loads: Loads, clock: Clock
) -> None:
    loads.has_turn.clear()
    loader.begin(publish("m"))
    loader.wait(10)
    clock.seconds = 3 * DEADLINE
    assert [one.result for one in loader.take_told()] == ["fetching again"]

    loads.has_turn.set()
    loads.may_end.set()

    (told,) = results(loader, 1)
    assert isinstance(told.result, LoadedVersion)


def test_a_load_that_never_ends_after_it_has_waited_blocks_nobody(
    loader: BackgroundLoader, loads: Loads, clock: Clock
) -> None:
    loads.has_turn.clear()
    loader.begin(publish("hangs"))
    loader.begin(publish("bad"))
    loader.wait(10)
    clock.seconds = 3 * DEADLINE
    loads.has_turn.set()

    def gave_up() -> list[Told]:
        clock.seconds += DEADLINE
        loader.wait(0.05)
        return [one for one in loader.take_told() if not isinstance(one.result, str)]

    (hung,) = wait_until(gave_up, what="the end of the time")
    assert str(hung.result) == "hangs:1: not loaded in 10 s; see loading.deadline"


def test_a_load_that_is_given_up_as_the_job_ends_lets_go_of_its_attempt(loads: Loads, clock: Clock) -> None:
    loader = BackgroundLoader(loads, DEADLINE, clock)
    loader.begin(publish("m"))
    loader.wait(10)

    loader.close()
    loads.may_end.set()

    wait_until(lambda: loads.let_go == ["m:1"], what="the end of the attempt")


def test_a_load_that_takes_too_long_keeps_its_attempt_because_it_may_do_harm_yet(
    loader: BackgroundLoader, loads: Loads, clock: Clock
) -> None:
    loader.begin(publish("m"))
    assert loads.is_holding.wait(30)
    clock.seconds = DEADLINE + 2

    results(loader, 1)

    assert loads.let_go == []


def test_what_is_loaded_too_late_is_closed(loader: BackgroundLoader, loads: Loads, clock: Clock) -> None:
    loader.begin(publish("late"))
    assert loads.is_holding.wait(30)
    clock.seconds = DEADLINE + 2
    results(loader, 1)

    loads.may_end.set()

    wait_until(lambda: bool(loads.scorers), what="the end of the load")
    assert loads.scorers[0].closed.wait(30)
    assert loads.cancelled == [True]
    assert loader.take_told() == []


def test_what_loads_while_the_job_ends_is_closed(loads: Loads, clock: Clock) -> None:
    loader = BackgroundLoader(loads, DEADLINE, clock)
    loader.begin(publish("m"))
    loader.wait(10)

    loader.close()
    loads.may_end.set()

    wait_until(lambda: bool(loads.scorers), what="the end of the load")
    assert loads.scorers[0].closed.wait(30)


def test_threads_wait_less_for_the_interpreter_while_any_version_loads() -> None:
    usual = sys.getswitchinterval()

    with short_switch_interval:
        with short_switch_interval:
            pass
        assert sys.getswitchinterval() < usual

    assert sys.getswitchinterval() == usual


def test_an_attempt_that_begins_after_the_end_of_the_job_is_let_go_at_once() -> None:
    let_go: list[str] = []
    watch = LoadWatch(lambda _: None)
    watch.close()

    with watch.holding(lambda: let_go.append("attempt")):
        assert let_go == ["attempt"]
