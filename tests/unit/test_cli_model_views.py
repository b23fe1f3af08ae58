"""What the lists of models and statuses show."""

from typing import Any

import pytest

from cli.model_views import (
    describe_statuses,
    describe_version,
    published,
    status_rows,
    unmentioned,
    version_rows,
    versions_of,
)
from udfs.models.catalog import Catalog, apply
from udfs.models.updates import ActivateModel, Artifact, PublishModel, RetiredModel, RetireModel
from udfs.records import ModelId, ModelStatus


def said(**fields: Any) -> ModelStatus:
    usual: dict[str, Any] = {
        "job": "job",
        "model": ModelId("iris", 1),
        "status": "active",
        "subtask": 0,
        "parallelism": 2,
        "attempt": 3,
        "sha256": "0" * 64,
        "at": "2026-11-24T10:00:09.123+00:00",
    }
    return ModelStatus(**{**usual, **fields})


def catalog(*models: str) -> Catalog:
    folded = Catalog()
    for offset, model in enumerate(models):
        update = PublishModel(ModelId.parse(model), "onnx", Artifact(sha256="0" * 64, inline=b""))
        folded = apply(folded, update, offset, max_bytes=0)
    return folded


def timed(*activations: tuple[int, int | None]) -> Catalog:
    folded = Catalog()
    for offset, (version, since) in enumerate(activations):
        artifact = Artifact(sha256="0" * 64, inline=b"")
        update = PublishModel(ModelId("iris", version), "onnx", artifact, effective_from=since)
        again = ActivateModel(update.model, effective_from=since)
        folded = apply(folded, again if update.model in folded else update, offset, max_bytes=0)
    return folded


@pytest.mark.parametrize(
    ("activations", "shown"),
    [
        ([(1, None)], ["active"]),
        ([(1, None), (2, 1000)], ["until 1970-01-01T00:00:01.000Z", "from 1970-01-01T00:00:01.000Z"]),
        (
            [(1, None), (2, 1000), (1, 2000)],
            [
                "until 1970-01-01T00:00:01.000Z, from 1970-01-01T00:00:02.000Z",
                "1970-01-01T00:00:01.000Z to 1970-01-01T00:00:02.000Z",
            ],
        ),
        ([(1, None), (2, None)], ["", "active"]),
    ],
)
def test_a_version_is_shown_with_the_event_times_in_which_it_is_active(
    activations: list[tuple[int, int | None]], shown: list[str]
) -> None:
    assert [row["active"] for row in version_rows(published(timed(*activations)))] == shown


@pytest.mark.parametrize(
    ("since", "shown"),
    [(None, "until 1970-01-01T00:00:01.000Z, retired"), (0, "retired from 1970-01-01T00:00:00.000Z")],
)
def test_a_version_that_is_retired_and_stays_is_shown_so(since: int | None, shown: str) -> None:
    number = 1 if since is None else 3
    staged = timed((1, None), (3, 2000), (2, 1000))
    retired = RetireModel(RetiredModel("iris", number), effective_from=since)

    rows = {row["model"]: row for row in version_rows(published(apply(staged, retired, 9, max_bytes=0)))}

    assert rows[f"iris:{number}"]["active"] == shown


def test_programs_get_the_periods_of_a_version_and_whether_it_is_active_now() -> None:
    rows = [describe_version(one) for one in published(timed((1, None), (2, 1000)))]

    assert [(row["active"], row["periods"]) for row in rows] == [
        (False, [{"from": None, "until": 1000}]),
        (True, [{"from": 1000, "until": None}]),
    ]


def test_a_status_shows_since_when_how_much_and_from_which_event_time() -> None:
    status = said(
        since="2026-11-24T10:00:01.123+00:00",
        scored=12,
        load_ms=3.6,
        highest_event_time=1000,
        effective_from=2000,
    )

    (row,) = status_rows([status], {}, job="job")

    assert row == {
        "model": "iris:1",
        "status": "active",
        "subtask": "1 of 2",
        "since": "2026-11-24 10:00:01",
        "scored": 12,
        "load_ms": 4,
        "highest_event_time": "1970-01-01T00:00:01.000Z",
        "effective_from": "1970-01-01T00:00:02.000Z",
        "attempt": 3,
    }


def test_why_it_failed_and_what_the_scorer_notes_are_shown() -> None:
    (row,) = status_rows([said(cause="no model", notes=("slow",))], {}, job="job")

    assert row["cause"] == "no model; slow"


def test_late_events_are_shown_with_their_number() -> None:
    late = said(status="late", late_events=4, effective_from=1000)

    (row,) = status_rows([late], {}, job="job")

    assert row["status"] == "late"
    assert row["cause"] == "4 events at or past 1970-01-01T00:00:01.000Z had been scored before it"


def test_columns_that_would_be_empty_are_left_out() -> None:
    rows = status_rows([said(), said(subtask=1, scored=0)], {}, job="job")

    assert [row["scored"] for row in rows] == [None, 0]
    assert "load_ms" not in rows[0]


def test_where_there_are_other_jobs_all_statuses_say_whose_they_are() -> None:
    silent = unmentioned(catalog("iris:2"), [], None)

    rows = status_rows([said(), said(job="other")], {}, silent, job="job")

    assert [row["job"] for row in rows] == ["job", "other", None]
    assert next(iter(rows[0])) == "job"


def test_another_job_that_is_alone_is_named() -> None:
    assert [row["job"] for row in status_rows([said(job="other")], {}, job="job")] == ["other"]


def test_a_published_version_of_which_nobody_spoke_is_shown_as_such() -> None:
    there = catalog("iris:1", "iris:2", "rose:1")

    assert [str(one.model) for one in unmentioned(there, [said()], "iris")] == ["iris:2"]
    assert [str(one.model) for one in unmentioned(there, [said()], None)] == ["iris:2", "rose:1"]
    assert [str(one.model) for one in unmentioned(there, [], "iris:2")] == ["iris:2"]


def test_it_has_no_status_for_people_and_null_for_programs() -> None:
    silent = unmentioned(catalog("iris:2"), [], None)

    assert status_rows([], {}, silent, job="job") == [{"model": "iris:2", "status": "-"}]
    (row,) = describe_statuses([], {}, silent)
    assert set(row) == {*ModelStatus.__struct_fields__, "execution", "endpoint"}
    assert (row["model"], row["status"], row["sha256"]) == (
        {"name": "iris", "version": 2},
        None,
        silent[0].identity(),
    )


def test_programs_get_all_fields_also_those_that_were_not_said() -> None:
    (row,) = describe_statuses([said()], {})

    assert set(row) == {*ModelStatus.__struct_fields__, "execution", "endpoint"}
    assert (row["model"], row["scored"]) == ({"name": "iris", "version": 1}, None)


URL = "grpc://127.0.0.1:8081"


def moved() -> Catalog:
    """A model that was inline, then offloaded, and that a server scores now."""
    artifact = Artifact(sha256="0" * 64, inline=b"")
    versions = [
        PublishModel(ModelId("iris", 1), "onnx", artifact),
        PublishModel(ModelId("iris", 2), "onnx", artifact, execution="offload"),
        PublishModel(ModelId("iris", 3), "open-inference", options={"url": URL, "model": "iris"}),
    ]
    folded = Catalog()
    for offset, version in enumerate(versions):
        folded = apply(folded, version, offset, max_bytes=0)
    return folded


def test_the_list_shows_where_versions_are_scored() -> None:
    rows = version_rows(published(moved()))

    assert [(row["execution"], row["artifact"], row["endpoint"]) for row in rows] == [
        (None, "inline, 0 bytes", None),
        ("offload", "inline, 0 bytes", None),
        ("offload", None, URL),
    ]


def test_a_list_of_inline_models_has_no_columns_of_servers() -> None:
    (row,) = version_rows(published(catalog("iris:1")))

    assert list(row) == ["model", "active", "format", "sha256", "artifact", "options"]


def test_an_endpoint_is_shown_to_people_without_what_may_be_a_secret() -> None:
    url = "https://user:s3cr3t@models.example/iris?key=s3cr3t"
    remote = PublishModel(ModelId("iris", 1), "rest", options={"url": url})
    there = apply(Catalog(), remote, 0, max_bytes=0)

    assert "s3cr3t" not in str(version_rows(published(there)))
    assert "s3cr3t" not in str(status_rows([said()], versions_of(there), job="job"))


def test_programs_get_where_versions_are_scored() -> None:
    rows = [describe_version(one) for one in published(moved())]

    assert [(row["execution"], row["endpoint"]) for row in rows] == [
        ("inline", None),
        ("offload", None),
        ("offload", URL),
    ]
    assert [row["artifact"] for row in rows] == [
        *[{"sha256": "0" * 64, "inline_bytes": 0}] * 2,
        None,
    ]


def test_statuses_show_where_their_versions_are_scored() -> None:
    statuses = [said(model=ModelId("iris", version)) for version in (1, 2, 3, 4)]

    rows = status_rows(statuses, versions_of(moved()), job="job")

    assert [(row["execution"], row["endpoint"]) for row in rows] == [
        (None, None),
        ("offload", None),
        ("offload", URL),
        (None, None),
    ]


def test_programs_get_where_the_versions_of_statuses_are_scored_as_far_as_it_is_known() -> None:
    statuses = [said(model=ModelId("iris", version)) for version in (1, 3, 4)]
    silent = unmentioned(moved(), statuses, None)

    rows = describe_statuses(statuses, versions_of(moved()), silent)

    assert [(row["execution"], row["endpoint"]) for row in rows] == [
        ("inline", None),
        ("offload", URL),
        (None, None),
        ("offload", None),
    ]


def test_a_version_without_a_word_shows_where_it_will_be_scored() -> None:
    silent = unmentioned(moved(), [], "iris:3")

    assert status_rows([], {}, silent, job="job") == [
        {"model": "iris:3", "status": "-", "execution": "offload", "endpoint": URL}
    ]
