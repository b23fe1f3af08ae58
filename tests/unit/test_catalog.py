"""What the catalog promises after any updates in any order."""

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import ResolveError, UpdateError
from udfs.models.catalog import Catalog, advance, apply, newest
from udfs.models.catalog_state import decode_model, encode_model
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    Check,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
)
from udfs.records import ModelId

NAMES, VERSIONS = ("m", "n"), (1, 2, 3)
ROOM = 40


def publish(name: str, version: int, content: bytes = b"ten bytes!", activate: bool = True) -> PublishModel:
    artifact = Artifact(sha256=hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId(name, version), "onnx", artifact, activate=activate)


def publish_remote(name: str, version: int, url: str = "grpc://models.example:8081") -> PublishModel:
    return PublishModel(ModelId(name, version), "open-inference", options={"url": url})


def retire(name: str, version: int | None = None) -> RetireModel:
    return RetireModel(RetiredModel(name, version), all=version is None)


def fold(updates: list[ModelUpdate], catalog: Catalog | None = None, start: int = 0) -> Catalog:
    folded = catalog or Catalog()
    for offset, update in enumerate(updates, start=start):
        try:
            folded = apply(folded, update, offset, max_bytes=ROOM)
        except UpdateError:
            folded = advance(folded, offset)
    return folded


names, versions = st.sampled_from(NAMES), st.sampled_from(VERSIONS)
updates = st.lists(
    st.one_of(
        st.builds(publish, names, versions, st.sampled_from([b"ten bytes!", b"other"]), st.booleans()),
        st.builds(publish_remote, names, versions),
        st.builds(lambda name, version: ActivateModel(ModelId(name, version)), names, versions),
        st.builds(retire, names, st.one_of(st.none(), versions)),
    ),
    max_size=20,
)
any_updates = settings(deadline=None, derandomize=True)


@any_updates
@given(updates)
def test_what_is_active_is_published(given_updates: list[ModelUpdate]) -> None:
    for model in fold(given_updates).models.values():
        assert {one.version for one in model.activations} <= set(model.versions)
        assert not model.versions.keys() & model.retired.keys()


@any_updates
@given(updates)
def test_the_bytes_of_artifacts_never_exceed_their_bound(given_updates: list[ModelUpdate]) -> None:
    assert fold(given_updates).inline_bytes() <= ROOM


@any_updates
@given(updates)
def test_a_fold_goes_on_from_a_state_as_if_nothing_had_been(given_updates: list[ModelUpdate]) -> None:
    half = len(given_updates) // 2
    before = fold(given_updates[:half])
    restored = Catalog(
        {name: decode_model(encode_model(model)) for name, model in before.models.items()}, before.offset
    )

    assert fold(given_updates[half:], restored, start=half) == fold(given_updates)


@any_updates
@given(updates, st.integers(0, 20))
def test_of_two_folds_of_a_topic_the_longer_one_is_taken(given_updates: list[ModelUpdate], cut: int) -> None:
    whole, part = fold(given_updates), fold(given_updates[:cut])

    assert newest(part, whole) == newest(whole, part) == whole


def test_publishing_again_with_the_same_descriptor_changes_nothing() -> None:
    once = fold([publish("m", 1), publish("m", 2)])

    assert fold([publish("m", 1)], once, start=2).models == once.models


def by_uri(version: int, uri: str) -> PublishModel:
    sha256 = hashlib.sha256(b"ten bytes!").hexdigest()
    return PublishModel(ModelId("m", version), "onnx", Artifact(sha256=sha256, uri=uri))


def test_publishing_again_says_where_the_artifact_is_now() -> None:
    catalog = fold([by_uri(1, "s3://mistyped"), by_uri(2, "s3://models"), by_uri(1, "s3://models")])

    assert catalog.models["m"].versions[1].artifact == by_uri(1, "s3://models").artifact
    assert catalog.models["m"].active == 2


def test_an_artifact_that_is_now_inline_is_bounded_as_any_other() -> None:
    catalog = fold([*(publish("m", version) for version in (1, 2, 3, 4)), by_uri(5, "s3://models")])

    with pytest.raises(UpdateError, match=r"catalog\.max_bytes"):
        apply(catalog, publish("m", 5), 5, max_bytes=ROOM)


@pytest.mark.parametrize("retired_before", [False, True])
def test_a_version_never_stands_for_two_models(retired_before: bool) -> None:
    catalog = fold([publish("m", 1), publish("m", 2), *([retire("m", 1)] if retired_before else [])])

    with pytest.raises(UpdateError, match="already published with another descriptor"):
        apply(catalog, publish("m", 1, b"other"), 9, max_bytes=ROOM)


def test_the_bytes_of_a_retired_version_leave() -> None:
    assert fold([publish("m", 1), publish("m", 2), retire("m", 1)]).inline_bytes() == 10


def test_an_active_version_is_retired_with_its_whole_model_alone() -> None:
    catalog = fold([publish("m", 1), publish("m", 2)])

    with pytest.raises(UpdateError, match="it is active"):
        apply(catalog, retire("m", 2), 2, max_bytes=ROOM)
    assert apply(catalog, retire("m"), 2, max_bytes=ROOM).models["m"].versions == {}


@pytest.mark.parametrize("update", [ActivateModel(ModelId("m", 9)), retire("m", 9)])
def test_what_is_not_published_is_neither_activated_nor_retired(update: ModelUpdate) -> None:
    with pytest.raises(UpdateError, match=r"m:9 can.t be .*: it is not published"):
        apply(fold([publish("m", 1)]), update, 1, max_bytes=ROOM)


def test_a_model_is_found_by_its_name_and_by_its_version() -> None:
    catalog = fold([publish("m", 1), publish("m", 2)])

    assert (catalog.resolve("m"), catalog.resolve("m:1")) == (ModelId("m", 2), ModelId("m", 1))


@pytest.mark.parametrize("reference", ["rose", "m:9", "m:x", "", ":1", "m:"])
def test_what_is_not_there_is_not_found(reference: str) -> None:
    with pytest.raises(ResolveError):
        fold([publish("m", 1)]).resolve(reference)


def test_a_state_of_a_newer_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="has schema 99"):
        decode_model(b'{"name": "m", "schema": 99}')


def test_the_state_keeps_a_version_with_nan_in_its_checks() -> None:
    check = Check([float("nan"), 1], {"y": None})
    update = msgspec.structs.replace(publish("m", 2), checks=(check,), options={"fields": ["a"]})
    model = fold([publish("m", 1), update]).models["m"]

    restored = decode_model(encode_model(model))

    assert repr(restored) == repr(model)
    assert restored.versions[2].identity() == update.identity()


def test_a_server_says_no_less_of_what_a_version_is_than_bytes_do() -> None:
    catalog = fold([publish_remote("m", 1)])

    with pytest.raises(UpdateError, match="m:1 is already published with another descriptor"):
        apply(catalog, publish_remote("m", 1, "grpc://elsewhere.example:8081"), 1, max_bytes=ROOM)


def test_a_remote_takes_no_room_of_artifacts() -> None:
    assert apply(Catalog(), publish_remote("m", 1), 0, max_bytes=0).inline_bytes() == 0


def test_publishing_a_remote_again_changes_nothing() -> None:
    catalog = fold([publish_remote("m", 1)])

    assert fold([publish_remote("m", 1)], catalog, start=1).models == catalog.models


def test_a_remote_takes_the_place_of_a_local_version_and_gives_it_back() -> None:
    updates: list[ModelUpdate] = [publish("m", 1), publish_remote("m", 2), ActivateModel(ModelId("m", 1))]

    assert [fold(updates[:count]).models["m"].active for count in (1, 2, 3)] == [1, 2, 1]
