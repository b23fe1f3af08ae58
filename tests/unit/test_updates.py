"""Model updates as they are read and written, and what makes a version the same one."""

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from udfs.errors import UpdateError
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    Check,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
    decode_update,
    encode_update,
)
from udfs.records import ModelId
from udfs.remotes import REMOTES

SHA = "0f" * 32
MODEL = {"name": "iris", "version": 2}
INLINE = {"sha256": SHA, "inline": "bW9kZWw="}
PUBLISH = {"type": "publish_model", "model": MODEL, "format": "onnx", "artifact": INLINE}
ACTIVATE = {"type": "activate_model", "model": MODEL}
RETIRE = {"type": "retire_model", "model": MODEL}


def decode(update: object) -> ModelUpdate:
    return decode_update(json.dumps(update).encode())


def published(**changed: Any) -> PublishModel:
    update = decode({**PUBLISH, **changed})
    assert isinstance(update, PublishModel)
    return update


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
json_values = st.recursive(
    leaves,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc"), below, max_size=3),
    max_leaves=8,
)
options = st.dictionaries(st.text("abc", min_size=1), json_values, max_size=4)
model_ids = st.builds(
    ModelId, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True), st.integers(1, 2**31 - 1)
)
sha256s = st.text("0123456789abcdef", min_size=64, max_size=64)
artifacts = st.builds(Artifact, sha256s, inline=st.binary(max_size=50)) | st.builds(
    Artifact, sha256s, uri=st.text(st.characters(codec="utf-8"), min_size=1)
)
checks = st.builds(Check, json_values, json_values, st.floats(0, 1))
times = st.none() | st.just("2026-11-23T10:00:00Z")
some_checks = st.lists(checks, max_size=2).map(tuple)
executions = st.sampled_from([UNSET, "offload"])
local_publications = st.builds(
    PublishModel,
    model_ids,
    st.from_regex(r"[a-z][a-z0-9-]{0,63}", fullmatch=True).filter(lambda name: name not in REMOTES),
    artifacts,
    st.booleans(),
    options,
    some_checks,
    times,
    execution=executions,
)
remote_publications = st.builds(
    PublishModel,
    model_ids,
    st.sampled_from(sorted(REMOTES)),
    activate=st.booleans(),
    options=options,
    checks=some_checks,
    occurred_on=times,
    execution=executions,
)
publications = local_publications | remote_publications
updates = (
    publications
    | st.builds(ActivateModel, model_ids, times)
    | st.builds(lambda model: RetireModel(RetiredModel(model.name, model.version)), model_ids)
    | st.builds(lambda model: RetireModel(RetiredModel(model.name), all=True), model_ids)
)
any_update = settings(deadline=None, derandomize=True)


@any_update
@given(updates)
def test_an_update_that_was_written_is_read_as_it_was(update: ModelUpdate) -> None:
    assert decode_update(encode_update(update)) == update


@any_update
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_update_is_an_update_error_whatever_it_is(value: bytes) -> None:
    with pytest.raises(UpdateError):
        decode_update(value)


def test_a_publication_needs_no_more_than_what_and_where_it_is() -> None:
    assert published() == PublishModel(
        ModelId("iris", 2),
        "onnx",
        Artifact(SHA, inline=b"model"),
        activate=True,
        options={},
        checks=(),
        occurred_on=None,
    )


def test_a_publication_may_say_more() -> None:
    update = published(
        artifact={"sha256": SHA, "uri": "s3://models/iris"},
        activate=False,
        options={"fields": ["a", "b"], "threads": 2},
        checks=[{"data": [1], "outputs": {"y": 1}}, {"data": None, "outputs": None, "tolerance": 0.5}],
        occurred_on="2026-11-23T10:00:00Z",
    )

    assert update.artifact == Artifact(SHA, uri="s3://models/iris")
    assert (update.activate, update.options) == (False, {"fields": ["a", "b"], "threads": 2})
    assert update.checks == (Check([1], {"y": 1}, 0.0), Check(None, None, 0.5))
    assert update.occurred_on == "2026-11-23T10:00:00Z"


def test_a_check_may_name_nan_and_infinity() -> None:
    value = json.dumps({**PUBLISH, "checks": [{"data": [float("nan"), float("-inf")], "outputs": 1}]})

    update = decode_update(value.encode())

    assert isinstance(update, PublishModel)
    assert repr(update.checks[0].data) == "[nan, -inf]"


REFERENCES = [
    (PUBLISH, "iris:2"),
    (ACTIVATE, "iris:2"),
    (RETIRE, "iris:2"),
    ({**RETIRE, "model": {"name": "iris"}, "all": True}, "iris"),
]


@pytest.mark.parametrize(("update", "reference"), REFERENCES, ids=["publish", "activate", "retire", "all"])
def test_an_update_says_what_it_is_about(update: object, reference: str) -> None:
    assert decode(update).reference == reference


@pytest.mark.parametrize("name", ["i", "0", "Iris", "a.b_c-d", "x" * 128])
def test_a_model_may_have_a_name_of_letters_digits_and_a_few_signs(name: str) -> None:
    assert decode({**ACTIVATE, "model": {"name": name, "version": 1}}).reference == f"{name}:1"


BAD_MODELS: dict[str, tuple[Any, str]] = {
    "no name": ({"version": 1}, "`$.model`"),
    "an empty name": ({"name": "", "version": 1}, "`$.model.name`"),
    "a sign first": ({"name": "-iris", "version": 1}, "`$.model.name`"),
    "a slash": ({"name": "a/b", "version": 1}, "`$.model.name`"),
    "a colon": ({"name": "iris:1", "version": 1}, "`$.model.name`"),
    "a space": ({"name": "iris ", "version": 1}, "`$.model.name`"),
    "a line feed": ({"name": "iris\n", "version": 1}, "`$.model.name`"),
    "a letter that is not ASCII": ({"name": "irís", "version": 1}, "`$.model.name`"),
    "129 letters": ({"name": "x" * 129, "version": 1}, "`$.model.name`"),
    "a number as name": ({"name": 1, "version": 1}, "`$.model.name`"),
    "version 0": ({"name": "iris", "version": 0}, "`$.model.version`"),
    "version -1": ({"name": "iris", "version": -1}, "`$.model.version`"),
    "version 1.5": ({"name": "iris", "version": 1.5}, "`$.model.version`"),
    "version true": ({"name": "iris", "version": True}, "`$.model.version`"),
    "version as text": ({"name": "iris", "version": "2"}, "`$.model.version`"),
    "version beyond 32 bits": ({"name": "iris", "version": 2**31}, "`$.model.version`"),
    "an unknown field": ({"name": "iris", "version": 1, "stage": "a"}, "field `stage` - at `$.model`"),
    "no object": ("iris:1", "`$.model`"),
}


@pytest.mark.parametrize("update", [PUBLISH, ACTIVATE, RETIRE], ids=["publish", "activate", "retire"])
@pytest.mark.parametrize(("model", "said"), BAD_MODELS.values(), ids=list(BAD_MODELS))
def test_a_model_id_that_is_none_is_told_by_its_path(
    update: dict[str, Any], model: object, said: str
) -> None:
    with pytest.raises(UpdateError) as error:
        decode({**update, "model": model})

    assert str(error.value).startswith("not a model update: ")
    assert said in str(error.value)


BAD_PUBLICATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"artefact": {}}, "unknown field `artefact`"),
    "an empty format": ({"format": ""}, "`$.format`"),
    "a format in capitals": ({"format": "ONNX"}, "`$.format`"),
    "a digit first": ({"format": "2d"}, "`$.format`"),
    "a format of 65 letters": ({"format": "x" * 65}, "`$.format`"),
    "a format and a line feed": ({"format": "onnx\n"}, "`$.format`"),
    "a module as format": ({"format": "os.path"}, "`$.format`"),
    "no artifact": ({"artifact": None}, "`$.artifact`"),
    "no sha256": ({"artifact": {"inline": ""}}, "missing required field `sha256`"),
    "63 digits": ({"artifact": {**INLINE, "sha256": "0" * 63}}, "`$.artifact.sha256`"),
    "65 digits": ({"artifact": {**INLINE, "sha256": "0" * 65}}, "`$.artifact.sha256`"),
    "64 digits and a line feed": ({"artifact": {**INLINE, "sha256": SHA + "\n"}}, "`$.artifact.sha256`"),
    "capitals": ({"artifact": {**INLINE, "sha256": SHA.upper()}}, "`$.artifact.sha256`"),
    "neither inline nor URI": ({"artifact": {"sha256": SHA}}, "exactly one of `inline` and `uri`"),
    "both inline and URI": ({"artifact": {**INLINE, "uri": "s3://a"}}, "exactly one of `inline` and `uri`"),
    "both though empty": (
        {"artifact": {"sha256": SHA, "inline": "", "uri": "s3://a"}},
        "exactly one of `inline` and `uri`",
    ),
    "an empty URI": ({"artifact": {"sha256": SHA, "uri": ""}}, "`$.artifact.uri`"),
    "a number as URI": ({"artifact": {"sha256": SHA, "uri": 1}}, "`$.artifact.uri`"),
    "no base64": ({"artifact": {**INLINE, "inline": "bW9kZW"}}, "`$.artifact.inline`"),
    "bytes as a list": ({"artifact": {**INLINE, "inline": [1]}}, "`$.artifact.inline`"),
    "activate as text": ({"activate": "yes"}, "`$.activate`"),
    "options as a list": ({"options": []}, "`$.options`"),
    "no options": ({"options": None}, "`$.options`"),
    "a check alone": ({"checks": {"data": 1, "outputs": 1}}, "`$.checks`"),
    "a check without outputs": ({"checks": [{"data": 1}]}, "`$.checks[0]`"),
    "a check without data": ({"checks": [{"outputs": 1}]}, "`$.checks[0]`"),
    "a check that says more": ({"checks": [{"data": 1, "outputs": 1, "why": ""}]}, "field `why`"),
    "a negative tolerance": (
        {"checks": [{"data": 1, "outputs": 1}, {"data": 1, "outputs": 1, "tolerance": -1e-9}]},
        "`$.checks[1].tolerance`",
    ),
    "a tolerance that is no number": (
        {"checks": [{"data": 1, "outputs": 1, "tolerance": float("nan")}]},
        "`$.checks[0].tolerance`",
    ),
    "a tolerance without end": (
        {"checks": [{"data": 1, "outputs": 1, "tolerance": float("inf")}]},
        "`$.checks[0]`",
    ),
    "a tolerance as text": (
        {"checks": [{"data": 1, "outputs": 1, "tolerance": "0.1"}]},
        "`$.checks[0].tolerance`",
    ),
    "a time as a number": ({"occurred_on": 1}, "`$.occurred_on`"),
    "an execution of another name": ({"execution": "async"}, "`$.execution`"),
    "no execution": ({"execution": None}, "`$.execution`"),
    "offloaded without an artifact": ({"artifact": None, "execution": "offload"}, "`$.artifact`"),
    "a protocol with an artifact": (
        {"format": "rest"},
        "Format rest has no artifact: the server that it asks has the model - at `$.artifact`",
    ),
}


@pytest.mark.parametrize(("changed", "said"), BAD_PUBLICATIONS.values(), ids=list(BAD_PUBLICATIONS))
def test_a_publication_that_is_none_is_told_by_its_path(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UpdateError) as error:
        decode({**PUBLISH, **changed})

    assert str(error.value).startswith("not a model update: ")
    assert said in str(error.value)


def test_a_local_format_needs_an_artifact() -> None:
    with pytest.raises(UpdateError, match=r"Format onnx needs an artifact - at `\$.artifact`"):
        decode({name: value for name, value in PUBLISH.items() if name != "artifact"})


@pytest.mark.parametrize("missing", ["type", "model", "format"])
def test_a_field_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(UpdateError, match=f"missing required field `{missing}`"):
        decode({name: value for name, value in PUBLISH.items() if name != missing})


@pytest.mark.parametrize(
    ("model", "every", "said"),
    [
        (MODEL, True, "leave `model.version` out"),
        ({"name": "iris"}, False, "expected `model.version`"),
        ({"name": "iris", "version": None}, False, "expected `model.version`"),
    ],
)
def test_one_version_is_retired_or_all_of_them(model: object, every: bool, said: str) -> None:
    with pytest.raises(UpdateError, match=said):
        decode({**RETIRE, "model": model, "all": every})


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({**ACTIVATE, "type": "delete_model"}, "Invalid value 'delete_model' - at `$.type`"),
        ({**ACTIVATE, "type": 1}, "`$.type`"),
        ({**ACTIVATE, "all": True}, "unknown field `all`"),
        ({**RETIRE, "format": "onnx"}, "unknown field `format`"),
        ([ACTIVATE], "got `array`"),
        ("activate", "got `str`"),
        (None, "got `null`"),
    ],
)
def test_the_updates_are_three_and_no_more(update: object, said: str) -> None:
    with pytest.raises(UpdateError) as error:
        decode(update)

    assert str(error.value).startswith("not a model update: ")
    assert said in str(error.value)


@pytest.mark.parametrize("value", [b"", b"iris", b'{"type": ', b'{"type": "\xff"}', b"{NaN}"])
def test_what_is_not_json_is_told(value: bytes) -> None:
    with pytest.raises(UpdateError, match=r"^not JSON: "):
        decode_update(value)


def reordered(value: Any) -> Any:
    """The same JSON value, the fields of every object the other way round."""
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


@any_update
@given(publications)
def test_the_order_of_fields_makes_no_other_version(update: PublishModel) -> None:
    again = decode(reordered(json.loads(encode_update(update))))

    assert isinstance(again, PublishModel)
    assert again.identity() == update.identity()


SAME: dict[str, dict[str, Any]] = {
    "another name and number": {"model": ModelId("rose", 9)},
    "another place": {"artifact": Artifact(SHA, uri="s3://elsewhere/iris")},
    "not active": {"activate": False},
    "another time": {"occurred_on": "2026-11-24T10:00:00Z"},
}
OTHER: dict[str, dict[str, Any]] = {
    "another format": {"format": "pmml"},
    "other bytes": {"artifact": Artifact("1f" * 32, inline=b"model")},
    "an option more": {"options": {"threads": 1}},
    "a check more": {"checks": (Check(1, 1), Check(1, 1))},
    "no check": {"checks": ()},
    "another input": {"checks": (Check(2, 1),)},
    "another output": {"checks": (Check(1, 2),)},
    "another tolerance": {"checks": (Check(1, 1, 0.1),)},
    "true for 1": {"checks": (Check(1, True),)},
}


@pytest.mark.parametrize("changed", SAME.values(), ids=list(SAME))
def test_what_is_not_of_the_descriptor_makes_no_other_version(changed: dict[str, Any]) -> None:
    update = published(checks=[{"data": 1, "outputs": 1}])

    assert msgspec.structs.replace(update, **changed).identity() == update.identity()


@pytest.mark.parametrize("changed", OTHER.values(), ids=list(OTHER))
def test_whatever_is_of_the_descriptor_makes_another_version(changed: dict[str, Any]) -> None:
    update = published(checks=[{"data": 1, "outputs": 1}])

    assert msgspec.structs.replace(update, **changed).identity() != update.identity()


def test_an_identity_is_the_sha256_of_sorted_compact_json() -> None:
    update = published(options={"b": [1, 2.5], "a": "é"}, checks=[{"data": {"x": 1}, "outputs": [True]}])
    canonical = (
        f'{{"artifact":"{SHA}","checks":[{{"data":{{"x":1}},"outputs":[true],"tolerance":0.0}}],'
        '"format":"onnx","options":{"a":"é","b":[1,2.5]}}'
    )

    assert update.identity() == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("part", ["data", "outputs"])
def test_nan_infinity_and_null_make_different_versions(part: str) -> None:
    values = (None, float("nan"), float("inf"), float("-inf"), "NaN")
    versions = [published(checks=[{"data": 1, "outputs": 1, part: [value]}]) for value in values]

    assert len({version.identity() for version in versions}) == len(values)


def test_nan_in_a_check_is_written_as_it_was_read() -> None:
    update = published(checks=[{"data": [float("nan")], "outputs": 1}])

    again = decode_update(encode_update(update))

    assert isinstance(again, PublishModel)
    assert again.identity() == update.identity()


@pytest.mark.parametrize("depth", [200, 990, 996])
def test_an_update_nested_too_deeply_to_be_written_everywhere_is_refused(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    value = (
        '{"type": "publish_model", "model": {"name": "m", "version": 1}, "format": "onnx", '
        f'"artifact": {{"sha256": "{"0" * 64}", "inline": ""}}, "options": {{"o": {nested}}}}}'
    )

    with pytest.raises(UpdateError, match="nested more than 200 deep"):
        decode_update(value.encode())
