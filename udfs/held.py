"""Events that wait for their model: bounded, in order, counted in running time.

Plain data; the caller keeps the encoded form in keyed state and hands in the clock.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

STATE_SCHEMA = 1
REWRITE_SECONDS = 5.0
"""The time that an event has waited is written this often: a restart forgets no more than this."""


class HeldEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event that waits for a model."""

    reference: str
    """The model that it names."""
    value: bytes
    envelope: bytes
    waited: float = 0.0
    """Seconds of running time that it had waited when it was last written."""
    schema: int = STATE_SCHEMA

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
        self._written = 0.0
        self.arrivals = 0
        """How many events were ever held."""
        self.changed = False
        """Whether the state must be written again."""

    def __len__(self) -> int:
        return len(self._entries)

    def has_room_for(self, event: HeldEvent) -> bool:
        """Whether an event may be held without exceeding a bound."""
        return len(self._entries) < self._max_events and self._bytes + event.size <= self._max_bytes

    def add(self, events: Iterable[HeldEvent], now: float) -> None:
        """Hold events behind those already held."""
        for event in events:
            self._entries.append((event, now - event.waited))
            self._bytes += event.size
            self.arrivals += 1
            self.changed = True

    def take_ready(self, is_ready: Callable[[str], bool]) -> list[HeldEvent]:
        """Remove and return, in order, the events whose model is there.

        Args:
            is_ready: whether the model that an event names is served; asked once a name.
        """
        if not self._entries:
            return []
        names = {event.reference for event, _ in self._entries}
        ready = {name for name in names if is_ready(name)}
        return self._take(lambda event, _: event.reference in ready) if ready else []

    def take_expired(self, now: float) -> list[HeldEvent]:
        """Remove and return the events that have waited long enough."""
        return self._take(lambda _, since: now - since >= self._seconds)

    def take_all(self) -> list[HeldEvent]:
        """Remove and return everything, in order."""
        return self._take(lambda _event, _since: True)

    def encode(self, now: float) -> list[str]:
        """Everything held, as the state keeps it; the state then is up to date."""
        self.changed, self._written = False, now
        return [
            _encode(msgspec.structs.replace(event, waited=now - since)).decode()
            for event, since in self._entries
        ]

    def is_stale(self, now: float) -> bool:
        """Whether the time waited should be written again."""
        return bool(self._entries) and now - self._written >= REWRITE_SECONDS

    @staticmethod
    def decode(state: Iterable[str]) -> list[HeldEvent]:
        """Read events from the state."""
        return [_decoder.decode(entry) for entry in state]

    def _take(self, leaves: Callable[[HeldEvent, float], bool]) -> list[HeldEvent]:
        taken = [event for event, since in self._entries if leaves(event, since)]
        if taken:
            self._entries = [(event, since) for event, since in self._entries if not leaves(event, since)]
            self._bytes = sum(event.size for event, _ in self._entries)
            self.changed = True
        return taken


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
