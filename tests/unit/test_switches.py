"""Which version scores events of a time while others are on their way, fail, are closed or retired."""

import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loads import Clock, LoaderByHand, plain_load
from tests.unit.test_serving import FakeScorer, sha256
from udfs.errors import Absence, ModelLoadError, ResolveError, UpdateError
from udfs.models.catalog import Catalog, Model
from udfs.models.pool import LoadedModels, PoolBounds
from udfs.models.serving import Serving
from udfs.models.timeline import holding, timeline_of
from udfs.models.updates import ActivateModel, Artifact, ModelUpdate, PublishModel, RetiredModel, RetireModel
from udfs.records import ModelId
from udfs.scorers import Options

T = 1000


def publish(version: int, since: int | None = None, *, staged: bool = False) -> PublishModel:
    content = b"%d" % version
    artifact = Artifact(hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId("m", version), "fake", artifact, not staged, effective_from=since)


def activate(version: int, since: int | None = None) -> ActivateModel:
    return ActivateModel(ModelId("m", version), effective_from=since)


def retire(version: int, since: int | None = None) -> RetireModel:
    return RetireModel(RetiredModel("m", version), effective_from=since)


class Stage:
    """What serves, and loads that end when a test says so."""

    def __init__(self, catalog: Catalog | None = None, most: int = 100, max_periods: int = 50) -> None:
        self.broken: set[int] = set()
        self.clock = Clock()
        self.loader = LoaderByHand(plain_load(self._load, ("fake",)))
        pool = LoadedModels(PoolBounds(most, 2**40, idle=60.0), self.clock)
        self.pool = pool
        self.serving = Serving(self.loader, pool, max_catalog_bytes=10_000, max_periods=max_periods)
        self.serving.start(catalog or Catalog())

    def _load(self, format_name: str, path: Path, options: Options) -> FakeScorer:
        if path.name in {sha256(publish(version)) for version in self.broken}:
            raise ModelLoadError("broken on purpose")
        return FakeScorer()

    def update(self, *updates: ModelUpdate) -> None:
        for update in updates:
            self.serving.update(update, self.serving.catalog.offset + 1)

    def finish(self) -> None:
        """End the loads that have begun, and those that they lead to."""
        self.loader.finish()
        self.serving.poll()

    def loaded(self, *updates: ModelUpdate) -> None:
        """Follow updates, each with what it has loaded."""
        for update in updates:
            self.update(update)
            self.finish()

    def answers(self, *times: int, reference: str = "m") -> list[str]:
        """What scores events of each time, or why nothing does."""
        return [self._answer(reference, time) for time in times]

    def _answer(self, reference: str, time: int) -> str:
        try:
            return str(self.serving.serve(reference, time))
        except ResolveError as error:
            return error.absence.value

    def said(self) -> list[tuple[str, str, int | None]]:
        changes = self.serving.take_changes()
        return [(str(one.model), one.status, one.effective_from) for one in changes]


LOADING, FAILED, FOR_EVER = Absence.LOADING.value, Absence.FAILED.value, Absence.FOR_EVER.value


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_while_a_version_for_all_times_loads_every_period_goes_on_as_it_was(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2, T))

    stage.update(publish(3))

    assert stage.answers(T - 1, T) == ["m:1", "m:2"]
    stage.finish()
    assert stage.answers(T - 1, T) == ["m:3", "m:3"]


def test_a_version_for_all_times_that_fails_leaves_every_period_as_it_was(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2, T))
    stage.broken.add(3)

    stage.loaded(publish(3))

    assert stage.answers(T - 1, T) == ["m:1", "m:2"]


def test_a_version_with_a_time_that_fails_leaves_its_period_to_the_one_before(stage: Stage) -> None:
    stage.broken.add(2)

    stage.loaded(publish(1), publish(2, T), publish(3, 2 * T))

    assert stage.answers(T - 1, T, 2 * T) == ["m:1", "m:1", "m:3"]


def test_events_of_the_time_of_a_version_that_loads_wait_for_it(stage: Stage) -> None:
    stage.loaded(publish(1))

    stage.update(publish(2, T))

    assert stage.answers(T - 1, T) == ["m:1", LOADING]


def test_a_version_that_was_only_closed_is_waited_for_and_no_older_one_answers(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2), publish(3, T), publish(4, 2 * T))
    for _ in range(20):
        stage.clock.seconds += 10
        stage.answers(0, reference="m:1")
        stage.serving.poll()
    assert ModelId("m", 2) not in stage.pool

    stage.loaded(publish(5, staged=True))

    assert stage.answers(0) == [LOADING]
    stage.finish()
    assert stage.answers(0, T, 2 * T) == ["m:2", "m:3", "m:4"]


def test_after_a_restart_the_active_version_is_waited_for_and_no_older_one_answers(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2))
    again = Stage(stage.serving.catalog)
    again.answers(0, reference="m:1")

    assert again.answers(0) == [LOADING]
    again.finish()
    assert again.answers(0) == ["m:2"]


def test_after_a_restart_a_newer_activation_lets_what_is_waited_for_go_on_being_so(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2))
    again = Stage(stage.serving.catalog)

    again.update(publish(3))

    assert again.answers(0) == [LOADING]


def test_saying_again_what_loads_after_a_restart_brings_no_older_version_back(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2))
    again = Stage(stage.serving.catalog)
    again.answers(0, reference="m:1")

    again.update(publish(2))

    assert again.answers(0) == [LOADING]


def test_while_a_version_that_failed_is_tried_again_what_serves_goes_on(stage: Stage) -> None:
    stage.broken.add(2)
    stage.loaded(publish(1), publish(2))

    stage.broken.clear()
    stage.update(publish(2))

    assert stage.answers(0) == ["m:1"]
    stage.finish()
    assert stage.answers(0) == ["m:2"]


def test_where_nothing_else_scores_what_is_on_its_way_is_waited_for(stage: Stage) -> None:
    stage.loaded(publish(2, T))

    stage.update(publish(1))

    assert stage.answers(T - 1, T) == [LOADING, "m:2"]


def test_before_the_first_activation_nothing_is_waited_for_though_versions_fail(stage: Stage) -> None:
    stage.broken |= {1, 2}

    stage.loaded(publish(1, T), publish(2, 2 * T))

    assert stage.answers(T - 1, T, 2 * T) == [FOR_EVER, FAILED, FAILED]


def test_versions_that_are_retired_while_the_next_one_loads_keep_their_periods_until_then(
    stage: Stage,
) -> None:
    stage.loaded(publish(1), publish(2, T))
    stage.update(publish(3), retire(1), retire(2))

    assert stage.answers(T - 1, T) == ["m:1", "m:2"]
    stage.finish()
    assert stage.answers(T - 1, T) == ["m:3", "m:3"]
    assert [str(one) for one in stage.pool] == ["m:3"]


def test_going_back_while_a_version_loads_is_at_once_and_stays_when_it_is_loaded(stage: Stage) -> None:
    stage.loaded(publish(1), publish(2))
    stage.update(publish(3), activate(1))

    assert stage.answers(0) == ["m:1"]
    stage.finish()
    assert stage.answers(0) == ["m:1"]


@pytest.mark.parametrize("timed", [False, True])
def test_of_many_switches_about_the_last_two_versions_stay_loaded(timed: bool) -> None:
    stage = Stage()

    for version in range(1, 61):
        stage.clock.seconds += 30
        stage.loaded(publish(version, version * T if timed else None))
        stage.answers(version * T)

    loaded = [one.version for one in stage.pool]
    assert {59, 60} <= set(loaded)
    assert len(loaded) <= 5


def test_what_scored_a_forgotten_period_is_closed_where_it_was_retired() -> None:
    stage = Stage(max_periods=2)
    stage.loaded(publish(1), publish(2, T), retire(1))

    stage.loaded(publish(3, 2 * T))

    assert stage.answers(T - 1, T, 2 * T) == [FOR_EVER, "m:2", "m:3"]
    assert [str(one) for one in stage.pool] == ["m:2", "m:3"]


EVENT_TIMES = (0, T, 2 * T, 3 * T)
times = st.none() | st.sampled_from([T, 2 * T, 3 * T])
numbers = st.integers(1, 4)
steps = st.lists(
    st.one_of(
        st.builds(publish, numbers, times),
        st.builds(publish, numbers, staged=st.just(True)),
        st.builds(activate, numbers, times),
        st.builds(retire, numbers),
        st.builds(lambda since: retire(1, since), times),
        st.just("finish"),
        st.just("restart"),
        st.builds(lambda number: ("break", number), numbers),
        st.builds(lambda number: ("mend", number), numbers),
        st.builds(lambda number: ("ask", number), numbers),
        st.just("time"),
    ),
    max_size=25,
)


def take(stage: Stage, step: ModelUpdate | str | tuple[str, int]) -> None:
    match step:
        case "finish":
            stage.finish()
        case "time":
            stage.clock.seconds += 40
            stage.serving.poll()
        case ("break", int(number)):
            stage.broken.add(number)
        case ("mend", int(number)):
            stage.broken.discard(number)
        case ("ask", int(number)):
            stage.answers(T, reference=f"m:{number}")
        case PublishModel() | ActivateModel() | RetireModel():
            with suppress(UpdateError):
                stage.update(step)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(steps, st.integers(1, 5))
def test_when_every_load_has_ended_what_serves_is_what_the_catalog_says_without_what_failed(
    given_steps: list[ModelUpdate | str | tuple[str, int]], most: int
) -> None:
    stage = Stage(most=most)
    for step in given_steps:
        if step == "restart":
            stage = Stage(stage.serving.catalog, most)
        take(stage, step)
        stage.answers(*EVENT_TIMES)

    while stage.serving.is_loading:
        stage.finish()
    for at in EVENT_TIMES:
        while (answer := stage.answers(at)) == [LOADING]:
            stage.finish()
        able = [
            one
            for one in stage.serving.catalog.models.get("m", Model("m")).activations
            if stage.serving.failure(ModelId("m", one.version)) is None
        ]
        expected = holding(timeline_of(able), at)
        served = answer[0] if answer[0].startswith("m:") else None
        assert served == (expected and f"m:{expected.version}")


def test_a_version_that_scores_in_no_period_any_more_says_that_it_is_ready(stage: Stage) -> None:
    stage.loaded(publish(1))
    stage.said()

    stage.loaded(publish(2))

    assert stage.said()[-2:] == [("m:2", "active", None), ("m:1", "ready", None)]


def test_a_version_that_still_scores_an_earlier_period_says_nothing_new(stage: Stage) -> None:
    stage.loaded(publish(1))
    stage.said()

    stage.loaded(publish(2, T))

    assert stage.said() == [("m:2", "loading", None), ("m:2", "ready", None), ("m:2", "active", T)]


def test_a_version_that_is_retired_does_not_say_that_it_is_ready(stage: Stage) -> None:
    stage.loaded(publish(1))
    stage.update(publish(2), retire(1))
    stage.finish()

    assert [status for model, status, _ in stage.said() if model == "m:1"][-1] == "retired"


def test_a_version_for_which_another_is_closed_says_that_it_is_active() -> None:
    stage = Stage(most=2)
    stage.update(publish(1))
    stage.finish()
    stage.update(publish(2))
    stage.finish()
    stage.serving.take_changes()

    stage.update(publish(3, T))
    stage.finish()

    said = [(change.model.version, change.status) for change in stage.serving.take_changes()]
    assert said == [(3, "loading"), (3, "ready"), (1, "closed"), (3, "active")]
