"""What becomes of events: they are scored here or beside the stream, held, or dead letters."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice

import numpy as np

from udfs.batches import EventBatch, Outcome, OutcomeKind, PredictionRun, read_key
from udfs.engine import Failure, Line, Offloaded, Scored, ScoredBatch, score_in_line, score_values
from udfs.errors import Absence, ModelstreamError, ResolveError
from udfs.event_times import EventTimes
from udfs.held import HeldEvent, micro_batches
from udfs.models.references import ServedReferences
from udfs.offload.asked_events import AskedEvents, by_version
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

    def score(self, batch: EventBatch, times: EventTimes) -> ScoredBatch:
        """Score a batch, as far as nothing waits before its events."""
        line = Line(self._waiting, batch.key)
        scored = score_in_line(batch.values, self._models, times, self._default_model, line)
        results = scored.results
        late = self._limits.timestamp_errors(batch, self._now_ms())
        for index, error in late.items():
            results[index] = Failure(error)
        predictions = [result for result in results if isinstance(result, bytes)]
        if predictions and not self._limits.all_fit(batch, predictions):
            for index, result in enumerate(results):
                if isinstance(result, bytes):
                    too_large = self._limits.size_error(result, batch.envelope(index))
                    results[index] = Failure(too_large) if too_large else result
        return scored

    def sort_out(
        self,
        batch: EventBatch,
        times: EventTimes,
        scored: ScoredBatch,
        outcomes: list[Outcome | PredictionRun],
    ) -> None:
        """Hold the events of a batch that wait for a model, and hand on those that are scored elsewhere.

        Waits for room where a model is being loaded, or is scored elsewhere and its events are to wait.

        Args:
            batch: N events.
            times: theirs.
            scored: what `score` says of them.
            outcomes: gets what has become of them, and meanwhile of others.
        """
        results = scored.results
        at = times.at.tolist()

        def score_again(indexes: Sequence[int]) -> None:
            if indexes:
                again = self.score(batch.part(indexes), times.part(indexes)).results
                for index, result in zip(indexes, again, strict=True):
                    results[index] = result

        def event_of(index: int, reference: str) -> HeldEvent:
            return HeldEvent(reference, batch.values[index], batch.envelope(index), time=at[index])

        left = 0

        def pass_until(stop: int) -> None:
            nonlocal left
            if left < stop:
                outcomes.append(batch.run(left, results[left:stop]))  # type: ignore[arg-type]  # predictions
            left = max(left, stop + 1)  # some are looked at again

        now = self._clock()
        stops, references = self._stops(scored)
        place = 0
        while place < len(stops):
            index = stops[place]
            result = results[index]
            pass_until(index)
            if isinstance(result, bytes):
                outcome = Outcome(OutcomeKind.PREDICTION, result, batch.envelope(index))
                if self._offloaded.keeps_back(references[index], batch.key(index)):
                    self._offloaded.follow(event_of(index, references[index]), outcome)
                else:
                    outcomes.append(outcome)
            elif isinstance(result, Offloaded):
                asked = _offloaded_from(place, stops, results)
                rest = self._offload(asked, event_of, outcomes)
                score_again([one for one in rest if _has_ended(results[one])])
                stops[place : place + len(asked)] = rest
                for one, _ in asked:
                    if one == left:  # as nearly always: nothing lies between
                        left += 1
                    else:
                        pass_until(one)
                continue
            elif result.reference is None or not isinstance(result.error, ResolveError):
                model = str(result.model) if result.model else None
                value, envelope = batch.values[index], batch.envelope(index)
                outcomes.append(dead_letter(value, envelope, result.error, self._limits, now, model))
            elif result.is_behind and batch.key(index) not in self._waiting.ahead(result.reference):
                score_again([index])  # what it was behind was not held after all
                continue
            else:
                event = event_of(index, result.reference)
                if self._waiting.must_wait_for_room(event, result.error):
                    changes = self._models.changes
                    self._offloaded.submit()  # a lane may be let go of meanwhile
                    self._wait()
                    outcomes += self.release()  # what is held leaves before the rest of the batch
                    if self._models.changes != changes:
                        score_again([one for one in stops[place:] if _is_absent(results[one])])
                    continue
                if why := self._waiting.hold(event, result.error):
                    outcomes.append(self._dead(event, why))
            place += 1
        pass_until(len(results))
        self._offloaded.submit()

    def _stops(self, scored: ScoredBatch) -> tuple[list[int], Mapping[int, str]]:
        """What is to be looked at one by one, of a batch whose other predictions leave as they are.

        Those are the predictions of models none of whose events waits, or is to wait.

        Returns:
            The indexes, ascending, and what is named by those of them that may have to wait.
        """
        others = [(index, one) for index, one in enumerate(scored.results) if not isinstance(one, bytes)]
        waiting = {one.reference for _, one in others if one.reference is not None}.union(
            self._offloaded.in_line
        )
        # A model's events are looked at together: some may come to stand behind others.
        references = {
            index: reference for reference in waiting for index in scored.by_reference.get(reference, ())
        }
        return sorted(references.keys() | {index for index, _ in others}), references

    def _offload(
        self,
        asked: Sequence[tuple[int, Offloaded]],
        event_of: Callable[[int, str], HeldEvent],
        outcomes: list[Outcome | PredictionRun],
        *,
        is_held: bool = False,
    ) -> list[int]:
        """Hand events to their versions; those for which there is no room wait for it, and for nothing else.

        Args:
            asked: indexes of events, ascending, and what is to be scored of them.
            event_of: the event of an index that names a model.
            outcomes: gets what has become of those for which there is no room, and meanwhile of others.
            is_held: whether they were taken in before.

        Returns:
            The indexes of those that are left, where a version is let go of while they wait.
        """
        groups = by_version(asked, event_of)
        while groups:
            full: set[str] = set()
            left: list[AskedEvents] = []
            for group in groups:
                if group.reference not in full and not _has_ended(group.offloaded[0]):
                    outcomes += self._offloaded.add(group, is_held=is_held)
                if group.left:
                    full.add(group.reference)
                    left.append(group)
            if any(_has_ended(group.offloaded[0]) for group in left):
                return sorted(index for group in left for index in group.left)
            if left:
                outcomes += self._offloaded.wait_for_room(left)
            groups = left
        return []

    def release(self) -> list[Outcome | PredictionRun]:
        """What became of what waited and waits no more."""
        return self._outcomes_of(self._waiting.take())

    def give_up(self) -> list[Outcome | PredictionRun]:
        """What becomes at the end of the input of what still waits."""
        return self._outcomes_of(self._waiting.take_all("the input ended before the model came"))

    def _outcomes_of(self, leaving: Leaving) -> list[Outcome | PredictionRun]:
        outcomes: list[Outcome | PredictionRun] = [self._dead(event, why) for event, why in leaving.dead]
        for piece in micro_batches(leaving.ready, *self._max_batch):
            outcomes += self._score_held(piece)
            self._offloaded.submit()
        return outcomes

    def _score_held(self, events: list[HeldEvent]) -> list[Outcome | PredictionRun]:
        """What becomes of events that were held; waits for room where they are scored elsewhere."""
        scored = self._score_events(events)
        outcomes: list[Outcome | PredictionRun] = []
        now_ms = self._now_ms()
        stops, place = list(range(len(events))), 0
        while place < len(stops):
            index = stops[place]
            event, result = events[index], scored[index]
            if isinstance(result, Offloaded):
                asked = _offloaded_from(place, stops, scored)
                rest = self._offload(asked, lambda index, _: events[index], outcomes, is_held=True)
                for one in rest:
                    if _has_ended(scored[one]):
                        [scored[one]] = self._score_events([events[one]])
                stops[place : place + len(asked)] = rest
                continue
            if isinstance(result, Failure):
                outcomes += self._dead_unless_held(event, result.error)
            elif refused := self._limits.refusal(result, event.envelope, now_ms):
                outcomes.append(self._dead(event, refused))
            else:
                outcome = Outcome(OutcomeKind.PREDICTION, result, event.envelope)
                if self._offloaded.keeps_back(event.reference, _key(event)):
                    self._offloaded.follow(event, outcome)
                else:
                    outcomes.append(outcome)
            place += 1
        return outcomes

    def _score_events(self, events: Sequence[HeldEvent]) -> list[Scored]:
        times = EventTimes(np.array([event.time for event in events], np.int64), {})
        return score_values([event.value for event in events], self._models, times, self._default_model)

    def _dead_unless_held(self, event: HeldEvent, error: ModelstreamError) -> list[Outcome]:
        """A dead letter; nothing where the event's model has come to be loaded anew, and it is held again."""
        if isinstance(error, ResolveError) and error.absence is Absence.LOADING:
            why = self._waiting.hold(event, error)
            return [] if why is None else [self._dead(event, why)]
        return [self._dead(event, error)]

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _dead(self, event: HeldEvent, error: ModelstreamError) -> Outcome:
        if isinstance(error, ResolveError):
            self._models.note_absent(event.reference, event.at)
        return dead_letter(event.value, event.envelope, error, self._limits, self._clock(), event.reference)


def _key(event: HeldEvent) -> bytes | None:
    return read_key(event.envelope) if event.envelope else None


def _has_ended(result: Scored) -> bool:
    """Whether a version was let go of since it was found, while room was waited for."""
    lane = result.model.lane if isinstance(result, Offloaded) else None
    return lane is not None and lane.is_ending


def _offloaded_from(
    place: int, indexes: Sequence[int], results: Sequence[Scored]
) -> list[tuple[int, Offloaded]]:
    """From a place among indexes on, as long as they are of events that are scored beside the stream."""
    found: list[tuple[int, Offloaded]] = []
    for index in islice(indexes, place, None):
        result = results[index]
        if not isinstance(result, Offloaded):
            break
        found.append((index, result))
    return found


def _is_absent(result: Scored) -> bool:
    return isinstance(result, Failure) and result.reference is not None
