"""Events that wait for their model: bounded, in order, counted in running time.

Plain data; the caller keeps the encoded form in keyed state and hands in the clock.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import msgspec

from udfs.batches import decode_envelope

STATE_SCHEMA = 2


class HeldEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that waits for a model."""

    reference: str
    """The model that it names."""
    value: bytes
    envelope: bytes
    waited: float = 0.0
    """Seconds of running time that it had waited when it was last written."""
    schema: int = STATE_SCHEMA
    time: int | None = None
    """The event's time, ms since 1970; None in states of schema 1."""

    @property
    def at(self) -> int:
        """Its time, -1 where none is known."""
        return -1 if self.time is None else self.time

    @property
    def size(self) -> int:
        """Bytes that count against the bound."""
        return len(self.value) + len(self.envelope)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(HeldEvent)


class HeldEvents:
    """What one subtask holds.

    Args:
        seconds: how long an event may wait, in running time.
        max_events: most events held.
        max_bytes: most bytes of values and envelopes held.
    """

    def __init__(self, seconds: float, max_events: int, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: list[tuple[HeldEvent, float]] = []
        self._bytes = 0
        self.due = math.inf
        """When the next of them has waited long enough, in running time; inf: none that has not yet."""

    def __len__(self) -> int:
        return len(self._entries)

    def has_room_for(self, event: HeldEvent) -> bool:
        """Whether an event may be held without exceeding a bound."""
        return len(self._entries) < self._max_events and self._bytes + event.size <= self._max_bytes

    def add(self, events: Iterable[HeldEvent], now: float) -> None:
        """Hold events behind those already held."""
        for event in events:
            since = now - event.waited
            self._entries.append((event, since))
            self._bytes += event.size
            self.due = min(self.due, since + self._seconds)

    def add_restored(self, events: Iterable[HeldEvent], now: float) -> None:
        """Hold events of an earlier attempt, or of one of several subtasks before a rescaling.

        Each subtask held its own in order; together they get the order of their offsets, which is that of
        each key.
        """
        was_empty = not self._entries
        self.add(events, now)
        if not was_empty:
            self._entries.sort(key=lambda entry: _place(entry[0]))

    def take(self, leaves: Callable[[HeldEvent, bool], bool], now: float) -> list[HeldEvent]:
        """Remove and return, in order, some events.

        Args:
            leaves: asked of each in order: given whether it has waited long enough, whether it leaves.
            now: the running time.
        """
        taken: list[HeldEvent] = []
        kept: list[tuple[HeldEvent, float]] = []
        due = math.inf
        for event, since in self._entries:
            ends = since + self._seconds
            if leaves(event, ends <= now):
                taken.append(event)
            else:
                kept.append((event, since))
                if now < ends < due:
                    due = ends
        self._entries, self.due = kept, due
        self._bytes -= sum(event.size for event in taken)
        return taken

    def take_all(self) -> list[HeldEvent]:
        """Remove and return everything, in order."""
        return self.take(lambda _event, _is_due: True, 0.0)

    def encode(self, now: float) -> list[str]:
        """Everything held, as the state keeps it."""
        return encode_events(
            msgspec.structs.replace(event, waited=now - since, schema=STATE_SCHEMA)
            for event, since in self._entries
        )

    @staticmethod
    def decode(state: Iterable[str]) -> list[HeldEvent]:
        """Read events from the state."""
        return [_decoder.decode(entry) for entry in state]


def encode_events(events: Iterable[HeldEvent]) -> list[str]:
    """Events as the state keeps them."""
    return [_encode(event).decode() for event in events]


def _place(event: HeldEvent) -> tuple[str, int, int]:
    envelope = decode_envelope(event.envelope)
    return envelope.topic, envelope.partition, envelope.offset


def micro_batches(events: Iterable[HeldEvent], max_events: int, max_bytes: int) -> Iterator[list[HeldEvent]]:
    """Cut events into pieces of at most so many events and bytes; a larger event is a piece of its own."""
    batch: list[HeldEvent] = []
    size = 0
    for event in events:
        if batch and (len(batch) == max_events or size + event.size > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event.size
    if batch:
        yield batch
