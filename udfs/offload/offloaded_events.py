"""Events that are scored beside the stream: handed to lanes, and what came of them picked up."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import numpy as np

from udfs.batches import Outcome, OutcomeKind, decode_envelope
from udfs.engine import LoadedModel, Offloaded, encode_result, score_inputs
from udfs.errors import Absence, Fault, ModelstreamError, OffloadError, ResolveError, ScoreError
from udfs.held import HeldEvent
from udfs.json_values import JsonValue
from udfs.models.references import ServedReferences
from udfs.offload.in_flight import InFlightEvent, InFlightEvents
from udfs.offload.lane import Ask, Lane
from udfs.offload.mailbox import Mailbox
from udfs.outputs import OutputLimits, dead_letter
from udfs.remotes.base import Trace

_WAIT_SECONDS = 0.1
_MOST_AT_ONCE = 1000
"""Events that a fallback scores in one call."""
_TRACE_HEADERS = ("traceparent", "tracestate")
_Unanswered = list[tuple[InFlightEvent, OffloadError]]
"""Events, and why nobody answered."""


class OffloadedEvents:
    """The events of one subtask that are scored beside the stream. Used by one thread.

    Predictions of one key and model leave in the order of its events where their version asks for that.

    Args:
        mailbox: where lanes put their answers.
        models: gives the versions that answer in place of others, and counts what they score.
        limits: what the output topics take.
        clock: the time of day, for dead letters and the limits of timestamps.
        poll: takes over what was loaded meanwhile.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        models: ServedReferences,
        limits: OutputLimits,
        clock: Callable[[], datetime],
        poll: Callable[[], None],
    ) -> None:
        self._mailbox = mailbox
        self._models = models
        self._limits = limits
        self._clock = clock
        self._poll = poll
        self._in_flight = InFlightEvents()
        self._new: dict[Lane, _New] = {}
        """What is to be handed to lanes."""
        self._noted: dict[tuple[str, int], tuple[LoadedModel, list[int]]] = {}
        """The times of the events that versions were asked for, by what these name and the version."""
        self._refused: _Unanswered = []
        """What found no room."""
        self._waiting: dict[str, _Unanswered] = {}
        """What waits for its fallback, which is being loaded."""

    def __len__(self) -> int:
        """How many have not left yet."""
        return len(self._in_flight)

    @property
    def keeps_order(self) -> bool:
        """Whether another event may have to wait behind one of these."""
        return self._in_flight.has_lines

    def keeps_back_any(self, key: bytes | None) -> bool:
        """Whether what came of some event of a key has to wait behind one of these."""
        return self._in_flight.keeps_back_any(key)

    def keeps_back(self, reference: str, key: bytes | None) -> bool:
        """Whether what came of an event of some key and model has to wait behind one of these."""
        return self._in_flight.keeps_back(reference, key)

    def follow(self, event: HeldEvent, outcome: Outcome) -> None:
        """Have what came of an event wait behind those of its key and model."""
        one = InFlightEvent(event)
        one.outcome = outcome
        self._in_flight.enter(one, None)

    def must_wait(self, event: HeldEvent, offloaded: Offloaded, *, is_held: bool = False) -> bool:
        """Whether an event waits for room, and the stream with it.

        Args:
            event: the event.
            offloaded: who is to score it.
            is_held: whether it was taken in before: then there is no other way for it.
        """
        lane = _lane_of(offloaded)
        if self._has_room(lane, len(event.value)):
            return False
        on_overload = lane.settings.on_overload
        # What a fallback scores keeps its place in its line, so that is bounded too.
        is_full = on_overload == "fallback" and self._in_flight.count_of(lane) >= _most_of(lane)
        return is_held or is_full or on_overload == "backpressure"

    def wait_for_room(self) -> list[Outcome]:
        """Wait for room, for a moment at most; what came of others meanwhile.

        A lane may have ended meanwhile: whoever waited asks anew who scores its event.
        """
        self.submit()
        outcomes = self.collect()
        if not outcomes:
            self.wait()
            outcomes = self.collect()
        return outcomes

    def add(self, event: HeldEvent, offloaded: Offloaded) -> Outcome | None:
        """Have an event scored that need not wait for room; the lanes get what was added in `submit`.

        Returns:
            Its dead letter, where there is no room and that was chosen.
        """
        lane = _lane_of(offloaded)
        one = InFlightEvent(event, offloaded)
        if not self._has_room(lane, len(event.value)):
            error = _overloaded(offloaded.model, lane)
            if lane.settings.on_overload == "dead-letter":
                self._models.note_absent(event.reference, one.time)
                return self._dead(one, error, one.model, self._clock())
            self._note(one, offloaded.model)
            self._in_flight.enter(one, lane)
            self._refused.append((one, error))
            return None
        self._note(one, offloaded.model)
        new = self._new.get(lane)
        if new is None:
            new = self._new[lane] = _New([], [0])
        ticket = self._in_flight.enter(one, lane)
        new.asks.append(Ask(ticket, offloaded.data, len(event.value), _trace_of(event.envelope)))
        new.size[0] += len(event.value)
        return None

    def submit(self) -> None:
        """Hand to the lanes what was added since."""
        for lane, new in self._new.items():
            if lane.settings.fallback is not None:
                with suppress(ResolveError):  # asked for here, it is there when it is needed
                    self._models.serve_itself(str(lane.settings.fallback), -1)
            lane.submit(new.asks)
        self._new.clear()
        for (reference, _), (model, times) in self._noted.items():
            self._models.note(reference, model, np.array(times, np.int64))
        self._noted.clear()

    def wait(self) -> None:
        """Wait for an answer, for a moment at most, and take over what was loaded meanwhile."""
        self._mailbox.wait(_WAIT_SECONDS)
        self._poll()

    def collect(self) -> list[Outcome]:
        """What has come of events since the last call."""
        answers = self._mailbox.take()
        if not (answers or self._refused or self._waiting):
            return []
        now = self._clock()
        ended: list[InFlightEvent] = []
        unanswered: dict[str, _Unanswered] = defaultdict(list, self._waiting)
        for one, error in self._refused:
            self._sort(one, error, _fallback_of(one, error), unanswered, ended, now)
        for answer in answers:
            one = self._in_flight[answer.ticket]
            self._sort(one, answer.result, _fallback_of(one, answer.result), unanswered, ended, now)
        self._refused, self._waiting = [], {}
        for fallback, group in unanswered.items():
            ended += self._fall_back(fallback, group, now)
        return self._in_flight.leave(ended)

    def encode(self) -> list[str]:
        """Everything in flight, as the state keeps it: after a restart these are events that are held."""
        return self._in_flight.encode()

    def _note(self, one: InFlightEvent, model: LoadedModel) -> None:
        key = one.event.reference, id(model)
        noted = self._noted.get(key)
        if noted is None:
            noted = self._noted[key] = (model, [])
        noted[1].append(one.time)

    def _has_room(self, lane: Lane, size: int) -> bool:
        """Whether a lane takes one more event: of what waits there, and of all that has not left yet."""
        new = self._new.get(lane, _NOTHING_NEW)
        if self._in_flight.count_of(lane) >= _most_of(lane):
            return False
        return lane.has_room(new.size[0] + size, len(new.asks) + 1)

    def _sort(
        self,
        one: InFlightEvent,
        result: JsonValue | ModelstreamError,
        fallback: str | None,
        unanswered: dict[str, _Unanswered],
        ended: list[InFlightEvent],
        now: datetime,
    ) -> None:
        """Give an event its outcome, or leave it to a fallback."""
        if fallback is not None and isinstance(result, OffloadError):
            unanswered[fallback].append((one, result))
            return
        assert one.model is not None  # who has an answer was asked
        one.outcome = self._outcome(one, one.model, result, now)
        ended.append(one)

    def _fall_back(self, fallback: str, group: _Unanswered, now: datetime) -> list[InFlightEvent]:
        """Score events with the version that is to answer in place of theirs; returns those that end."""
        ended: list[InFlightEvent] = []
        by_model: dict[str, tuple[LoadedModel, list[InFlightEvent]]] = {}
        for index, (one, error) in enumerate(group):
            try:
                model = self._models.serve_itself(fallback, one.time)
                if model.lane is not None:
                    raise ResolveError(f"{fallback} is offloaded too")
            except ResolveError as absent:
                if absent.absence is Absence.LOADING:
                    self._waiting[fallback] = group[index:]
                    break
                cause = OffloadError(f"{error}; its fallback: {absent}", error.fault)
                one.outcome = self._dead(one, cause, one.model, now)
                ended.append(one)
            else:
                by_model.setdefault(str(model), (model, []))[1].append(one)
        for model, events in by_model.values():
            for start in range(0, len(events), _MOST_AT_ONCE):
                some = events[start : start + _MOST_AT_ONCE]
                results = score_inputs(model.scorer, [one.data for one in some])
                for one, result in zip(some, results, strict=True):
                    one.outcome = self._outcome(one, model, result, now)
                    self._models.note_fallback(one.model, model)
            ended += events
        return ended

    def _outcome(
        self, one: InFlightEvent, model: LoadedModel, result: JsonValue | ModelstreamError, now: datetime
    ) -> Outcome:
        if isinstance(result, ModelstreamError):
            return self._dead(one, result, model, now)
        event = one.event
        try:
            prediction = encode_result(one.event_id, model.described, result)
        except ScoreError as error:
            return self._dead(one, error, model, now)
        refused = self._limits.size_error(prediction, event.envelope)
        refused = refused or self._limits.timestamp_error(event.envelope, int(now.timestamp() * 1000))
        if refused is not None:
            return self._dead(one, refused, model, now)
        return Outcome(OutcomeKind.PREDICTION, prediction, event.envelope)

    def _dead(
        self, one: InFlightEvent, error: ModelstreamError, model: LoadedModel | None, now: datetime
    ) -> Outcome:
        name = None if model is None else str(model)
        return dead_letter(one.event.value, one.event.envelope, error, self._limits, now, name)


class _New(NamedTuple):
    asks: list[Ask]
    size: list[int]
    """Bytes, in one element."""


_NOTHING_NEW = _New([], [0])


def _fallback_of(one: InFlightEvent, result: JsonValue | ModelstreamError) -> str | None:
    """The version that is to answer in place of one that could not be asked, where there is one."""
    lane = None if one.model is None else one.model.lane
    if not isinstance(result, OffloadError) or result.fault is Fault.RECORD or lane is None:
        return None
    return None if lane.settings.fallback is None else str(lane.settings.fallback)


def _lane_of(offloaded: Offloaded) -> Lane:
    lane = offloaded.model.lane
    assert lane is not None  # the version is offloaded
    return lane


def _most_of(lane: Lane) -> int:
    """Most events of a lane that have not left yet."""
    return lane.settings.max_waiting + lane.settings.in_flight * lane.settings.max_batch


def _overloaded(model: LoadedModel, lane: Lane) -> OffloadError:
    most = lane.settings.max_waiting
    return OffloadError(f"{model}: too many events wait for it already (max_waiting: {most})", Fault.PASSING)


def _trace_of(envelope: bytes) -> Trace:
    """The trace context in an event's headers."""
    if b"traceparent" not in envelope:  # looking costs less than reading
        return ()
    headers = decode_envelope(envelope).headers
    return tuple(
        (name, value.decode("ascii"))
        for name, value in headers
        if name in _TRACE_HEADERS and value is not None and value.isascii()
    )
