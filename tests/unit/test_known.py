"""What the control topic said before the job started."""

import pickle
from collections.abc import Sequence
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.batches import BatchKind, Envelope, EventBatch, decode_events, encode_envelope, encode_events
from udfs.errors import UpdateError
from udfs.models import known
from udfs.models.known import KnownCatalog, KnownPublication, fold
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    encode_update,
)
from udfs.records import ModelId

MODEL = b"the bytes of a model" * 50
MAX_BYTES = 10_000


def publish(
    version: int, inline: bytes | None = MODEL, name: str = "iris", since: int | None = None
) -> PublishModel:
    if inline is None:
        artifact = Artifact(sha256(MODEL).hexdigest(), uri="s3://models/iris")
    else:
        artifact = Artifact(sha256(inline).hexdigest(), inline=inline)
    return PublishModel(ModelId(name, version), "onnx", artifact, effective_from=since)


def publish_remote(version: int, name: str = "iris") -> PublishModel:
    return PublishModel(ModelId(name, version), "rest", options={"url": "https://models.example/iris"})


def retire(version: int) -> RetireModel:
    return RetireModel(RetiredModel("iris", version))


def batch(values: Sequence[bytes], offset: int = 0) -> EventBatch:
    envelopes = [
        encode_envelope(Envelope("control", 0, offset + index, 0, None, False, ()))
        for index in range(len(values))
    ]
    return decode_events(encode_events(BatchKind.EVENTS, 0, list(zip(values, envelopes, strict=True))))


def fold_values(*values: bytes) -> KnownCatalog:
    return fold(batch(values), len(values), MAX_BYTES)


def fold_updates(*updates: ModelUpdate) -> KnownCatalog:
    return fold_values(*map(encode_update, updates))


def whole_value(folded: KnownCatalog, model: ModelId) -> bytes:
    version = folded.catalog.models[model.name].versions[model.version]
    return folded.published[model].whole_value(version)


names = st.sampled_from(["iris", "wine"])
numbers = st.integers(1, 3)
times = st.none() | st.integers(0, 5)
values = st.one_of(
    st.builds(publish, numbers, st.sampled_from([None, MODEL, MODEL * 5, b""]), names, times).map(
        encode_update
    ),
    st.builds(publish_remote, numbers, names).map(encode_update),
    st.builds(
        lambda name, number, since: ActivateModel(ModelId(name, number), effective_from=since),
        names,
        numbers,
        times,
    ).map(encode_update),
    st.builds(lambda name, number: RetireModel(RetiredModel(name, number)), names, numbers).map(
        encode_update
    ),
    st.builds(lambda name: RetireModel(RetiredModel(name), all=True), names).map(encode_update),
    st.binary(max_size=100),
)


@settings(deadline=None, derandomize=True)
@given(st.lists(values, max_size=30), st.lists(st.integers(0, 30), max_size=5), st.integers(0, 200))
def test_chunks_come_to_what_the_whole_topic_comes_to(
    topic: list[bytes], cuts: list[int], refused_bytes: int
) -> None:
    ends = sorted({min(cut, len(topic)) for cut in cuts} | {len(topic)})
    chunked: KnownCatalog | None = None
    start = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "REFUSED_BYTES", refused_bytes)
        for end in ends:
            chunked = fold(batch(topic[start:end], start), end, MAX_BYTES, chunked)
            start = end

        assert chunked == fold(batch(topic), len(topic), MAX_BYTES)


def test_a_publication_is_whole_again_with_the_catalogs_artifact() -> None:
    value = encode_update(publish(1))

    folded = fold_values(value)

    assert whole_value(folded, ModelId("iris", 1)) == value


@pytest.mark.parametrize(
    "value",
    [
        encode_update(publish(1, None)),
        encode_update(publish(1, b"")),
        encode_update(publish_remote(1)),
        encode_update(publish(1)).replace(b'"onnx"', b'  "onnx" '),
        encode_update(publish(1)).replace(b'"dGhl', b'"\\u0064Ghl', 1),
    ],
    ids=["by URI", "an empty artifact", "by a server", "white space", "an escape within the base64"],
)
def test_a_publication_of_any_spelling_is_kept_to_the_byte(value: bytes) -> None:
    folded = fold_values(value)

    assert folded.refused == ()
    assert whole_value(folded, ModelId("iris", 1)) == value


def test_publishing_again_with_other_bytes_keeps_those_of_the_last_record() -> None:
    claimed = Artifact(sha256(MODEL).hexdigest(), inline=b"others of the same name")
    again = encode_update(msgspec.structs.replace(publish(1), artifact=claimed))

    folded = fold_values(encode_update(publish(1)), again)

    assert folded.published[ModelId("iris", 1)].offset == 1
    assert whole_value(folded, ModelId("iris", 1)) == again


def test_an_inline_artifact_is_kept_once() -> None:
    folded = fold_updates(publish(1))

    assert len(pickle.dumps(folded)) < 2 * len(MODEL)


def test_of_retired_versions_no_bytes_are_kept() -> None:
    updates: list[ModelUpdate] = []
    for version in range(1, 60):
        updates += [
            publish(version, MODEL + bytes([version])),
            *([retire(version - 1)] if version > 1 else []),
        ]

    folded = fold_updates(*updates)

    assert (folded.refused, list(folded.published)) == ((), [ModelId("iris", 59)])
    assert folded.catalog.inline_bytes() == len(MODEL) + 1


def test_of_a_version_that_an_activation_lets_go_nothing_is_kept() -> None:
    folded = fold_updates(
        *(publish(1), publish(2, since=100), publish(3, since=200)),
        retire(2),
        ActivateModel(ModelId("iris", 1)),
    )

    assert list(folded.catalog.models["iris"].versions) == [1, 3]
    assert list(folded.published) == [ModelId("iris", 1), ModelId("iris", 3)]


def test_of_many_refused_records_the_newest_are_whole_and_all_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known, "REFUSED_BYTES", 250)

    folded = fold_values(*[b"x" * 100 for _ in range(5)])

    assert [one.offset for one in folded.refused] == [0, 1, 2, 3, 4]
    assert [len(one.value) for one in folded.refused] == [0, 0, 0, 100, 100]
    assert [one.cut_from for one in folded.refused] == [100, 100, 100, None, None]


def test_a_record_that_has_no_value_is_refused_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "REFUSED_BYTES", 0)

    (refused,) = fold_values(b"").refused

    assert (refused.value, refused.cut_from) == (b"", None)


def test_a_version_published_by_uri_has_its_value_as_it_was() -> None:
    value = encode_update(publish(1, None))

    assert fold_values(value).published[ModelId("iris", 1)] == KnownPublication(
        0, batch([value]).envelope(0), value
    )


def test_a_job_goes_on_behind_the_last_record_that_was_read() -> None:
    folded = fold(batch([encode_update(publish(1))], offset=7), 9, MAX_BYTES)

    assert (folded.next_offset, folded.catalog.offset) == (9, 7)


def test_a_topic_that_says_nothing_is_an_empty_catalog() -> None:
    assert fold_values() == KnownCatalog()


def test_records_that_say_nothing_new_leave_what_is_known() -> None:
    before = fold_updates(publish(1))

    after = fold(batch([]), 5, MAX_BYTES, before)

    assert after == msgspec.structs.replace(before, next_offset=5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b'{"type": "publish_model"}', "not a model update: "),
        (encode_update(publish(1)).replace(b'"version":1', b'"version":0'), "not a model update: "),
        (encode_update(ActivateModel(ModelId("iris", 9))), "iris:9 can't be activated: it is not published"),
        (encode_update(retire(2)), "iris:2 can't be retired: it is active"),
        (encode_update(publish(2, b"other bytes")), "iris:2 is already published with another descriptor"),
        (encode_update(publish(3, MODEL * 10)), "iris:3: the catalog's inline artifacts would exceed"),
    ],
)
def test_a_record_that_is_refused_is_kept_whole_and_changes_nothing(value: bytes, said: str) -> None:
    before = fold_updates(publish(2))

    after = fold(batch([value], offset=1), 2, MAX_BYTES, before)
    (refused,) = after.refused

    assert (refused.offset, refused.value, refused.envelope) == (1, value, batch([value], 1).envelope(0))
    assert isinstance(refused.error(), UpdateError)
    assert str(refused.error()).startswith(said)
    assert after.catalog.models == before.catalog.models
    assert (after.catalog.offset, after.published) == (1, before.published)


def test_records_behind_a_refused_one_are_folded() -> None:
    folded = fold_values(b"not JSON", encode_update(publish(1)), b"nor this", encode_update(publish(2)))

    assert [one.offset for one in folded.refused] == [0, 2]
    assert list(folded.published) == [ModelId("iris", 1), ModelId("iris", 2)]
    assert folded.catalog.models["iris"].active == 2


@settings(deadline=None, derandomize=True)
@given(st.lists(values, max_size=30))
def test_the_publication_of_each_version_of_the_catalog_is_known_and_no_other(topic: list[bytes]) -> None:
    folded = fold_values(*topic)

    assert set(folded.published) == {
        ModelId(name, version) for name, model in folded.catalog.models.items() for version in model.versions
    }
    for model, publication in folded.published.items():
        assert whole_value(folded, model) == topic[publication.offset]
