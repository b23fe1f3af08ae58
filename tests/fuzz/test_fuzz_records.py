"""Whatever bytes come as a record, reading them gives a value or the error that is meant for it."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.examples import JSON_VALUES, ODD_JSON, changed, examples, mutated
from tests.loads import PlainModels, no_times
from udfs.batches import (
    Envelope,
    Outcome,
    OutcomeKind,
    decode_envelope,
    decode_headers,
    decode_outcomes,
    encode_envelope,
    encode_headers,
    encode_outcomes,
)
from udfs.engine import Failure, LoadedModel, decode_event, score_values
from udfs.errors import DecodeError, ModelstreamError, ResolveError, UpdateError
from udfs.json_values import JsonValue, read_json, write_json
from udfs.models.updates import decode_update, encode_update
from udfs.records import Event, ModelId, ServedModel

PUBLISH: dict[str, Any] = {
    "type": "publish_model",
    "model": {"name": "m", "version": 3},
    "format": "onnx",
    "artifact": {"sha256": "0" * 64, "uri": "s3://models/m"},
    "activate": True,
    "options": {"threads": 1},
    "checks": [{"data": {"x": 1}, "outputs": {"y": 2.5}, "tolerance": 0.1}],
    "occurred_on": "2026-11-23T10:00:00Z",
    "effective_from": 1_700_000_000_000,
}
REMOTE: dict[str, Any] = {
    "type": "publish_model",
    "model": {"name": "m", "version": 4},
    "format": "rest",
    "options": {"url": "https://models.example/m", "headers": {"x-team": "a"}, "credentials": "bank"},
    "execution": "offload",
}
ACTIVATE: dict[str, Any] = {
    "type": "activate_model",
    "model": {"name": "m", "version": 3},
    "effective_from": 5,
}
RETIRE: dict[str, Any] = {"type": "retire_model", "model": {"name": "m", "version": 3}, "all": False}
EVENT: dict[str, Any] = {"id": "e-1", "model": "m", "data": {"x": 1.5, "y": [1, None]}}


def as_json(value: Any) -> bytes:
    # Python's writer says NaN, numbers of any size and half surrogate pairs.
    return json.dumps(value).encode()


UPDATES = st.one_of(
    st.sampled_from([PUBLISH, REMOTE, ACTIVATE, RETIRE]).flatmap(changed).map(as_json),
    st.sampled_from([PUBLISH, REMOTE, ACTIVATE, RETIRE]).map(as_json).flatmap(mutated),
    JSON_VALUES.map(as_json),
    ODD_JSON,
    st.binary(max_size=40),
)
EVENTS = st.one_of(
    changed(EVENT).map(as_json),
    mutated(as_json(EVENT)),
    JSON_VALUES.map(as_json),
    ODD_JSON,
    st.binary(max_size=40),
)


@examples(400)
@given(UPDATES)
def test_a_control_record_is_an_update_or_an_update_error(value: bytes) -> None:
    try:
        update = decode_update(value)
    except UpdateError:
        return
    assert decode_update(encode_update(update)) == update or b"NaN" in value


@examples(400)
@given(EVENTS)
def test_a_value_is_an_event_or_a_decode_error(value: bytes) -> None:
    try:
        event = decode_event(value)
    except DecodeError:
        return
    assert isinstance(event, Event)


class Echo:
    """A model that gives back what it is given, and has no answer to some of it."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue]:
        if any(value == "stop" for value in inputs):
            raise ValueError("on purpose")
        return list(inputs)

    def close(self) -> None: ...


def serve(reference: str) -> LoadedModel:
    if reference == "iris":
        raise ResolveError("no such model")
    served = ServedModel(reference, 1, "0" * 64)
    return LoadedModel(served, Echo(), msgspec.Raw(msgspec.json.encode(served)), 0.0, ())


@examples(300)
@given(st.lists(EVENTS, min_size=1, max_size=6), st.sampled_from([None, "m", "iris"]))
def test_each_value_of_a_batch_is_scored_or_fails_for_itself(
    values: list[bytes], default: str | None
) -> None:
    scored = score_values(values, PlainModels(serve), no_times(len(values)), default)
    assert len(scored) == len(values)
    for one in scored:
        if isinstance(one, Failure):
            assert isinstance(one.error, ModelstreamError)
            assert one.error.stage in ("decode", "resolve", "score")
        else:
            assert isinstance(one, bytes)
            assert {"id", "model", "outputs"} <= msgspec.json.decode(one, type=dict).keys()


@examples(300)
@given(st.one_of(JSON_VALUES.map(as_json), ODD_JSON, st.binary(max_size=40)))
def test_json_that_is_read_can_be_written_and_read_again(text: bytes) -> None:
    try:
        value = read_json(text)
    except ValueError:
        return
    try:
        again = write_json(value)
    except ValueError:
        return  # an integer beyond 64 bits, or nested too deeply
    assert write_json(read_json(again)) == again


@examples(200)
@given(st.text(max_size=30))
def test_a_model_id_is_read_as_it_is_written_or_refused(text: str) -> None:
    try:
        model = ModelId.parse(text)
    except ValueError:
        return
    assert ModelId.parse(str(model)) == model


HEADERS = st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3).map(tuple)
ENVELOPES = st.builds(
    Envelope,
    topic=st.text(max_size=20),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(-1, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(max_size=9),
    null_value=st.booleans(),
    headers=HEADERS,
)


@examples(200)
@given(ENVELOPES)
def test_an_envelope_is_read_as_it_was_written(envelope: Envelope) -> None:
    assert decode_envelope(encode_envelope(envelope)) == envelope


@examples(100)
@given(HEADERS)
def test_headers_are_read_as_they_were_written(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert decode_headers(encode_headers(headers)) == headers


@examples(100)
@given(
    st.lists(
        st.builds(
            Outcome,
            kind=st.sampled_from(OutcomeKind),
            value=st.binary(max_size=9),
            envelope=ENVELOPES.map(encode_envelope),
            details=HEADERS.map(encode_headers),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_outcomes_are_read_as_they_were_written(outcomes: list[Outcome]) -> None:
    assert decode_outcomes(encode_outcomes(outcomes)) == outcomes
