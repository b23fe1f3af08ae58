"""Events that were handed to lanes and have not left yet, in lines where their order is kept. Plain data."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import msgspec

from udfs.batches import Outcome, read_key
from udfs.engine import LoadedModel
from udfs.held import HeldEvent, encode_events
from udfs.json_values import JsonValue
from udfs.offload.lane import Lane
from udfs.offload.waiting_asks import MOST_WAITING_BYTES

MOST_IN_FLIGHT_BYTES = 2 * MOST_WAITING_BYTES
"""Of values, for each lane: of what waits, and as much of what was asked for or stands behind others."""


class InFlightEvent(msgspec.Struct, gc=False):
    """One event that has not left yet.

    Attributes:
        event: the event.
        event_id: what its value says.
        data: what is to be scored; null where its outcome is there already.
        model: the version that was asked; None where its outcome was there when it came.
        outcome: what came of it, where it waits behind others.
        ticket: its number, by which it is found again.
        key: its record's key, where it stands in a line.
        is_behind: whether one stands before it in its line.
        next: the ticket of the one that stands behind it; 0: nobody does.
    """

    event: HeldEvent
    event_id: JsonValue = None
    data: JsonValue = None
    model: LoadedModel | None = None
    outcome: Outcome | None = None
    ticket: int = 0
    key: bytes | None = None
    is_behind: bool = False
    next: int = 0

    @property
    def time(self) -> int:
        """The event's time, -1 where none is known."""
        return self.event.at


class InFlightEvents:
    """All events of a subtask that have not left yet. The first of a line leaves first."""

    def __init__(self) -> None:
        self._next_ticket = 1
        self._events: dict[int, InFlightEvent] = {}
        """By ticket, in the order in which they came."""
        self._lines: dict[str, dict[bytes, InFlightEvent]] = {}
        """The last of each line, by what they name and their key."""
        self._of_lane: dict[Lane, int] = defaultdict(int)
        self._bytes_of_lane: dict[Lane, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, ticket: int) -> InFlightEvent:
        return self._events[ticket]

    @property
    def in_line(self) -> Collection[str]:
        """What those name behind which others may have to stand."""
        return self._lines.keys()

    def keeps_back(self, reference: str, key: bytes | None) -> bool:
        """Whether an event of some key and model has to stand behind one of these."""
        return key is not None and key in self._lines.get(reference, ())

    def has_room(self, lane: Lane, size: int = 0, count: int = 1) -> bool:
        """Whether more may be handed to a lane beside what has not left yet. One may where none is.

        Args:
            lane: the lane.
            size: bytes of all of them.
            count: how many.
        """
        before, most = self._of_lane.get(lane, 0), lane.settings
        if before + count > most.max_waiting + most.in_flight * most.max_batch:
            return False
        return before + count == 1 or self._bytes_of_lane.get(lane, 0) + size <= MOST_IN_FLIGHT_BYTES

    def enter(self, events: Sequence[InFlightEvent], lane: Lane | None) -> None:
        """Take events in and give them tickets; each stands in line where that is kept, or where others do.

        Args:
            events: the events; all of them name the same.
            lane: where they go; None: nowhere, their outcomes are there.
        """
        reference = events[0].event.reference
        keeps_order = lane is not None and lane.settings.ordered
        line = self._lines.get(reference, {})
        for ticket, one in enumerate(events, self._next_ticket):
            one.ticket = ticket
            self._events[ticket] = one
            envelope = one.event.envelope
            key = read_key(envelope) if envelope and (keeps_order or line) else None
            if key is None:
                continue
            before = line.get(key)
            if before is not None:
                before.next, one.is_behind = ticket, True
            elif not keeps_order:
                continue
            one.key, line[key] = key, one
        self._next_ticket += len(events)
        if line:
            self._lines[reference] = line
        if lane is not None:
            self._of_lane[lane] += len(events)
            self._bytes_of_lane[lane] += sum(len(one.event.value) for one in events)

    def leave(self, ended: Iterable[InFlightEvent]) -> list[Outcome]:
        """Let those go that nobody stands before, and those behind them that wait for nothing else.

        Args:
            ended: events that have an outcome now.
        """
        outcomes: list[Outcome] = []
        for one in ended:
            if one.is_behind or one.ticket not in self._events:  # it leaves, or left, with one before it
                continue
            first: InFlightEvent | None = one
            while first is not None and first.outcome is not None:
                outcomes.append(first.outcome)
                first = self._gone(first)
        return outcomes

    def encode(self) -> list[str]:
        """All of them, as the state keeps them: after a restart these are events that are held."""
        return encode_events(one.event for one in self._events.values())

    def _gone(self, one: InFlightEvent) -> InFlightEvent | None:
        """Forget an event; returns who is first in its line now."""
        del self._events[one.ticket]
        lane = None if one.model is None else one.model.lane
        if lane is not None:
            self._of_lane[lane] -= 1
            self._bytes_of_lane[lane] -= len(one.event.value)
            if not self._of_lane[lane]:
                del self._of_lane[lane], self._bytes_of_lane[lane]
        if one.next:
            first = self._events[one.next]
            first.is_behind = False
            return first
        if one.key is not None:
            line = self._lines[one.event.reference]
            del line[one.key]
            if not line:
                del self._lines[one.event.reference]
        return None
