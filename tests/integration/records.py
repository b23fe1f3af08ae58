"""Records for the job of the integration tests, good and bad."""

import hashlib
import json
import time

from connectors.client import Record
from udfs.models.updates import ActivateModel, Artifact, PublishModel, encode_update
from udfs.records import ModelId

FIELDS = "sepal_length,sepal_width,petal_length,petal_width"
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
# Older records than the topics' retention would be deleted under the test.
TIME_MS = int(time.time() * 1000) - 3_600_000


def publish(name: str, version: int, content: bytes, sha256: str | None = None) -> Record:
    update = PublishModel(
        ModelId(name, version),
        "onnx",
        Artifact(sha256=sha256 or hashlib.sha256(content).hexdigest(), inline=content),
        options={"fields": FIELDS},
    )
    return Record(encode_update(update), name.encode())


def event(number: int, model: str = "iris", data: object = SETOSA) -> Record:
    value = json.dumps({"id": number, "model": model, "data": data}).encode()
    return Record(
        value, b"key-%d" % (number % 7), (("traceparent", b"00-%d" % number),), TIME_MS + number % 1000
    )


URIS = {
    "unreachable": "http://127.0.0.1:1/models/thorn.onnx",
    "forbidden": "http://127.0.0.1:2/models/thorn.onnx",
    "a missing file": "file:///modelstream/no/such/file.onnx",
    "outside the allowed path": "http://127.0.0.1:1/models/../secrets/thorn.onnx",
    "a file outside the allowed folder": "file:///modelstream/no/../secrets/thorn.onnx",
}
ALLOWED = '["http://127.0.0.1:1/models", "file:///modelstream/no"]'


def by_uri(name: str, version: int, uri: str) -> Record:
    artifact = Artifact(sha256="1" * 64, uri=uri)
    return Record(encode_update(PublishModel(ModelId(name, version), "onnx", artifact)), name.encode())


PMML = b'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/></PMML>'
"""A document without a model, which is published as ONNX."""

BROKEN_EVENTS = {
    "not JSON": (b"not JSON", "decode"),
    "JSON but no object": (b"[1, 2]", "decode"),
    "invalid UTF-8": (b'{"id": "\xff\xfe"}', "decode"),
    "deep nesting": (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "decode"),
    "null value": (None, "decode"),
    "no data": (b'{"model": "iris"}', "decode"),
    "no model": (b'{"data": {}}', "resolve"),
    "unknown model": (b'{"model": "rose", "data": {}}', "resolve"),
    "unknown version": (b'{"model": "iris:9", "data": {}}', "resolve"),
    "missing field": (b'{"model": "iris", "data": {"sepal_length": 1}}', "score"),
    "wrong type": (json.dumps({"model": "iris", "data": {**SETOSA, "petal_width": "x"}}).encode(), "score"),
    "wrong shape": (b'{"model": "iris", "data": [1.0, 2.0]}', "score"),
    "wrong rank": (b'{"model": "iris", "data": [[[1.0, 2.0, 3.0, 4.0]]]}', "score"),
    "3 MB": (b'{"model": "iris", "data": "' + b"x" * 3_000_000 + b'"}', "score"),
    "10 MB": (b'{"model": "iris", "data": "' + b"x" * 10_000_000 + b'"}', "score"),
    "a name of 2,000 emoji": (
        b'{"model": "%s", "data": {}}' % ("\N{SNAKE}" * 2000).encode(),
        "resolve",
    ),
}
"""Values of events that can't be scored, and the stage that each fails in."""


def update(**fields: object) -> bytes:
    """A control record by hand: what `encode_update` would never write."""
    return json.dumps(fields).encode()


IRIS_2 = {"name": "iris", "version": 2}
MALFORMED_UPDATES = {
    "not JSON": b"not an update",
    "a null value": b"null",
    "no object": b"[]",
    "an unknown type": update(type="delete_model", model=IRIS_2),
    "an unknown field": update(type="activate_model", model=IRIS_2, when="now"),
    "version 0": update(type="activate_model", model={"name": "iris", "version": 0}),
    "version -1": update(type="activate_model", model={"name": "iris", "version": -1}),
    'version "2"': update(type="activate_model", model={"name": "iris", "version": "2"}),
    "version 1.5": update(type="activate_model", model={"name": "iris", "version": 1.5}),
    "activating what is not published": encode_update(ActivateModel(ModelId("iris", 77))),
    "retiring what is active": update(type="retire_model", model={"name": "rosa", "version": 1}),
    "retiring what is not published": update(type="retire_model", model={"name": "iris", "version": 78}),
}
"""Updates that never change the catalog; each is a dead letter."""
