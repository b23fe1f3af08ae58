"""Events that were handed to lanes and have not left yet, in lines where their order is kept. Plain data."""

from collections import defaultdict, deque
from collections.abc import Iterable

from udfs.batches import Outcome, read_key
from udfs.engine import LoadedModel, Offloaded
from udfs.held import HeldEvent, encode_events
from udfs.json_values import JsonValue
from udfs.offload.lane import Lane


class InFlightEvent:
    """One event that has not left yet.

    Attributes:
        event: the event.
        event_id: what its value says.
        data: what is to be scored; null where its outcome is there already.
        model: the version that was asked; None where its outcome was there when it came.
        outcome: what came of it, where it waits behind others.
        key: its record's key, where it stands in a line.
    """

    __slots__ = ("data", "event", "event_id", "key", "model", "outcome", "ticket")

    def __init__(self, event: HeldEvent, offloaded: Offloaded | None = None) -> None:
        self.event = event
        self.event_id: JsonValue = None if offloaded is None else offloaded.event_id
        self.data: JsonValue = None if offloaded is None else offloaded.data
        self.model: LoadedModel | None = None if offloaded is None else offloaded.model
        self.outcome: Outcome | None = None
        self.key: bytes | None = None
        self.ticket = 0

    @property
    def time(self) -> int:
        """The event's time, -1 where none is known."""
        return -1 if self.event.time is None else self.event.time


class InFlightEvents:
    """All events of a subtask that have not left yet. The first of a line leaves first."""

    def __init__(self) -> None:
        self._next_ticket = 0
        self._events: dict[int, InFlightEvent] = {}
        """By ticket, in the order in which they came."""
        self._lines: dict[bytes, dict[str, deque[InFlightEvent]]] = {}
        """By their key and what they name."""
        self._of_lane: dict[Lane, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, ticket: int) -> InFlightEvent:
        return self._events[ticket]

    @property
    def has_lines(self) -> bool:
        """Whether another event may have to stand behind one of these."""
        return bool(self._lines)

    def keeps_back_any(self, key: bytes | None) -> bool:
        """Whether some event of a key has to stand behind one of these."""
        return key is not None and key in self._lines

    def keeps_back(self, reference: str, key: bytes | None) -> bool:
        """Whether an event of some key and model has to stand behind one of these."""
        return key is not None and reference in self._lines.get(key, ())

    def count_of(self, lane: Lane) -> int:
        """How many were handed to a lane."""
        return self._of_lane.get(lane, 0)

    def enter(self, one: InFlightEvent, lane: Lane | None) -> int:
        """Take an event in; it stands in its line where that is kept, or where there is one.

        Args:
            one: the event.
            lane: where it goes; None: nowhere, its outcome is there.

        Returns:
            Its ticket.
        """
        self._next_ticket += 1
        one.ticket = self._next_ticket
        self._events[one.ticket] = one
        if lane is not None:
            self._of_lane[lane] += 1
        reference = one.event.reference
        key = read_key(one.event.envelope) if one.event.envelope else None
        if key is not None and (
            (lane is not None and lane.settings.ordered) or self.keeps_back(reference, key)
        ):
            one.key = key
            self._lines.setdefault(key, {}).setdefault(reference, deque()).append(one)
        return one.ticket

    def leave(self, ended: Iterable[InFlightEvent]) -> list[Outcome]:
        """Let those go that nobody stands before, and those behind them that wait for nothing else.

        Args:
            ended: events that have an outcome now.
        """
        outcomes: list[Outcome] = []
        for one in ended:
            if one.key is None:
                outcomes.append(self._gone(one))
                continue
            lines = self._lines.get(one.key, {})
            line = lines.get(one.event.reference, _NOBODY)  # nobody: it left with one before it
            while line and line[0].outcome is not None:
                outcomes.append(self._gone(line.popleft()))
            if not line and lines.pop(one.event.reference, None) is not None and not lines:
                del self._lines[one.key]
        return outcomes

    def encode(self) -> list[str]:
        """All of them, as the state keeps them: after a restart these are events that are held."""
        return encode_events(one.event for one in self._events.values())

    def _gone(self, one: InFlightEvent) -> Outcome:
        del self._events[one.ticket]
        lane = None if one.model is None else one.model.lane
        if lane is not None:
            self._of_lane[lane] -= 1
            if not self._of_lane[lane]:
                del self._of_lane[lane]
        assert one.outcome is not None  # it is what it leaves with
        return one.outcome


_NOBODY: deque[InFlightEvent] = deque()
