"""Micro-batches are the same bytes in Java and in Python: both read tests/data/batches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from udfs.batches import (
    BatchKind,
    Envelope,
    Outcome,
    OutcomeKind,
    decode_envelope,
    decode_events,
    decode_outcomes,
    encode_envelope,
    encode_events,
    encode_outcomes,
)

VECTORS = Path(__file__).parents[1] / "data" / "batches"


def vectors(name: str) -> pytest.MarkDecorator:
    cases = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


def optional_bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def envelope_of(case: Mapping[str, Any]) -> Envelope:
    return Envelope(
        case["topic"],
        case["partition"],
        case["offset"],
        case["timestamp"],
        optional_bytes(case["key"]),
        case["null_value"],
        tuple((name, optional_bytes(value)) for name, value in case["headers"]),
    )


def outcomes_of(case: Mapping[str, Any]) -> list[Outcome]:
    return [
        Outcome(
            OutcomeKind(outcome["kind"]),
            bytes.fromhex(outcome["value"]),
            bytes.fromhex(outcome["envelope"]),
            bytes.fromhex(outcome["details"]),
        )
        for outcome in case["outcomes"]
    ]


@vectors("envelopes")
def test_an_envelope_is_read_as_what_it_was_written_from(case: Mapping[str, Any]) -> None:
    assert decode_envelope(bytes.fromhex(case["bytes"])) == envelope_of(case)


@vectors("envelopes")
def test_an_envelope_is_written_as_java_writes_it(case: Mapping[str, Any]) -> None:
    assert encode_envelope(envelope_of(case)).hex() == case["bytes"]


@vectors("event_batches")
def test_an_event_batch_is_read_as_what_java_wrote_it_from(case: Mapping[str, Any]) -> None:
    batch = decode_events(bytes.fromhex(case["bytes"]))

    assert batch.barrier_follows == case["barrier_follows"]
    assert (batch.kind, batch.shard, batch.earliest, batch.latest) == (
        case["kind"],
        case["shard"],
        case["earliest"],
        case["latest"],
    )
    assert [value.hex() for value in batch.values] == [record["value"] for record in case["records"]]
    assert [batch.envelope(index).hex() for index in range(len(batch.values))] == [
        record["envelope"] for record in case["records"]
    ]


@vectors("event_batches")
def test_an_event_batch_is_written_as_java_writes_it(case: Mapping[str, Any]) -> None:
    records = [
        (bytes.fromhex(record["value"]), bytes.fromhex(record["envelope"])) for record in case["records"]
    ]

    written = encode_events(
        BatchKind(case["kind"]),
        case["shard"],
        records,
        case["earliest"],
        case["latest"],
        barrier_follows=case["barrier_follows"],
    )

    assert written.hex() == case["bytes"]


@vectors("outcome_batches")
def test_outcomes_are_written_as_java_reads_them(case: Mapping[str, Any]) -> None:
    assert encode_outcomes(outcomes_of(case)).hex() == case["bytes"]


@vectors("outcome_batches")
def test_outcomes_are_read_as_what_they_were_written_from(case: Mapping[str, Any]) -> None:
    assert decode_outcomes(bytes.fromhex(case["bytes"])) == outcomes_of(case)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 3), (1, 3), (3, 4)])
def test_a_run_of_predictions_is_written_as_each_of_them_would_be(start: int, stop: int) -> None:
    envelopes = [encode_envelope(Envelope("e", 0, n, 0, b"k" * n, False, ())) for n in range(4)]
    batch = decode_events(encode_events(BatchKind.EVENTS, 0, [(b"{}", one) for one in envelopes]))
    predictions = [b"p" * (number + 1) for number in range(start, stop)]
    dead = Outcome(OutcomeKind.DEAD_LETTER, b"value", b"envelope", b"details")

    written = encode_outcomes([dead, batch.run(start, predictions), dead])

    one_by_one = [
        Outcome(OutcomeKind.PREDICTION, *both)
        for both in zip(predictions, envelopes[start:stop], strict=True)
    ]
    assert written == encode_outcomes([dead, *one_by_one, dead])
    assert decode_outcomes(written) == [dead, *one_by_one, dead]


def test_a_header_may_be_as_long_as_kafka_lets_it_be() -> None:
    headers = (("n" * 100_000, b"v"), *(("again", b"") for _ in range(70_000)))
    envelope = Envelope("events", 0, 0, 0, None, False, headers)

    assert decode_envelope(encode_envelope(envelope)) == envelope


@pytest.mark.parametrize("key", [None, b"", b"key", b"k" * 300])
def test_the_key_of_an_event_is_read_from_its_envelope_alone(key: bytes | None) -> None:
    envelopes = [encode_envelope(Envelope("topic", 0, n, 0, key, False, (("h", b"v"),))) for n in range(2)]
    batch = decode_events(encode_events(BatchKind.EVENTS, 0, [(b"{}", one) for one in envelopes]))

    assert [batch.key(0), batch.key(1)] == [key, key]


def test_a_part_of_a_batch_has_its_events_with_their_envelopes() -> None:
    envelopes = [encode_envelope(Envelope("t" * n, 0, n, 0, None, False, ())) for n in range(1, 5)]
    records = [(b"%d" % n, one) for n, one in enumerate(envelopes)]
    batch = decode_events(encode_events(BatchKind.EVENTS, 0, records))

    part = batch.part([1, 3])

    assert [(value, part.envelope(n)) for n, value in enumerate(part.values)] == [records[1], records[3]]
