"""The time of an event: its record's timestamp, or a field of its value."""

import json

import pytest

from udfs.batches import BatchKind, Envelope, decode_events, encode_envelope, encode_events
from udfs.event_times import TimeField, record_times


def test_the_times_of_records_are_their_timestamps() -> None:
    times = [5, -1, 2**40]
    records = [
        (b"{}", encode_envelope(Envelope("t", 0, 0, time, b"k" * time.bit_length(), False, ())))
        for time in times
    ]

    batch = decode_events(encode_events(BatchKind.EVENTS, 0, records))

    assert record_times(batch).tolist() == times


def test_a_batch_without_records_has_no_times() -> None:
    assert record_times(decode_events(encode_events(BatchKind.HEARTBEAT, 0, []))).tolist() == []


@pytest.mark.parametrize(
    ("said", "time"),
    [
        (1_795_484_795_000, 1_795_484_795_000),
        ("2026-11-24T01:46:35Z", 1_795_484_795_000),
        ("2026-11-24T02:46:35.250+01:00", 1_795_484_795_250),
        (0, 0),
    ],
)
def test_a_field_says_milliseconds_or_rfc_3339(said: object, time: int) -> None:
    times = TimeField("data.at").read([json.dumps({"data": {"at": said}}).encode()])

    assert (times.at.tolist(), times.errors) == ([time], {})


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"at": null}',
        b'{"at": true}',
        b'{"at": -1}',
        b'{"at": 1.5}',
        b'{"at": "yesterday"}',
        b'{"at": "2026-11-24T01:46:35"}',
        b'{"at": 99999999999999999999}',
    ],
)
def test_an_event_that_says_no_time_fails_alone(value: bytes) -> None:
    times = TimeField("at").read([b'{"at": 7}', value])

    assert times.at.tolist() == [7, -1]
    assert list(times.errors) == [1]
