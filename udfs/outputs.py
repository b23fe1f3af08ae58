"""What may be written: dead letters, and the limits that the output topics and the client set."""

import math
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from udfs.batches import (
    TIMESTAMP_AT,
    EventBatch,
    Outcome,
    OutcomeKind,
    decode_envelope,
    encode_envelope,
    encode_headers,
)
from udfs.errors import EncodeError, ModelstreamError
from udfs.records import Header

RECORD_OVERHEAD = 1024
"""Bytes that a record may need beside its value, envelope and details: framing and ``ms-source``."""
MESSAGE_BYTES = 2000
"""Longest text in a header."""
SMALLEST_LIMIT = 16 * 1024
"""What a dead letter's headers, and the key and value that are left of it, surely fit in."""

_TIMESTAMP = struct.Struct("<q")


class OutputLimits(NamedTuple):
    """What the output topics take; a record beyond it would fail the sink for ever."""

    prediction_bytes: int
    dead_letter_bytes: int
    ahead_ms: int | None = None
    """How far a prediction's timestamp may lie ahead of the clock, None for any."""
    behind_ms: int | None = None
    """How far it may lie behind the clock, None for any."""

    def timestamp_errors(self, batch: EventBatch, now_ms: int) -> dict[int, EncodeError]:
        """The events whose timestamp the predictions topic would refuse, by their index."""
        latest = math.inf if self.ahead_ms is None else now_ms + self.ahead_ms
        earliest = -math.inf if self.behind_ms is None else now_ms - self.behind_ms
        if batch.latest <= latest and batch.earliest >= earliest:
            return {}
        errors = {
            index: self.timestamp_error(batch.envelope(index), now_ms) for index in range(len(batch.values))
        }
        return {index: error for index, error in errors.items() if error is not None}

    def timestamp_error(self, envelope: bytes, now_ms: int) -> EncodeError | None:
        """Why the predictions topic would refuse the timestamp of an event, None where it would not."""
        (timestamp,) = _TIMESTAMP.unpack_from(envelope, TIMESTAMP_AT)
        if self.ahead_ms is not None and timestamp - now_ms > self.ahead_ms:
            return EncodeError(
                f"timestamp {timestamp} is over {self.ahead_ms} ms ahead of the clock, which the "
                f"predictions topic refuses (message.timestamp.after.max.ms)"
            )
        if self.behind_ms is not None and 0 <= timestamp < now_ms - self.behind_ms:
            return EncodeError(
                f"timestamp {timestamp} is over {self.behind_ms} ms behind the clock, which the "
                f"predictions topic refuses (message.timestamp.before.max.ms)"
            )
        return None

    def refusal(self, prediction: bytes, envelope: bytes, now_ms: int) -> EncodeError | None:
        """Why the predictions topic would refuse a prediction, None where it would not."""
        return self.size_error(prediction, envelope) or self.timestamp_error(envelope, now_ms)

    def size_error(self, prediction: bytes, envelope: bytes) -> EncodeError | None:
        """Why a prediction is too large for its topic, None where it is not."""
        size = len(prediction) + len(envelope) + RECORD_OVERHEAD
        if size <= self.prediction_bytes:
            return None
        return EncodeError(
            f"the prediction's record has up to {size} bytes, the predictions topic and the producer take "
            f"{self.prediction_bytes} (max.message.bytes, max.request.size)"
        )

    def all_fit(self, batch: EventBatch, predictions: list[bytes]) -> bool:
        """Whether surely no prediction of a batch is too large."""
        room = self.prediction_bytes - RECORD_OVERHEAD
        return sum(map(len, predictions)) + len(batch.envelope_bytes) <= room or (
            max(map(len, predictions)) + _longest_envelope(batch) <= room
        )


def dead_letter(
    value: bytes,
    envelope: bytes,
    error: ModelstreamError,
    limits: OutputLimits,
    at: datetime,
    model: str | None = None,
    cut_from: int | None = None,
) -> Outcome:
    """An event or update that could not be handled; see `dead_letters`."""
    [letter] = dead_letters([(value, envelope)], error, limits, at, model, cut_from)
    return letter


def dead_letters(
    records: Iterable[tuple[bytes, bytes]],
    error: ModelstreamError,
    limits: OutputLimits,
    at: datetime,
    model: str | None = None,
    cut_from: int | None = None,
) -> list[Outcome]:
    """Events or updates that could not be handled: their own bytes, and headers that say why.

    Where the topic would not take one whole, its value is cut, then its headers left out, then its
    key cut; ``ms-truncated`` says how many bytes the value had.

    Args:
        records: the value, untouched, and the envelope of each.
        error: what went wrong.
        limits: what the topic takes.
        at: when it went wrong.
        model: the model that it is about, where known.
        cut_from: how many bytes the values had, where they were cut before.
    """
    headers: list[tuple[str, bytes | None]] = [
        (Header.STAGE, (error.stage or "score").encode()),
        (Header.ERROR, type(error).__name__.encode()),
        (Header.MESSAGE, _cut(str(error))),
        (Header.AT, at.astimezone(UTC).isoformat(timespec="milliseconds").encode()),
    ]
    if model is not None:
        headers.append((Header.MODEL, _cut(model)))
    details = encode_headers(headers)
    room = limits.dead_letter_bytes - RECORD_OVERHEAD - len(details)
    return [
        Outcome(OutcomeKind.DEAD_LETTER, value, envelope, details)
        if cut_from is None and len(value) + len(envelope) <= room
        else _cut_to_fit(value, envelope, headers, room - 64, len(value) if cut_from is None else cut_from)
        for value, envelope in records
    ]


def _cut_to_fit(
    value: bytes, envelope: bytes, headers: Sequence[tuple[str, bytes | None]], room: int, cut_from: int
) -> Outcome:
    details = encode_headers([*headers, (Header.TRUNCATED, str(cut_from).encode())])
    if len(envelope) > room:
        record = decode_envelope(envelope)._replace(headers=())
        key = record.key if record.key is None else record.key[: max(0, room - len(record.topic) - 64)]
        envelope = encode_envelope(record._replace(key=key))
    cut = value[: max(0, room - len(envelope))]
    return Outcome(OutcomeKind.DEAD_LETTER, cut, envelope, details)


def _cut(text: str) -> bytes:
    """A text's UTF-8, no longer than MESSAGE_BYTES, and never half a character."""
    return text.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore").encode()


def _longest_envelope(batch: EventBatch) -> int:
    ends = batch.envelope_ends
    return max(b - a for a, b in zip([0, *ends[:-1]], ends, strict=True))
