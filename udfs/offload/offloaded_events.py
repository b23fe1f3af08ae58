"""Events that are scored beside the stream: handed to lanes, and what came of them picked up."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from udfs.batches import Outcome, OutcomeKind
from udfs.engine import LoadedModel, Offloaded, encode_result, score_inputs
from udfs.errors import Absence, Fault, ModelstreamError, OffloadError, ResolveError, ScoreError
from udfs.held import HeldEvent
from udfs.json_values import JsonValue
from udfs.models.references import ServedReferences
from udfs.offload.asked_events import AskedEvents
from udfs.offload.handing_over import HandingOver
from udfs.offload.in_flight import InFlightEvent, InFlightEvents
from udfs.offload.lane import Lane
from udfs.offload.mailbox import Mailbox
from udfs.outputs import OutputLimits, dead_letter, dead_letters

_WAIT_SECONDS = 0.1
_ROOM_SECONDS = 0.01
_MOST_AT_ONCE = 1000
"""Events that a fallback scores in one call."""
_PREDICTION = OutcomeKind.PREDICTION  # looking a member up takes as long as making the outcome
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
        self._handing_over = HandingOver(self._in_flight, models)
        self._refused: _Unanswered = []
        """What found no room."""
        self._waiting: dict[str, _Unanswered] = {}
        """What waits for its fallback, which is being loaded."""

    def __len__(self) -> int:
        """How many have not left yet."""
        return len(self._in_flight)

    @property
    def in_line(self) -> Collection[str]:
        """What events name that may have to wait behind one of these."""
        return self._in_flight.in_line

    def keeps_back(self, reference: str, key: bytes | None) -> bool:
        """Whether what came of an event of some key and model has to wait behind one of these."""
        return self._in_flight.keeps_back(reference, key)

    def follow(self, event: HeldEvent, outcome: Outcome) -> None:
        """Have what came of an event wait behind those of its key and model."""
        self._in_flight.enter([InFlightEvent(event, outcome=outcome)], None)

    def wait_for_room(self, asked: Iterable[AskedEvents]) -> list[Outcome]:
        """Wait for room, for a moment at most; what came of others meanwhile.

        A lane may have ended meanwhile: whoever waited asks anew who scores its event.

        Args:
            asked: the events that find none.
        """
        self.submit()
        # To wake up for each answer would cost more than to score: enough is left that waits meanwhile.
        most = min(one.lane.settings.max_waiting for one in asked)
        self._mailbox.wait(_ROOM_SECONDS, max(1, most // 4))
        self._poll()
        return self.collect()

    def add(self, asked: AskedEvents, *, is_held: bool = False) -> list[Outcome]:
        """Have events scored that need not wait for room; the lane gets them in `submit`.

        Args:
            asked: the events. Those that have to wait have not gone then.
            is_held: whether they were taken in before: then there is no way for them but to wait.

        Returns:
            The dead letters of those for which there is no room, where that was chosen, and of all where
            nobody is asked now, nobody else is to answer, and none stands before them.
        """
        lane = asked.lane
        has_others = lane.settings.fallback is not None or asked.reference in self.in_line
        if not has_others and (refusal := lane.refusal):
            return self._refuse_all(asked, refusal)
        dead: list[Outcome] = []
        while asked.gone < len(asked.events):
            if count := self._handing_over.room_for(lane, asked):
                self._handing_over.add(lane, asked, count)
            elif is_held or self._must_wait(lane):
                break
            else:
                dead += self._refuse(lane, asked.events[asked.gone], asked.offloaded[asked.gone])
                asked.gone += 1
        return dead

    def submit(self) -> None:
        """Hand to the lanes what was added since."""
        self._handing_over.submit()

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
            self._sort(one, error, unanswered, ended, now)
        now_ms = int(now.timestamp() * 1000)
        for answer in answers:
            one, result = self._in_flight[answer.ticket], answer.result
            if isinstance(result, ModelstreamError):
                self._sort(one, result, unanswered, ended, now)
            else:
                assert one.model is not None  # who has an answer was asked
                one.outcome = self._outcome(one, one.model, result, now, now_ms)
                ended.append(one)
        self._refused, self._waiting = [], {}
        for fallback, group in unanswered.items():
            ended += self._fall_back(fallback, group, now)
        return self._in_flight.leave(ended)

    def encode(self) -> list[str]:
        """Everything in flight, as the state keeps it: after a restart these are events that are held."""
        return self._in_flight.encode()

    def _must_wait(self, lane: Lane) -> bool:
        """Whether events for which a lane has no room wait for it, and the stream with them."""
        on_overload = lane.settings.on_overload
        # What a fallback scores keeps its place in its line, so that is bounded too.
        is_full = on_overload == "fallback" and not self._in_flight.has_room(lane)
        return is_full or on_overload == "backpressure"

    def _refuse_all(self, asked: AskedEvents, refusal: OffloadError) -> list[Outcome]:
        """Make dead letters of events that have not gone, at once and without the lane."""
        events, model = asked.events[asked.gone :], asked.offloaded[0].model
        asked.gone = len(asked.events)
        asked.lane.count_refused(len(events))
        self._handing_over.note(asked.reference, model, [event.at for event in events])
        records = [(event.value, event.envelope) for event in events]
        return dead_letters(records, refusal, self._limits, self._clock(), str(model))

    def _refuse(self, lane: Lane, event: HeldEvent, offloaded: Offloaded) -> list[Outcome]:
        """Make a dead letter of an event that finds no room, or leave it to the fallback."""
        one = InFlightEvent(event, offloaded.event_id, offloaded.data, offloaded.model)
        error = _overloaded(offloaded.model, lane)
        if lane.settings.on_overload == "dead-letter":
            self._models.note_absent(event.reference, one.time)
            return [self._dead(one, error, one.model, self._clock())]
        self._in_flight.enter([one], lane)
        self._handing_over.note(event.reference, offloaded.model, [one.time])
        self._refused.append((one, error))
        return []

    def _sort(
        self,
        one: InFlightEvent,
        error: ModelstreamError,
        unanswered: dict[str, _Unanswered],
        ended: list[InFlightEvent],
        now: datetime,
    ) -> None:
        """Leave an event that has no prediction to a fallback, or make a dead letter of it."""
        fallback = _fallback_of(one, error)
        if fallback is not None and isinstance(error, OffloadError):
            unanswered[fallback].append((one, error))
            return
        one.outcome = self._dead(one, error, one.model, now)
        ended.append(one)

    def _fall_back(self, fallback: str, group: _Unanswered, now: datetime) -> list[InFlightEvent]:
        """Score events with the version that is to answer in place of theirs; returns those that end."""
        now_ms = int(now.timestamp() * 1000)
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
                    one.outcome = self._outcome(one, model, result, now, now_ms)
                    self._models.note_fallback(one.model, model)
            ended += events
        return ended

    def _outcome(
        self,
        one: InFlightEvent,
        model: LoadedModel,
        result: JsonValue | ModelstreamError,
        now: datetime,
        now_ms: int,
    ) -> Outcome:
        if isinstance(result, ModelstreamError):
            return self._dead(one, result, model, now)
        envelope = one.event.envelope
        try:
            prediction = encode_result(one.event_id, model.described, result)
        except ScoreError as error:
            return self._dead(one, error, model, now)
        if refused := self._limits.refusal(prediction, envelope, now_ms):
            return self._dead(one, refused, model, now)
        return Outcome(_PREDICTION, prediction, envelope)

    def _dead(
        self, one: InFlightEvent, error: ModelstreamError, model: LoadedModel | None, now: datetime
    ) -> Outcome:
        name = None if model is None else str(model)
        return dead_letter(one.event.value, one.event.envelope, error, self._limits, now, name)


def _fallback_of(one: InFlightEvent, result: JsonValue | ModelstreamError) -> str | None:
    """The version that is to answer in place of one that could not be asked, where there is one."""
    lane = None if one.model is None else one.model.lane
    if not isinstance(result, OffloadError) or result.fault in (Fault.RECORD, Fault.HARMFUL) or lane is None:
        return None
    return None if lane.settings.fallback is None else str(lane.settings.fallback)


def _overloaded(model: LoadedModel, lane: Lane) -> OffloadError:
    most = lane.settings.max_waiting
    return OffloadError(f"{model}: too many events wait for it already (max_waiting: {most})", Fault.PASSING)
