"""The JSON Schemas in docs/schemas/ are the records' own, and say the same as the code that reads them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from devtools.schemas import FOLDER, RECORDS, schemas, write_schemas
from udfs.errors import UpdateError
from udfs.models.updates import Artifact, PublishModel, decode_update, encode_update
from udfs.records import ModelId, ModelStatus, Prediction, ServedModel

SHA = "0" * 64
IRIS = {"name": "iris", "version": 1}
INLINE = {"sha256": SHA, "inline": "bW9kZWw="}
PUBLISH = {"type": "publish_model", "model": IRIS, "format": "onnx", "artifact": INLINE}
REMOTE = {
    "type": "publish_model",
    "model": IRIS,
    "format": "rest",
    "options": {"url": "https://models.example/iris"},
}
RETIRE = {"type": "retire_model", "model": IRIS}

GOOD_UPDATES = {
    "inline": PUBLISH,
    "by URI": {**PUBLISH, "artifact": {"sha256": SHA, "uri": "file:///m"}},
    "by URI, inline null": {**PUBLISH, "artifact": {"sha256": SHA, "uri": "file:///m", "inline": None}},
    "with checks": {**PUBLISH, "checks": [{"data": [1], "outputs": {"y": 1}, "tolerance": 0.1}]},
    "offloaded": {**PUBLISH, "execution": "offload"},
    "inline in so many words": {**PUBLISH, "execution": "inline"},
    "remote": REMOTE,
    "remote in so many words": {**REMOTE, "artifact": None, "execution": "offload"},
    "an option that is a secret of remotes alone": {**PUBLISH, "options": {"token": "t"}},
    "activate": {"type": "activate_model", "model": IRIS},
    "retire": RETIRE,
    "retire all": {**RETIRE, "model": {"name": "iris"}, "all": True},
}
BAD_UPDATES = {
    "no object": [],
    "unknown type": {**RETIRE, "type": "delete_model"},
    "unknown field": {**RETIRE, "when": "now"},
    "version 0": {**RETIRE, "model": {"name": "iris", "version": 0}},
    "version as text": {**RETIRE, "model": {"name": "iris", "version": "2"}},
    "version 1.5": {**RETIRE, "model": {"name": "iris", "version": 1.5}},
    "bad name": {**RETIRE, "model": {"name": "a/b", "version": 1}},
    "name and a line feed": {**RETIRE, "model": {"name": "iris\n", "version": 1}},
    "name of all and a line feed": {**RETIRE, "model": {"name": "iris\n"}, "all": True},
    "format and a line feed": {**PUBLISH, "format": "onnx\n"},
    "sha256 and a line feed": {**PUBLISH, "artifact": {**INLINE, "sha256": f"{SHA}\n"}},
    "empty URI": {**PUBLISH, "artifact": {"sha256": SHA, "uri": ""}},
    "short sha256": {**PUBLISH, "artifact": {**INLINE, "sha256": "9f"}},
    "neither inline nor URI": {**PUBLISH, "artifact": {"sha256": SHA}},
    "both inline and URI": {**PUBLISH, "artifact": {**INLINE, "uri": "file:///m"}},
    "no artifact": {**PUBLISH, "artifact": None},
    "another execution": {**PUBLISH, "execution": "async"},
    "remote with an artifact": {**REMOTE, "artifact": INLINE},
    "remote and inline": {**REMOTE, "execution": "inline"},
    "remote with a secret": {**REMOTE, "options": {"token": "t"}},
    "negative tolerance": {**PUBLISH, "checks": [{"data": 1, "outputs": 1, "tolerance": -1}]},
    "all of one version": {**RETIRE, "all": True},
    "neither all nor a version": {**RETIRE, "model": {"name": "iris"}},
}


def accepts(name: str, value: Any) -> bool:
    """Whether a schema of docs/schemas/ accepts a value."""
    schema = json.loads((FOLDER / f"{name}.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return bool(Draft202012Validator(schema).is_valid(value))


def test_the_schemas_are_current() -> None:
    written = {path.name: path.read_bytes() for path in FOLDER.glob("*")}

    assert written == schemas(), "run: python -m devtools.schemas"


def test_writing_them_removes_those_of_records_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(b"{}")

    write_schemas(tmp_path)

    assert {path.stem for path in tmp_path.iterdir()} == set(RECORDS)


@pytest.mark.parametrize("update", GOOD_UPDATES.values(), ids=list(GOOD_UPDATES))
def test_an_update_that_the_job_takes_is_valid(update: Any) -> None:
    decode_update(json.dumps(update).encode())

    assert accepts("model-update", update)


@pytest.mark.parametrize("update", BAD_UPDATES.values(), ids=list(BAD_UPDATES))
def test_an_update_that_the_job_refuses_is_not_valid(update: Any) -> None:
    with pytest.raises(UpdateError):
        decode_update(json.dumps(update).encode())

    assert not accepts("model-update", update)


@pytest.mark.parametrize(
    "update",
    [
        PublishModel(ModelId("iris", 1), "onnx", Artifact(sha256=SHA, inline=b"model")),
        PublishModel(ModelId("iris", 1), "rest", options={"url": "https://models.example/iris"}),
    ],
    ids=["local", "remote"],
)
def test_an_update_that_is_written_is_valid(update: PublishModel) -> None:
    assert accepts("model-update", json.loads(encode_update(update)))


@pytest.mark.parametrize("data", [None, 1, "text", [1.5, None], {"a": {"b": []}}])
def test_an_event_may_hold_any_data(data: Any) -> None:
    assert accepts("event", {"id": "e-1", "model": "iris:2", "data": data, "more": 1})


@pytest.mark.parametrize("event", [1, [], {}, {"data": 1, "model": 2}, {"data": 1, "id": []}])
def test_what_the_job_reads_as_no_event_is_not_valid(event: Any) -> None:
    assert not accepts("event", event)


def test_a_prediction_and_a_status_that_are_written_are_valid() -> None:
    prediction = Prediction("e-1", ServedModel("iris", 1, SHA), {"label": "setosa"})
    status = ModelStatus("job", ModelId("iris", 1), "ready", 0, 1, 0, SHA, "2026-11-23T10:00:00Z")

    assert accepts("prediction", msgspec.to_builtins(prediction))
    assert accepts("model-status", msgspec.to_builtins(status))
