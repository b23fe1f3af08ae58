"""What a pool and its workers say to each other."""

import io
import json
import math

import msgspec
import pytest

from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.worker_messages import (
    Ready,
    Refused,
    Scored,
    decode_inputs,
    decode_load_report,
    decode_results,
    encode_inputs,
    encode_report,
    encode_results,
    frame,
    read_frame,
)


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def shown(results: list[JsonValue | ScoreError]) -> list[str]:
    return list(map(repr, results))


@pytest.mark.parametrize(
    "inputs",
    [[], [1.5, None, True], ["ü", "\ud800"], [{"a": [1]}, {}], [2**64 - 1, 2**64], [[math.inf], 2**70]],
)
def test_inputs_arrive_as_they_are(inputs: list[JsonValue]) -> None:
    assert decode_inputs(encode_inputs(inputs)) == inputs


@pytest.mark.parametrize("beside", [1, 2**70])
def test_not_a_number_arrives(beside: int) -> None:
    [value, _] = decode_inputs(encode_inputs([math.nan, beside]))
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("beside", [1, 2**70])
def test_results_and_errors_arrive_in_order(beside: int) -> None:
    results: list[JsonValue | ScoreError] = [beside, ScoreError("bad"), None, {"a": 1.5}, ScoreError("ü")]
    assert shown(decode_results(encode_results(results), 5)) == shown(results)


def test_outputs_that_can_not_be_sent_are_errors_of_their_inputs() -> None:
    first, bad, last = decode_results(encode_results([1, object(), ScoreError("bad")]), 3)  # type: ignore[list-item]
    assert (first, str(last)) == (1, "bad")
    assert str(bad).startswith("the outputs can't be written as JSON: ")


def test_a_refused_batch_is_to_be_halved() -> None:
    with pytest.raises(OffloadError, match="too long") as caught:
        decode_results(encode_report(Refused("too long")), 2)
    assert caught.value.fault is Fault.RECORD


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[",
        b"\xc1",
        packed(None),
        packed(Ready(())),
        packed(Scored([1], [], [])),
        packed(Scored([1, 2, 3], [], [])),
        packed(Scored([1, 2], [2], ["bad"])),
        packed(Scored([1, 2], [-1], ["bad"])),
        packed(Scored([1, 2], [1], [])),
        packed(Scored([1, 2], [], []))[:-1],
        json.dumps(["scored", 1]).encode(),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_results(body, 2)


def test_reports_of_loads_arrive() -> None:
    for report in (Ready(("slow",)), Refused("no model")):
        assert decode_load_report(encode_report(report)) == report


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_load_report(packed(1))


def test_frames_are_read_one_by_one_until_the_end() -> None:
    stream = io.BytesIO(frame(b"one") + frame(b"") + b"\0\0")
    assert [read_frame(stream) for _ in range(3)] == [b"one", b"", None]
