"""What is to be handed to lanes: gathered while a batch is sorted out, then handed over at once."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec
import numpy as np

from udfs.batches import decode_envelope
from udfs.engine import LoadedModel
from udfs.errors import ResolveError
from udfs.held import HeldEvent
from udfs.models.references import ServedReferences
from udfs.offload.asked_events import AskedEvents
from udfs.offload.in_flight import InFlightEvent, InFlightEvents
from udfs.offload.lane import Ask, Lane
from udfs.remotes.base import Trace

_TRACE_HEADERS = ("traceparent", "tracestate")


class HandingOver:
    """Gathers what lanes are to get. Used by one thread.

    Args:
        in_flight: gets what is gathered.
        models: gives the versions that answer in place of others, and counts what is asked for.
    """

    def __init__(self, in_flight: InFlightEvents, models: ServedReferences) -> None:
        self._in_flight = in_flight
        self._models = models
        self._new: dict[Lane, _New] = {}
        self._noted: dict[tuple[str, int], tuple[LoadedModel, list[int]]] = {}
        """The times of the events that versions were asked for, by what these name and the version."""

    def room_for(self, lane: Lane, asked: AskedEvents) -> int:
        """How many of events that have not gone a lane takes, beside what waits and what has not left yet."""
        new = self._new.get(lane, _NOTHING_NEW)
        ends, gone = asked.ends, asked.gone

        def is_full(count: int) -> bool:
            size = ends[gone + count] - ends[gone]
            return not (
                self._in_flight.has_room(lane, size, count)
                and lane.has_room(new.size + size, len(new.asks) + count)
            )

        most = len(asked.events) - gone
        if is_full(1):
            return 0
        return most if not is_full(most) else 1 + bisect_left(range(2, most), True, key=is_full)

    def add(self, lane: Lane, asked: AskedEvents, count: int) -> None:
        """Gather so many of events that have not gone; the lane has room for them."""
        some = slice(asked.gone, asked.gone + count)
        asked.gone += count
        events, offloaded, model = asked.events[some], asked.offloaded[some], asked.offloaded[0].model
        # An event's data is needed again only where another version may have to score it.
        is_kept = lane.settings.fallback is not None
        entering = [
            InFlightEvent(event, one.event_id, one.data if is_kept else None, model)
            for event, one in zip(events, offloaded, strict=True)
        ]
        self._in_flight.enter(entering, lane)
        self.note(asked.reference, model, [one.time for one in entering])
        new = self._new.get(lane)
        if new is None:
            new = self._new[lane] = _New([])
        asks = [
            Ask(new_one.ticket, one.data, len(new_one.event.value), trace)
            for new_one, one, trace in zip(entering, offloaded, _traces_of(events), strict=True)
        ]
        new.asks += asks
        new.size += sum(ask.size for ask in asks)

    def note(self, reference: str, model: LoadedModel, times: Iterable[int]) -> None:
        """Count events that a version was asked for.

        Args:
            reference: what they name.
            model: the version.
            times: of each event, -1 where none is known.
        """
        key = reference, id(model)
        noted = self._noted.get(key)
        if noted is None:
            noted = self._noted[key] = (model, [])
        noted[1].extend(times)

    def submit(self) -> None:
        """Hand over what was gathered since."""
        for lane, new in self._new.items():
            if lane.settings.fallback is not None:
                with suppress(ResolveError):  # asked for here, it is there when it is needed
                    self._models.serve_itself(str(lane.settings.fallback), -1)
            lane.submit(new.asks)
        self._new.clear()
        for (reference, _), (model, times) in self._noted.items():
            self._models.note(reference, model, np.array(times, np.int64))
        self._noted.clear()


class _New(msgspec.Struct):
    asks: list[Ask]
    size: int = 0
    """Bytes of all of them."""


_NOTHING_NEW = _New([])


def _traces_of(events: Sequence[HeldEvent]) -> Iterable[Trace]:
    """The trace context in the headers of each event."""
    # Looking costs less than reading, and at all of them at once least of all.
    if b"traceparent" not in b"".join([event.envelope for event in events]):
        return [()] * len(events)
    return [_trace_of(event.envelope) for event in events]


def _trace_of(envelope: bytes) -> Trace:
    headers = decode_envelope(envelope).headers if b"traceparent" in envelope else ()
    return tuple(
        (name, value.decode("ascii"))
        for name, value in headers
        if name in _TRACE_HEADERS and value is not None and value.isascii()
    )
