"""Which version is active at which event time, as updates come."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import Absence, ResolveError, UpdateError
from udfs.models.catalog import Catalog, apply
from udfs.models.catalog_state import decode_model, encode_model
from udfs.models.timeline import Activation, appended, bounded, holding, timeline_of
from udfs.models.updates import ActivateModel, Artifact, ModelUpdate, PublishModel, RetiredModel, RetireModel
from udfs.records import ModelId


def publish(
    version: int, since: int | None = None, activate: bool = True, content: bytes = b""
) -> PublishModel:
    content = content or b"%d" % version
    artifact = Artifact(hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId("m", version), "onnx", artifact, activate, effective_from=since)


def activate(version: int, since: int | None = None) -> ActivateModel:
    return ActivateModel(ModelId("m", version), effective_from=since)


def retire(version: int | None, since: int | None = None) -> RetireModel:
    return RetireModel(RetiredModel("m", version), all=version is None, effective_from=since)


def fold(*updates: ModelUpdate) -> Catalog:
    catalog = Catalog()
    for offset, update in enumerate(updates):
        catalog = apply(catalog, update, offset, max_bytes=1000)
    return catalog


def active_at(catalog: Catalog, *times: int) -> list[int | None]:
    timeline = catalog.models["m"].timeline
    return [one.version if (one := holding(timeline, time)) else None for time in times]


def test_an_activation_holds_from_its_time_on_and_the_one_before_until_then() -> None:
    assert active_at(fold(publish(1), publish(2, since=100)), 99, 100, 1000) == [1, 2, 2]


def test_an_activation_without_a_time_holds_for_all_times() -> None:
    catalog = fold(publish(1), publish(2, since=100), publish(3))

    assert active_at(catalog, 0, 100) == [3, 3]
    assert catalog.boundaries("m") == ()


def test_an_activation_is_over_whatever_was_said_before_of_its_time() -> None:
    catalog = fold(publish(1), publish(2, since=100), publish(3, since=200), activate(1, since=150))

    assert active_at(catalog, 50, 100, 150, 200) == [1, 2, 1, 1]


def test_saying_an_activation_again_changes_nothing() -> None:
    catalog = fold(publish(1), publish(2, since=100))

    assert apply(catalog, activate(2, since=100), 9, max_bytes=1000).models == catalog.models


def test_before_the_first_activation_no_version_is_active_and_waiting_cannot_help() -> None:
    with pytest.raises(ResolveError, match="the first is m:1, from 100 on") as error:
        fold(publish(1, since=100)).resolve("m", 99)

    assert error.value.absence is Absence.FOR_EVER


def test_a_retired_version_leaves_from_a_time_on_and_not_from_the_past() -> None:
    catalog = fold(publish(1), publish(2, since=100), retire(1, since=200))

    assert active_at(catalog, 99) == [1]
    assert catalog.resolve("m:1", 199) == ModelId("m", 1)
    with pytest.raises(ResolveError, match="m:1 is retired"):
        catalog.resolve("m:1", 200)
    assert catalog.boundaries("m:1") == (200,)


def test_a_version_that_the_timeline_names_is_retired_behind_it() -> None:
    catalog = fold(publish(1), publish(2, since=100), retire(1))

    assert active_at(catalog, 99, 100) == [1, 2]
    with pytest.raises(ResolveError, match="m:1 is retired"):
        catalog.resolve("m:1", 99)


def test_it_is_gone_when_the_timeline_names_it_no_more() -> None:
    catalog = fold(publish(1), publish(2, since=100), retire(1), activate(2))

    assert list(catalog.models["m"].versions) == [2]
    assert list(catalog.models["m"].retired) == [1]


@pytest.mark.parametrize(
    ("update", "why"),
    [
        (retire(2), "it is active"),
        (retire(1, since=99), "it is active until 100"),
        (retire(None, since=5), "a whole model is retired at once"),
        (activate(3, since=5), "it is not published"),
    ],
)
def test_what_cannot_be_is_refused(update: ModelUpdate, why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        apply(fold(publish(1), publish(2, since=100)), update, 9, max_bytes=1000)


def test_what_is_being_retired_is_active_again_only_when_it_is_published_again() -> None:
    catalog = fold(publish(1), publish(2, since=100), retire(1, since=200))
    with pytest.raises(UpdateError, match="it is retired; publish it again first"):
        apply(catalog, activate(1, since=300), 9, max_bytes=1000)

    again = apply(catalog, publish(1, since=300), 9, max_bytes=1000)

    assert active_at(again, 100, 300) == [2, 1]
    assert again.resolve("m:1", 250) == ModelId("m", 1)


def test_a_whole_model_leaves_with_its_timeline() -> None:
    model = fold(publish(1), publish(2, since=100), retire(None)).models["m"]

    assert (dict(model.versions), model.timeline, model.active) == ({}, (), None)


def without(catalog: Catalog, *versions: int) -> tuple[Activation, ...]:
    return timeline_of(one for one in catalog.models["m"].activations if one.version not in versions)


def test_without_a_version_is_what_would_be_had_it_never_been_activated() -> None:
    catalog = fold(publish(1), publish(2, since=100), publish(3), publish(4, since=200))

    assert without(catalog, 4) == (Activation(3),)
    assert without(catalog, 3) == (Activation(1), Activation(2, 100), Activation(4, 200))
    assert without(catalog, 1, 3) == (Activation(2, 100), Activation(4, 200))


def test_of_a_version_the_activations_that_a_later_one_replaces_are_forgotten() -> None:
    catalog = fold(publish(1), publish(2, since=100), publish(3, since=200), activate(2, since=50))

    assert catalog.models["m"].activations == (Activation(1), Activation(3, 200), Activation(2, 50))
    again = apply(catalog, activate(1), 9, max_bytes=1000)
    assert again.models["m"].activations == (Activation(3, 200), Activation(2, 50), Activation(1))


def test_a_retired_version_leaves_no_activation_that_nothing_needs() -> None:
    model = fold(publish(1), publish(2), retire(1, since=100)).models["m"]

    assert (set(model.versions), model.activations) == ({1, 2}, (Activation(2),))


log_entries = st.builds(Activation, st.integers(1, 4), st.none() | st.integers(0, 6))


@settings(deadline=None, derandomize=True)
@given(st.lists(log_entries, max_size=12), st.sets(st.integers(1, 4)))
def test_what_the_log_has_forgotten_makes_no_difference_whatever_is_left_out(
    given_activations: list[Activation], left_out: set[int]
) -> None:
    log: tuple[Activation, ...] = ()
    for one in given_activations:
        log = appended(log, one)

    kept, said = (
        timeline_of(one for one in every if one.version not in left_out) for every in (log, given_activations)
    )

    assert kept == said


@settings(deadline=None, derandomize=True)
@given(st.lists(log_entries, max_size=12))
def test_at_any_time_the_last_activation_said_of_it_holds(given_activations: list[Activation]) -> None:
    timeline = timeline_of(given_activations)

    for at in range(-1, 8):
        last = [one.version for one in given_activations if one.start <= at][-1:]
        assert [one.version for one in [holding(timeline, at)] if one] == last


@settings(deadline=None, derandomize=True)
@given(st.lists(log_entries, max_size=30), st.integers(2, 4))
def test_a_bounded_log_has_the_newest_periods_and_few_others(
    given_activations: list[Activation], most: int
) -> None:
    log: tuple[Activation, ...] = ()
    for one in given_activations:
        log = appended(log, one)

    kept = bounded(log, most)

    assert timeline_of(kept) == timeline_of(log)[-most:]
    assert len(kept) <= 2 * most


def rollouts(count: int, max_periods: int = 50, max_bytes: int = 10**6, size: int = 1) -> Catalog:
    """Stage a version, activate it from a time on, and retire the one before, many times."""
    catalog = apply(Catalog(), publish(1, content=b"\1" * size), 0, max_bytes=max_bytes)
    for version in range(2, count + 1):
        content = b"%d" % version * size
        for update in (
            publish(version, activate=False, content=content[:size]),
            activate(version, version * 100),
            retire(version - 1),
        ):
            catalog = apply(catalog, update, catalog.offset + 1, max_bytes=max_bytes, max_periods=max_periods)
    return catalog


def test_a_timeline_has_at_most_so_many_periods_and_forgets_the_oldest() -> None:
    model = rollouts(6, max_periods=3).models["m"]

    assert model.timeline == (Activation(4, 400), Activation(5, 500), Activation(6, 600))


def test_what_was_retired_leaves_with_its_period_and_the_catalog_never_fills_up() -> None:
    catalog = rollouts(128, max_bytes=52 * 100, size=100)

    assert catalog.inline_bytes() == 50 * 100
    assert min(catalog.models["m"].versions) == 79


def test_what_is_not_retired_stays_published_when_its_period_is_forgotten() -> None:
    catalog = Catalog()
    for offset, update in enumerate((publish(1), publish(2, 100), publish(3, 200))):
        catalog = apply(catalog, update, offset, max_bytes=1000, max_periods=2)

    assert set(catalog.models["m"].versions) == {1, 2, 3}
    assert catalog.resolve("m:1", 50) == ModelId("m", 1)


def test_of_events_from_before_the_periods_that_are_kept_it_is_said_that_older_ones_are_forgotten() -> None:
    catalog = rollouts(6, max_periods=3)

    with pytest.raises(ResolveError, match=r"from 400 on; older periods are forgotten") as error:
        catalog.resolve("m", 399)

    assert error.value.absence is Absence.FOR_EVER


def test_a_version_that_was_retired_from_a_time_on_leaves_when_no_kept_period_is_that_old() -> None:
    catalog = fold(publish(1), publish(2), retire(1, since=100))
    for version in (3, 4, 5):
        catalog = apply(catalog, publish(version, version * 100), version, max_bytes=1000, max_periods=2)

    assert set(catalog.models["m"].versions) == {2, 3, 4, 5}


def test_a_state_has_the_timeline() -> None:
    model = fold(publish(1), publish(2, since=100), retire(1, since=200)).models["m"]

    assert decode_model(encode_model(model)) == model
