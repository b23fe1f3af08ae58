"""Lines become events: their bytes untouched, with a key and a time of their own where asked."""

import json
from typing import Any

import pytest

from cli.events import read_events
from udfs.errors import DecodeError


@pytest.mark.parametrize("line", [b'{"id": 1,  "data": {"b": 1, "a": [1.0]}}', b"[1]", b'{"x": NaN}', b"7"])
def test_a_line_goes_as_it_is(line: bytes) -> None:
    (record,) = read_events([line + b"\n"])

    assert (record.value, record.key, record.timestamp) == (line, None, None)


@pytest.mark.parametrize(
    ("customer", "key"),
    [("c-1", b"c-1"), ("ü", "ü".encode()), (7, b"7"), (True, b"true"), ([1, 2], b"[1,2]")],
)
def test_the_key_is_a_field(customer: Any, key: bytes) -> None:
    (record,) = read_events([json.dumps({"data": {"customer": customer}}).encode()], "data.customer")

    assert record.key == key


@pytest.mark.parametrize(
    ("at", "milliseconds"),
    [
        (0, 0),
        (1_790_000_000_123, 1_790_000_000_123),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:00.001+01:00", 1),
    ],
)
def test_the_time_is_a_field(at: Any, milliseconds: int) -> None:
    (record,) = read_events([json.dumps({"at": at}).encode()], timestamp="at")

    assert record.timestamp == milliseconds


def test_events_that_name_no_model_are_given_one() -> None:
    records = read_events([b'{"id": 1}', b'{"id": 2, "model": "rose"}', b"[3]"], model="iris:1")

    assert [json.loads(record.value or b"") for record in records] == [
        {"id": 1, "model": "iris:1"},
        {"id": 2, "model": "rose"},
        [3],
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"no json", "line 3: "),
        (b'{"data": "\xff"}', "line 3: "),
        (b'{"data": {"at": 1}}', "line 3: no field data.customer"),
        (b'{"data": {"customer": null, "at": 1}}', "line 3: no field data.customer"),
        (b'{"data": "customer"}', "line 3: no field data.customer"),
        (b'{"data": {"customer": 1}}', "line 3: no field data.at"),
        (b'{"data": {"customer": 1, "at": "noon"}}', "line 3: Invalid isoformat"),
        (b'{"data": {"customer": 1, "at": "2026-11-23T10:00:00"}}', "a time with its zone"),
        (b'{"data": {"customer": 1, "at": -1}}', "expected milliseconds"),
        (b'{"data": {"customer": 1, "at": true}}', "expected milliseconds"),
        (b'{"data": {"customer": 1, "at": 1.5}}', "expected milliseconds"),
    ],
)
def test_a_line_that_is_no_such_event_is_named(line: bytes, said: str) -> None:
    good = b'{"data": {"customer": 1, "at": 2}}'
    records = read_events([good, b"\n", line, good], "data.customer", "data.at")
    assert next(records).key == b"1"

    with pytest.raises(DecodeError) as refused:
        next(records)

    assert said in str(refused.value)
    assert "1 events before it were sent" in str(refused.value)
