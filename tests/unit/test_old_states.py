"""States that an earlier schema's code wrote still read.

The files under ``states/`` are what checkpoints held: never write them anew, add a folder a schema.
"""

from pathlib import Path

import pytest

from udfs.errors import UpdateError
from udfs.held import HeldEvent, HeldEvents
from udfs.models.catalog import Catalog, Model, apply
from udfs.models.catalog_state import STATE_SCHEMA, decode_model, encode_model
from udfs.models.served_versions import ServedVersions
from udfs.models.timeline import Activation
from udfs.models.updates import Artifact, Check, PublishModel
from udfs.records import ModelId
from udfs.scored import ScoredEvents

SCHEMA_1 = Path(__file__).parent / "states" / "schema-1"
MODELS = ("gone", "iris", "rose", "staged")


def read_model(name: str) -> Model:
    return decode_model((SCHEMA_1 / f"{name}.json").read_bytes())


@pytest.fixture
def catalog() -> Catalog:
    return Catalog({name: read_model(name) for name in MODELS}, offset=20)


@pytest.mark.parametrize(("name", "active"), [("iris", 1), ("rose", 1), ("staged", None), ("gone", None)])
def test_the_version_that_was_active_is_active(name: str, active: int | None) -> None:
    assert read_model(name).active == active


def test_what_was_active_before_is_still_so_where_the_active_version_fails() -> None:
    assert read_model("iris").activations == (Activation(2), Activation(1))


@pytest.mark.parametrize(
    ("name", "versions"), [("iris", {1, 2, 3}), ("rose", {1}), ("staged", {1}), ("gone", set())]
)
def test_what_was_published_and_not_retired_is_published(name: str, versions: set[int]) -> None:
    assert set(read_model(name).versions) == versions


@pytest.mark.parametrize(("name", "offset"), [("iris", 15), ("rose", 16), ("staged", 17), ("gone", 20)])
def test_the_last_update_of_a_model_is_known(name: str, offset: int) -> None:
    assert read_model(name).offset == offset


def test_the_bytes_of_an_inline_artifact_are_kept() -> None:
    versions = read_model("iris").versions

    assert [versions[number].inline for number in (1, 2)] == [b"iris one", b"iris two"]


def test_where_an_artifact_is_is_kept() -> None:
    assert read_model("rose").versions[1].artifact == Artifact(
        sha256="6cd5e45581b99318dbf4f1a6730ec8dc1b65038611f6e1f274a2ce1e3f830ff8",
        uri="https://models.example/rose.pfa",
    )


def test_checks_are_kept() -> None:
    assert read_model("iris").versions[2].checks == (
        Check({"x": [1.0, 2.0]}, {"y": 3.5}, 0.001),
        Check({"x": [0.0, 0.0]}, {"y": 0.0}),
    )


def test_options_are_kept() -> None:
    assert read_model("iris").versions[3].options == {"outputs": ["y"], "nested": {"a": None}}


@pytest.mark.parametrize("model", [ModelId("iris", 4), ModelId("gone", 1), ModelId("gone", 2)])
def test_the_number_of_a_version_that_was_retired_is_not_given_to_another(
    catalog: Catalog, model: ModelId
) -> None:
    other = PublishModel(model, "onnx", Artifact(sha256="0" * 64, uri="https://models.example/other"))

    with pytest.raises(UpdateError, match="already published with another descriptor"):
        apply(catalog, other, 21, max_bytes=1000)


@pytest.mark.parametrize("name", ["iris", "rose", "staged"])
def test_publishing_again_what_a_state_holds_is_no_change(catalog: Catalog, name: str) -> None:
    model = catalog.models[name]
    for version in model.versions.values():
        catalog = apply(catalog, version, 21, max_bytes=1000)

    assert catalog.models[name] == model


def test_held_events_are_kept_in_order_with_the_time_that_they_waited() -> None:
    assert HeldEvents.decode((SCHEMA_1 / "held.jsonl").read_text().splitlines()) == [
        HeldEvent("lily", b'{"id": 1}', b"\x01\x00envelope one", waited=4.5, schema=1),
        HeldEvent("lily:2", b"\xff not UTF-8", b"envelope two", waited=11.5, schema=1),
        HeldEvent("lily", '{"id": "é"}'.encode(), b"", waited=2.5, schema=1),
    ]


def test_a_time_that_an_old_event_waited_counts() -> None:
    waiting = HeldEvents(seconds=12, max_events=10, max_bytes=1000)
    waiting.add(HeldEvents.decode((SCHEMA_1 / "held.jsonl").read_text().splitlines()), now=0.0)

    assert [event.reference for event in waiting.take(lambda _, is_due: is_due, 1.0)] == ["lily:2"]


SCHEMA_2 = SCHEMA_1.with_name("schema-2")


def read_model_2(name: str) -> Model:
    return decode_model((SCHEMA_2 / f"{name}.json").read_bytes())


def test_the_event_times_at_which_versions_become_active_are_kept() -> None:
    assert read_model_2("iris").timeline == (Activation(1), Activation(2, 1000), Activation(3, 2000))


def test_what_was_active_before_the_timeline_still_comes_before_it() -> None:
    written = (SCHEMA_2 / "iris.json").read_bytes()

    model = decode_model(written.replace(b'"timeline":[[1,null],', b'"timeline":['))

    assert model.activations == (Activation(1), Activation(2, 1000), Activation(3, 2000))
    assert model.timeline == (Activation(1), Activation(2, 1000), Activation(3, 2000))


def test_a_version_that_leaves_from_a_time_on_still_leaves() -> None:
    assert read_model_2("iris").leaving == {2: 2500}


def test_the_time_of_the_last_signed_update_is_kept() -> None:
    assert read_model_2("rose").signed_on == "2026-02-03T04:05:06Z"


def test_the_times_of_held_events_are_kept() -> None:
    assert HeldEvents.decode((SCHEMA_2 / "held.jsonl").read_text().splitlines()) == [
        HeldEvent("lily", b'{"id": 1}', b"\x01\x00envelope one", waited=4.5, time=1234),
        HeldEvent("lily:2", b"\xff not UTF-8", b"envelope two", waited=11.5, time=-1),
    ]


def test_the_highest_event_times_are_kept() -> None:
    scored = ScoredEvents()

    scored.adopt((SCHEMA_2 / "highest-event-times.jsonl").read_text().splitlines())

    assert scored.highest == {"iris": 900, "rose": 77}


SCHEMA_3 = SCHEMA_1.with_name("schema-3")


def read_model_3(name: str) -> Model:
    return decode_model((SCHEMA_3 / f"{name}.json").read_bytes())


def test_the_activations_of_a_model_are_kept_in_their_order() -> None:
    model = read_model_3("iris")

    assert model.activations == (Activation(1), Activation(2, 1000), Activation(4, 3000), Activation(3, 2000))
    assert model.timeline == (Activation(1), Activation(2, 1000), Activation(3, 2000))


def test_that_older_periods_are_forgotten_is_kept() -> None:
    assert (read_model_3("rose").has_forgotten, read_model_3("iris").has_forgotten) == (True, False)


def test_versions_that_left_with_their_period_are_still_retired() -> None:
    rose = read_model_3("rose")

    assert (set(rose.versions), set(rose.retired)) == ({2, 3}, {1})


@pytest.mark.parametrize("name", ["iris", "rose"])
def test_a_model_that_is_scored_inline_is_written_so_that_jobs_of_schema_3_go_on_with_it(name: str) -> None:
    written = (SCHEMA_3 / f"{name}.json").read_bytes()

    assert encode_model(decode_model(written)) == written


def test_a_format_that_has_become_a_protocol_reads_with_the_artifact_that_it_was_published_with() -> None:
    written = (SCHEMA_3 / "rose.json").read_bytes().replace(b'"onnx"', b'"rest"')

    assert decode_model(written).versions[2].inline == b"rose 2"


SCHEMA_4 = SCHEMA_1.with_name("schema-4")


def read_model_4(name: str) -> Model:
    return decode_model((SCHEMA_4 / f"{name}.json").read_bytes())


def test_versions_that_are_scored_beside_the_stream_are_kept_with_their_identity() -> None:
    versions = read_model_4("iris").versions

    assert [versions[number].is_offloaded for number in (1, 2, 3)] == [False, True, True]
    assert [versions[number].identity()[:12] for number in (1, 2, 3)] == [
        "468c85dcebd6",
        "c4ec992ee542",
        "1d701e238886",
    ]


def test_a_version_that_a_server_scores_is_kept_without_an_artifact() -> None:
    remote = read_model_4("iris").versions[3]

    assert (remote.artifact, remote.endpoint) == (None, "grpc://127.0.0.1:8081")


def test_the_identity_of_a_remote_that_was_retired_is_kept() -> None:
    remote = PublishModel(ModelId("rose", 1), "rest", options={"url": "https://models.example/rose"})

    assert read_model_4("rose").retired == {1: remote.identity()}


@pytest.mark.parametrize("name", ["iris", "rose"])
def test_a_state_of_this_schema_is_written_as_it_was_read(name: str) -> None:
    written = (SCHEMA_4 / f"{name}.json").read_bytes()

    assert encode_model(decode_model(written)) == written


def test_the_versions_that_have_served_are_kept() -> None:
    catalog = Catalog({"iris": read_model_4("iris")})
    served = ServedVersions()

    served.start(catalog, catalog, (SCHEMA_4 / "served-versions.jsonl").read_text().splitlines())

    assert [bool(served.late_after(ModelId("iris", number))) for number in (1, 2, 3)] == [True, False, True]


def test_a_state_of_a_later_schema_is_refused_with_what_to_do() -> None:
    later = STATE_SCHEMA + 1
    written = (SCHEMA_4 / "iris.json").read_bytes().replace(b'"schema":4', b'"schema":%d' % later)

    with pytest.raises(ValueError, match=f"has schema {later}, this modelstream reads up to {STATE_SCHEMA}"):
        decode_model(written)
