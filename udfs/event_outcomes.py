"""What becomes of events: they are scored here or beside the stream, held, or dead letters."""

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from udfs.batches import EventBatch, Outcome, OutcomeKind, read_key
from udfs.engine import Failure, Line, Offloaded, Scored, decode_event, score_values
from udfs.errors import Absence, ModelstreamError, ResolveError
from udfs.event_times import EventTimes
from udfs.held import HeldEvent, micro_batches
from udfs.models.references import ServedReferences
from udfs.offload.offloaded_events import OffloadedEvents
from udfs.outputs import OutputLimits, dead_letter
from udfs.waiting_events import Leaving, WaitingEvents


class EventOutcomes:
    """Scores events within what the output topics take, and has those wait that are to.

    Args:
        models: what scores.
        waiting: what waits.
        offloaded: what is scored beside the stream.
        limits: what the output topics take.
        default_model: the model of events that name none.
        clock: the time of day, for dead letters and the limits of timestamps.
        max_batch: most events and bytes that are scored in one call when held events are released.
        wait: waits for what is being loaded, for a while, and takes over what is loaded.
    """

    def __init__(
        self,
        models: ServedReferences,
        waiting: WaitingEvents,
        offloaded: OffloadedEvents,
        limits: OutputLimits,
        default_model: str | None,
        clock: Callable[[], datetime],
        max_batch: tuple[int, int],
        wait: Callable[[], None],
    ) -> None:
        self._models = models
        self._waiting = waiting
        self._offloaded = offloaded
        self._limits = limits
        self._default_model = default_model
        self._clock = clock
        self._max_batch = max_batch
        self._wait = wait

    def score(self, batch: EventBatch, times: EventTimes) -> list[Scored]:
        """Score a batch, as far as nothing waits before its events."""
        line = Line(self._waiting, batch.key)
        scored = score_values(batch.values, self._models, times, self._default_model, line)
        late = self._limits.timestamp_errors(batch, self._now_ms())
        for index, error in late.items():
            scored[index] = Failure(error)
        predictions = [result for result in scored if isinstance(result, bytes)]
        if predictions and not self._limits.all_fit(batch, predictions):
            for index, result in enumerate(scored):
                if isinstance(result, bytes):
                    too_large = self._limits.size_error(result, batch.envelope(index))
                    scored[index] = Failure(too_large) if too_large else result
        return scored

    def sort_out(
        self, batch: EventBatch, times: EventTimes, scored: list[Scored], outcomes: list[Outcome]
    ) -> None:
        """Hold the events of a batch that wait for a model, and hand on those that are scored elsewhere.

        Waits for room where a model is being loaded, or is scored elsewhere and its events are to wait.

        Args:
            batch: N events.
            times: theirs.
            scored: what `score` says of them.
            outcomes: gets what has become of them, and meanwhile of others.
        """

        def score_again(indexes: Sequence[int]) -> None:
            again = self.score(batch.part(indexes), times.part(indexes))
            for index, result in zip(indexes, again, strict=True):
                scored[index] = result

        now = self._clock()
        index = 0
        while index < len(scored):
            result = scored[index]
            value, envelope = batch.values[index], batch.envelope(index)
            if isinstance(result, bytes):
                outcome = Outcome(OutcomeKind.PREDICTION, result, envelope)
                if not self._waits_behind_offloaded(batch, times, index, outcome):
                    outcomes.append(outcome)
            elif isinstance(result, Offloaded):
                if self._has_ended(result):
                    score_again([index])
                    continue
                event = HeldEvent(result.reference, value, envelope, time=int(times.at[index]))
                if self._offloaded.must_wait(event, result):
                    outcomes += self._offloaded.wait_for_room()
                    continue
                refused = self._offloaded.add(event, result)
                outcomes += [refused] if refused else []
            elif result.reference is None or not isinstance(result.error, ResolveError):
                model = str(result.model) if result.model else None
                outcomes.append(dead_letter(value, envelope, result.error, self._limits, now, model))
            elif result.is_behind and batch.key(index) not in self._waiting.ahead(result.reference):
                score_again([index])  # what it was behind was not held after all
                continue
            else:
                event = HeldEvent(result.reference, value, envelope, time=int(times.at[index]))
                if self._waiting.must_wait_for_room(event, result.error):
                    changes = self._models.changes
                    self._wait()
                    outcomes += self.release()  # what is held leaves before the rest of the batch
                    if self._models.changes != changes:
                        score_again([one for one in range(index, len(scored)) if _is_absent(scored[one])])
                    continue
                if why := self._waiting.hold(event, result.error):
                    outcomes.append(self._dead(event, why))
            index += 1
        self._offloaded.submit()

    def _waits_behind_offloaded(
        self, batch: EventBatch, times: EventTimes, index: int, outcome: Outcome
    ) -> bool:
        """Whether an event's prediction waits behind others of its key and model; it is kept then."""
        if not self._offloaded.keeps_order or not self._offloaded.keeps_back_any(batch.key(index)):
            return False
        reference = decode_event(batch.values[index]).model or self._default_model
        assert reference is not None  # it was scored
        if not self._offloaded.keeps_back(reference, batch.key(index)):
            return False
        event = HeldEvent(reference, batch.values[index], batch.envelope(index), time=int(times.at[index]))
        self._offloaded.follow(event, outcome)
        return True

    def release(self) -> list[Outcome]:
        """What became of what waited and waits no more."""
        return self._outcomes_of(self._waiting.take())

    def give_up(self) -> list[Outcome]:
        """What becomes at the end of the input of what still waits."""
        return self._outcomes_of(self._waiting.take_all("the input ended before the model came"))

    def _outcomes_of(self, leaving: Leaving) -> list[Outcome]:
        outcomes = [self._dead(event, why) for event, why in leaving.dead]
        for piece in micro_batches(leaving.ready, *self._max_batch):
            outcomes += self._score_held(piece)
            self._offloaded.submit()
        return outcomes

    def _score_held(self, events: list[HeldEvent]) -> list[Outcome]:
        """What becomes of events that were held; waits for room where they are scored elsewhere."""
        scored = self._score_events(events)
        outcomes: list[Outcome] = []
        now_ms = self._now_ms()
        index = 0
        while index < len(events):
            event, result = events[index], scored[index]
            if isinstance(result, Offloaded):
                if self._has_ended(result):
                    [scored[index]] = self._score_events([event])
                    continue
                if self._offloaded.must_wait(event, result, is_held=True):
                    outcomes += self._offloaded.wait_for_room()
                    continue
                self._offloaded.add(event, result)
            elif isinstance(result, Failure):
                outcomes += self._dead_unless_held(event, result.error)
            elif refused := self._refused(event, result, now_ms):
                outcomes.append(self._dead(event, refused))
            else:
                outcome = Outcome(OutcomeKind.PREDICTION, result, event.envelope)
                if self._offloaded.keeps_back(event.reference, _key(event)):
                    self._offloaded.follow(event, outcome)
                else:
                    outcomes.append(outcome)
            index += 1
        return outcomes

    def _score_events(self, events: Sequence[HeldEvent]) -> list[Scored]:
        times = EventTimes(np.array([event.time for event in events], np.int64), {})
        return score_values([event.value for event in events], self._models, times, self._default_model)

    def _has_ended(self, offloaded: Offloaded) -> bool:
        """Whether a version was let go of since it was found, while room was waited for."""
        lane = offloaded.model.lane
        return lane is not None and lane.is_ending

    def _dead_unless_held(self, event: HeldEvent, error: ModelstreamError) -> list[Outcome]:
        """A dead letter; nothing where the event's model has come to be loaded anew, and it is held again."""
        if isinstance(error, ResolveError) and error.absence is Absence.LOADING:
            why = self._waiting.hold(event, error)
            return [] if why is None else [self._dead(event, why)]
        return [self._dead(event, error)]

    def _refused(self, event: HeldEvent, prediction: bytes, now_ms: int) -> ModelstreamError | None:
        """Why the predictions topic would refuse a prediction, None where it would not."""
        too_large = self._limits.size_error(prediction, event.envelope)
        return too_large or self._limits.timestamp_error(event.envelope, now_ms)

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _dead(self, event: HeldEvent, error: ModelstreamError) -> Outcome:
        if isinstance(error, ResolveError):
            self._models.note_absent(event.reference, -1 if event.time is None else event.time)
        return dead_letter(event.value, event.envelope, error, self._limits, self._clock(), event.reference)


def _key(event: HeldEvent) -> bytes | None:
    return read_key(event.envelope) if event.envelope else None


def _is_absent(result: Scored) -> bool:
    return isinstance(result, Failure) and result.reference is not None
