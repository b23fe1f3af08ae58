"""Versions that are scored beside the stream: what their updates may say, and what makes one the same."""

import json
from hashlib import sha256
from typing import Any

import pytest

from udfs.errors import UpdateError
from udfs.models.updates import Artifact, Check, PublishModel, decode_update, encode_update
from udfs.records import ModelId
from udfs.remotes import REMOTES

SHA = "0f" * 32
MODEL = {"name": "iris", "version": 2}
LOCAL = {
    "type": "publish_model",
    "model": MODEL,
    "format": "onnx",
    "artifact": {"sha256": SHA, "inline": "bW9kZWw="},
}
URL = "grpc://127.0.0.1:8081"
REMOTE = {
    "type": "publish_model",
    "model": MODEL,
    "format": "open-inference",
    "options": {"url": URL, "model": "iris"},
}


def decode(update: object) -> PublishModel:
    decoded = decode_update(json.dumps(update).encode())
    assert isinstance(decoded, PublishModel)
    return decoded


@pytest.mark.parametrize("format_name", sorted(REMOTES))
def test_a_protocol_is_a_format_without_an_artifact_that_is_always_offloaded(format_name: str) -> None:
    update = decode({**REMOTE, "format": format_name})

    assert (update.artifact, update.inline, update.endpoint) == (None, b"", URL)
    assert update.is_remote
    assert update.is_offloaded


def test_a_protocol_can_not_be_scored_inline() -> None:
    with pytest.raises(UpdateError, match="`execution` of open-inference is always `offload`"):
        decode({**REMOTE, "execution": "inline"})


@pytest.mark.parametrize("url", [None, 7, ["grpc://a"]])
def test_an_endpoint_that_is_none_is_not_taken_for_one(url: object) -> None:
    update = decode({**REMOTE, "options": {"url": url}})

    assert update.endpoint is None


def test_a_url_of_a_local_model_is_an_option_as_any_other() -> None:
    assert decode({**LOCAL, "options": {"url": URL}}).endpoint is None


@pytest.mark.parametrize("name", ["token", "password", "authorization", "bearer", "Authorization", "TOKEN"])
def test_a_secret_among_the_options_of_a_remote_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UpdateError) as error:
        decode({**REMOTE, "options": {"url": URL, name: "s3cr3t"}})

    assert "use credentials" in str(error.value)
    assert f"`$.options.{name}`" in str(error.value)
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("as_text", [False, True], ids=["an object", "text"])
def test_a_secret_among_the_headers_of_a_remote_is_refused_and_not_repeated(as_text: bool) -> None:
    headers = {"Authorization": "Bearer hush"}
    options = {"url": "https://far", "headers": json.dumps(headers) if as_text else headers}
    with pytest.raises(UpdateError, match=r"use credentials.*\$\.options\.headers\.Authorization") as refused:
        decode({**REMOTE, "options": options})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["credentials", "tokens", "token_field"])
def test_an_option_that_only_sounds_like_a_secret_is_taken(name: str) -> None:
    update = decode({**REMOTE, "options": {"url": URL, name: "x"}})

    assert update.options[name] == "x"


def test_the_options_of_a_local_format_have_any_names() -> None:
    assert decode({**LOCAL, "options": {"token": "t"}}).options == {"token": "t"}


def test_local_models_are_scored_inline_unless_it_is_said_otherwise() -> None:
    assert not decode(LOCAL).is_offloaded
    assert not decode({**LOCAL, "execution": "inline"}).is_offloaded
    assert decode({**LOCAL, "execution": "offload"}).is_offloaded


def test_it_makes_no_difference_whether_what_goes_without_saying_is_said() -> None:
    assert decode({**LOCAL, "execution": "inline"}) == decode(LOCAL)
    assert decode({**REMOTE, "execution": "offload"}) == decode(REMOTE)


WRITTEN: dict[str, tuple[PublishModel, str, str]] = {
    "inline": (
        PublishModel(
            ModelId("iris", 2),
            "onnx",
            Artifact(SHA, inline=b"model"),
            options={"fields": ["a", "b"], "threads": 2},
            checks=(Check({"a": 1.5}, {"y": [1]}, 0.1), Check(None, "é")),
            occurred_on="2026-11-23T10:00:00Z",
        ),
        '{"type":"publish_model","model":{"name":"iris","version":2},"format":"onnx","artifact":{"sha256":"'
        f'{SHA}","inline":"bW9kZWw="}},"activate":true,"options":{{"fields":["a","b"],"threads":2}},"checks":'
        '[{"data":{"a":1.5},"outputs":{"y":[1]},"tolerance":0.1},{"data":null,"outputs":"é","tolerance":0.0}],'
        '"occurred_on":"2026-11-23T10:00:00Z","effective_from":null}',
        "764ada66cd283203884f18bd133889d2565b660f5492748112cca30616e863d9",
    ),
    "by URI": (
        PublishModel(
            ModelId("iris", 2), "pmml", Artifact(SHA, uri="s3://models/iris"), False, execution="inline"
        ),
        '{"type":"publish_model","model":{"name":"iris","version":2},"format":"pmml","artifact":{"sha256":"'
        f'{SHA}","uri":"s3://models/iris"}},"activate":false,"options":{{}},"checks":[],"occurred_on":null,'
        '"effective_from":null}',
        "eb47680c8b39dcc57963b9b625e563c84239ba8ac9a56c907edd6f176f0e416d",
    ),
    "with numbers that JSON lacks": (
        PublishModel(
            ModelId("iris", 2),
            "pfa",
            Artifact(SHA, uri="s3://models/iris"),
            checks=(Check([float("nan")], float("inf")),),
            effective_from=5,
        ),
        '{"type": "publish_model", "model": {"name": "iris", "version": 2}, "format": "pfa", "artifact": '
        f'{{"sha256": "{SHA}", "uri": "s3://models/iris"}}, "activate": true, "options": {{}}, "checks": '
        '[{"data": [NaN], "outputs": Infinity, "tolerance": 0.0}], "occurred_on": null, "effective_from": 5}',
        "579a9339cf81d95a38fc87a5a1c6decfc645663e91df27cf83eff359a126d4af",
    ),
}
"""Updates as modelstream wrote them when all models were scored inline, and what their identity was."""


@pytest.mark.parametrize(("update", "text", "_"), WRITTEN.values(), ids=list(WRITTEN))
def test_an_inline_update_is_written_as_it_always_was(update: PublishModel, text: str, _: str) -> None:
    assert encode_update(update).decode() == text


@pytest.mark.parametrize(("_", "text", "identity"), WRITTEN.values(), ids=list(WRITTEN))
def test_an_update_that_was_written_before_has_the_identity_that_it_had(
    _: PublishModel, text: str, identity: str
) -> None:
    assert decode(json.loads(text)).identity() == identity


def test_the_execution_is_part_of_what_a_version_is() -> None:
    canonical = f'{{"artifact":"{SHA}","checks":[],"execution":"offload","format":"onnx","options":{{}}}}'

    assert decode({**LOCAL, "execution": "offload"}).identity() == sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("more", [{}, {"execution": "offload"}, {"artifact": None}])
def test_the_identity_of_a_remote_is_that_of_its_descriptor(more: dict[str, Any]) -> None:
    update = decode({**REMOTE, **more})
    options = f'{{"model":"iris","url":"{URL}"}}'
    canonical = f'{{"artifact":null,"checks":[],"format":"open-inference","options":{options}}}'

    assert update.identity() == sha256(canonical.encode()).hexdigest()
