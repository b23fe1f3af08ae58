"""Micro-batches as they cross between Java and Python: one blob a batch, each way.

Everything is little-endian; `connectors/java` has the other half, and both halves read the same test
vectors. Ends are cumulative: record i of a section is ``section[ends[i-1]:ends[i]]``.

    event batch     u8 version, u8 kind, u16 flags (1 a barrier follows), i32 count, i64 earliest,
                    i64 latest timestamp (ms), i32 shard, i32 zero, i32[count] value ends,
                    i32[count] envelope ends, values, envelopes
    outcome batch   u8 version, u8[3] zero, i32 count, i32[count] value ends, i32[count] envelope ends,
                    i32[count] detail ends, u8[count] kinds, values, envelopes, details
    envelope        u8 flags (1 key, 2 null value), i32 partition, i64 offset, i64 timestamp (ms, -1 none),
                    u16 length + topic, i32 length + key, i32 count, then the headers
    header          i32 length + name, i32 length (-1 null) + value
    details         nothing, or i32 count and the headers that a dead letter gets

An envelope is all of a Kafka record but its value. Python hands it back unread, unless it has to
say where an event came from.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec
import numpy as np

LAYOUT_VERSION = 2

_BATCH = struct.Struct("<BBHiqqii")
_OUTCOMES = struct.Struct("<B3xi")
_ENVELOPE = struct.Struct("<BiqqH")
_LENGTH32 = struct.Struct("<i")
_read_length32 = _LENGTH32.unpack_from
_TOPIC_AT = _ENVELOPE.size
"""Where in an envelope its topic is, behind the topic's length, a u16."""
TIMESTAMP_AT = struct.calcsize("<Biq")
"""Where in an envelope its timestamp is, an i64."""
_BARRIER_FOLLOWS = 1
_HAS_KEY = 1
_NULL_VALUE = 2


class BatchKind(IntEnum):
    """Why a batch was sent."""

    EVENTS = 0
    HEARTBEAT = 1
    """Nothing came for a while: report, release, expire."""
    ROLL_CALL = 2
    """At the start: one for each other shard whose keyed state this subtask now owns."""
    END_OF_INPUT = 3
    """A bounded run is over, and nothing may stay held. It has no events: the last came before it."""


class OutcomeKind(IntEnum):
    """Where an outcome goes."""

    PREDICTION = 0
    DEAD_LETTER = 1


class EventBatch(NamedTuple):
    """The events that one subtask scores in one call, in their order."""

    kind: BatchKind
    shard: int
    """Key of the keyed state that goes with the batch."""
    earliest: int
    latest: int
    """Smallest and largest timestamp of its records, ms since 1970."""
    values: list[bytes]
    envelope_ends: list[int]
    envelope_bytes: bytes
    barrier_follows: bool = False
    """Whether a checkpoint's barrier comes before the next batch: state must be written now."""

    def envelope(self, index: int) -> bytes:
        """The envelope of one event."""
        start = self.envelope_ends[index - 1] if index else 0
        return self.envelope_bytes[start : self.envelope_ends[index]]

    def key(self, index: int) -> bytes | None:
        """The key of one event's record."""
        return read_key(self.envelope_bytes, self.envelope_ends[index - 1] if index else 0)

    def run(self, start: int, predictions: Sequence[bytes]) -> "PredictionRun":
        """The predictions of the events that begin with one, by its index."""
        first = self.envelope_ends[start - 1] if start else 0
        ends = self.envelope_ends[start : start + len(predictions)]
        sizes = [end - begin for begin, end in pairwise([first, *ends])]
        return PredictionRun(predictions, sizes, self.envelope_bytes[first : ends[-1]])

    def part(self, indexes: Sequence[int]) -> "EventBatch":
        """Some of its events, in the order given, as a batch."""
        envelopes = [self.envelope(index) for index in indexes]
        return self._replace(
            values=[self.values[index] for index in indexes],
            envelope_ends=list(accumulate(map(len, envelopes))),
            envelope_bytes=b"".join(envelopes),
        )


class Envelope(NamedTuple):
    """All of a Kafka record but its value."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """ms since 1970, -1 for none."""
    key: bytes | None
    null_value: bool
    headers: tuple[tuple[str, bytes | None], ...]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one event or update."""

    kind: OutcomeKind
    value: bytes
    envelope: bytes
    details: bytes = b""


class PredictionRun(NamedTuple):
    """Predictions of events that follow each other in a batch: to write them costs nothing an event."""

    predictions: Sequence[bytes]
    envelope_sizes: Sequence[int]
    envelopes: bytes
    """One behind the other."""


def decode_events(blob: bytes) -> EventBatch:
    """Read an event batch.

    Raises:
        ValueError: the layout is of another version than this code's.
    """
    version, kind, flags, count, earliest, latest, shard, _ = _BATCH.unpack_from(blob)
    if version != LAYOUT_VERSION:
        raise ValueError(f"micro-batch layout {version}, expected {LAYOUT_VERSION}: jar and code differ")
    ends = np.frombuffer(blob, np.int32, 2 * count, _BATCH.size)
    start = _BATCH.size + 8 * count
    value_ends = (ends[:count] + start).tolist()
    values = [blob[a:b] for a, b in pairwise([start, *value_ends])]
    envelopes = blob[value_ends[-1] if count else start :]
    follows = bool(flags & _BARRIER_FOLLOWS)
    return EventBatch(
        BatchKind(kind), shard, earliest, latest, values, ends[count:].tolist(), envelopes, follows
    )


def encode_events(
    kind: BatchKind,
    shard: int,
    records: Sequence[tuple[bytes, bytes]],
    earliest: int = 0,
    latest: int = 0,
    *,
    barrier_follows: bool = False,
) -> bytes:
    """Write an event batch; the job's are written in Java, this one serves tests and tools.

    Args:
        kind: why it is sent.
        shard: key of the keyed state.
        records: value and envelope of each event.
        earliest: smallest timestamp, ms since 1970.
        latest: largest timestamp, ms since 1970.
        barrier_follows: whether a checkpoint's barrier comes before the next batch.
    """
    values, envelopes = [value for value, _ in records], [envelope for _, envelope in records]
    header = _BATCH.pack(
        LAYOUT_VERSION, kind, barrier_follows * _BARRIER_FOLLOWS, len(records), earliest, latest, shard, 0
    )
    ends = _ends(map(len, values)), _ends(map(len, envelopes))
    return b"".join((header, *ends, *values, *envelopes))


def encode_predictions(batch: EventBatch, predictions: Sequence[bytes]) -> bytes:
    """Write the outcome of a batch whose events all became predictions, in their order."""
    count = len(predictions)
    return b"".join(
        (
            _OUTCOMES.pack(LAYOUT_VERSION, count),
            _ends(map(len, predictions)),
            np.asarray(batch.envelope_ends, np.int32).tobytes(),
            bytes(4 * count),
            bytes(count),
            *predictions,
            batch.envelope_bytes,
        )
    )


def encode_outcomes(outcomes: Iterable[Outcome | PredictionRun]) -> bytes:
    """Write outcomes of any kind, in their order."""
    kinds = bytearray()
    values: list[bytes] = []
    envelopes: list[bytes] = []
    details: list[bytes] = []
    envelope_sizes: list[int] = []
    for one in outcomes:
        if isinstance(one, PredictionRun):
            count = len(one.predictions)
            kinds += bytes(count)
            values += one.predictions
            envelopes.append(one.envelopes)
            envelope_sizes += one.envelope_sizes
            details += [b""] * count
        else:
            kinds.append(one.kind)
            values.append(one.value)
            envelopes.append(one.envelope)
            envelope_sizes.append(len(one.envelope))
            details.append(one.details)
    return b"".join(
        (
            _OUTCOMES.pack(LAYOUT_VERSION, len(values)),
            _ends(map(len, values)),
            _ends(envelope_sizes),
            _ends(map(len, details)),
            kinds,
            *values,
            *envelopes,
            *details,
        )
    )


def decode_outcomes(blob: bytes) -> list[Outcome]:
    """Read an outcome batch; the job's are read in Java, this one serves tests and tools."""
    version, count = _OUTCOMES.unpack_from(blob)
    if version != LAYOUT_VERSION:
        raise ValueError(f"micro-batch layout {version}, expected {LAYOUT_VERSION}")
    ends = np.frombuffer(blob, np.int32, 3 * count, _OUTCOMES.size).reshape(3, count)
    kinds = blob[_OUTCOMES.size + 12 * count :][:count]
    start = _OUTCOMES.size + 13 * count
    sections: list[list[bytes]] = []
    for row in ends:
        stops = (row + start).tolist()
        sections.append([blob[a:b] for a, b in pairwise([start, *stops])])
        start = stops[-1] if count else start
    return [Outcome(OutcomeKind(kind), *parts) for kind, *parts in zip(kinds, *sections, strict=True)]


def decode_envelope(blob: bytes) -> Envelope:
    """Read an envelope."""
    flags, partition, offset, timestamp, length = _ENVELOPE.unpack_from(blob)
    at = _ENVELOPE.size
    topic = blob[at : at + length].decode()
    at += length
    (length,) = _LENGTH32.unpack_from(blob, at)
    at += 4
    key = blob[at : at + length] if flags & _HAS_KEY else None
    headers, _ = _decode_headers(blob, at + length)
    return Envelope(topic, partition, offset, timestamp, key, bool(flags & _NULL_VALUE), headers)


def read_key(blob: bytes, at: int = 0) -> bytes | None:
    """The key in an envelope that begins somewhere in bytes, and nothing else of it."""
    if not blob[at] & _HAS_KEY:
        return None
    at += _TOPIC_AT + (blob[at + _TOPIC_AT - 2] | blob[at + _TOPIC_AT - 1] << 8)
    (length,) = _read_length32(blob, at)
    return blob[at + 4 : at + 4 + length]


def encode_envelope(envelope: Envelope) -> bytes:
    """Write an envelope."""
    topic, key = envelope.topic.encode(), envelope.key or b""
    flags = (envelope.key is not None) * _HAS_KEY | envelope.null_value * _NULL_VALUE
    return b"".join(
        (
            _ENVELOPE.pack(flags, envelope.partition, envelope.offset, envelope.timestamp, len(topic)),
            topic,
            _LENGTH32.pack(len(key)),
            key,
            encode_headers(envelope.headers),
        )
    )


def encode_headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Write headers, as in an envelope or as details."""
    parts = [_LENGTH32.pack(len(headers))]
    for name, value in headers:
        raw = name.encode()
        parts += (
            _LENGTH32.pack(len(raw)),
            raw,
            _LENGTH32.pack(-1 if value is None else len(value)),
            value or b"",
        )
    return b"".join(parts)


def decode_headers(blob: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """Read headers, as in details."""
    return _decode_headers(blob, 0)[0] if blob else ()


def _decode_headers(blob: bytes, at: int) -> tuple[tuple[tuple[str, bytes | None], ...], int]:
    (count,) = _LENGTH32.unpack_from(blob, at)
    at += 4
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        (length,) = _LENGTH32.unpack_from(blob, at)
        at += 4
        name = blob[at : at + length].decode()
        at += length
        (length,) = _LENGTH32.unpack_from(blob, at)
        at += 4
        headers.append((name, None if length < 0 else blob[at : at + length]))
        at += max(length, 0)
    return tuple(headers), at


def _ends(sizes: Iterable[int]) -> bytes:
    return np.fromiter(accumulate(sizes), np.int32).tobytes()
