"""All that one subtask of the job does, without Flink: batches and updates in, turns out."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import numpy as np

from udfs.answers import Answers
from udfs.batches import (
    BatchKind,
    EventBatch,
    Outcome,
    PredictionRun,
    decode_envelope,
    decode_events,
    encode_outcomes,
    encode_predictions,
)
from udfs.errors import ModelstreamError
from udfs.event_outcomes import EventOutcomes
from udfs.event_times import EventTimes, TimeField, record_times
from udfs.held import HeldEvent, HeldEvents
from udfs.lateness import Lateness
from udfs.missing import MissingPolicies
from udfs.models import catalog as catalogs
from udfs.models.known import KnownCatalog, read_update
from udfs.models.references import ServedReferences
from udfs.models.serving import Serving
from udfs.models.signatures import ANYBODY, Verifier
from udfs.models.updates import RetireModel
from udfs.offload.mailbox import Mailbox
from udfs.offload.offloaded_events import OffloadedEvents
from udfs.outputs import OutputLimits
from udfs.records import ModelStatus
from udfs.reports import Place, Reports
from udfs.scored import ScoredEvents
from udfs.update_letters import UpdateLetters
from udfs.waiting_events import WaitingEvents

_WAIT_SECONDS = 0.1
"""A load that takes longer than its deadline is given up by who asks, this often."""


class State(NamedTuple):
    """What the keyed state must hold from now on, each as texts."""

    held: list[str]
    """Events in flight among them: after a restart they are scored again."""
    highest_event_times: list[str]
    served_versions: list[str]


class Turn(NamedTuple):
    """What a batch or an update came to."""

    outcomes: bytes | None = None
    """An outcome batch, see `udfs.batches`."""
    statuses: tuple[ModelStatus, ...] = ()
    state: State | None = None
    """None: no checkpoint comes before the next turn."""


class ScoringSubtask:
    """Scores batches with what is serving, holds what has no model yet, follows updates.

    Used by one thread. Versions are loaded beside it: an event whose version is being loaded waits, and
    only where there is no room for it does the batch.

    Args:
        place: which subtask this is.
        serving: its models.
        limits: what the output topics take.
        held: what it holds.
        missing: what becomes of events whose model is missing or failed.
        default_model: the model of events that name none.
        running_time: seconds of running time, for what is held.
        clock: the time of day, for statuses, dead letters and the limits of timestamps.
        time_field: the field that says events' time; None: their records' timestamps.
        report_interval: seconds after which counts that have grown are said again.
        verifier: what is asked of the signatures of updates.
        max_batch: most events and bytes that are scored in one call when held events are released.
        mailbox: where the answers of lanes come in; None: no version is offloaded.
    """

    def __init__(
        self,
        place: Place,
        serving: Serving,
        limits: OutputLimits,
        held: HeldEvents,
        missing: MissingPolicies,
        default_model: str | None,
        running_time: Callable[[], float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        max_batch: tuple[int, int],
        mailbox: Mailbox | None = None,
        time_field: str | None = None,
        report_interval: float = 2.0,
        verifier: Verifier = ANYBODY,
    ) -> None:
        self._serving = serving
        self._running_time = running_time
        self._verifier = verifier
        self._time_field = None if time_field is None else TimeField(time_field)
        self._scored = ScoredEvents()
        answers = Answers()
        models = ServedReferences(serving, missing, self._scored, answers)
        self._waiting = WaitingEvents(held, models, missing, running_time)
        self._offloaded = OffloadedEvents(mailbox or Mailbox(), models, limits, clock, self._poll)
        self._events = EventOutcomes(
            models, self._waiting, self._offloaded, limits, default_model, clock, max_batch, self._wait
        )
        self._reports = Reports(place, self._scored, clock, report_interval)
        self._lateness = Lateness(serving, models, answers, self._scored, self._reports)
        self._letters = UpdateLetters(limits, clock, writes=place.subtask == 0)
        self._is_adopted = False
        self._served_before: list[str] = []
        """Versions that served in earlier attempts, until all of them are known."""

    @property
    def catalog(self) -> catalogs.Catalog:
        """The catalog as it is now."""
        return self._serving.catalog

    def start(self, restored: catalogs.Catalog, known: KnownCatalog) -> None:
        """Serve what the state held and what the control topic said before the job started."""
        self._letters.start(known, restored.offset)
        self._serving.start(self._catalog_at_start(restored, known.catalog), restored)
        self._lateness.start(restored)
        self._note_changes()

    def adopt(
        self,
        held: Iterable[str],
        highest_event_times: Iterable[str] = (),
        served_versions: Iterable[str] = (),
    ) -> None:
        """Go on from the state of an earlier attempt, or of another subtask before a rescaling.

        All of them come before the first batch.
        """
        events = HeldEvents.decode(held)
        at = self._times_of(events).at.tolist()
        timed = [
            event if event.time is not None else msgspec.structs.replace(event, time=time)
            for event, time in zip(events, at, strict=True)
        ]
        self._waiting.restore(timed)
        self._scored.adopt(highest_event_times)
        self._served_before += served_versions

    def on_batch(self, blob: bytes) -> Turn:
        """Score a batch, after what was held and now has its model."""
        batch = decode_events(blob)
        if not self._is_adopted:
            self._is_adopted = True
            self._serving.adopted(self._served_before)
            self._served_before.clear()
            self._lateness.adopted()
            self._reports.say_highest()
        self._poll()
        outcomes: list[Outcome | PredictionRun] = []
        outcomes += self._letters.take()
        outcomes += self._offloaded.collect()
        outcomes += self._events.release()
        if batch.kind is BatchKind.END_OF_INPUT:
            outcomes += self._end()
        elif batch.values:
            times = self._times_of_batch(batch)
            scored = self._events.score(batch, times)
            predictions = scored.results
            if not (outcomes or self._offloaded.in_line) and all(type(one) is bytes for one in predictions):
                return self._turn(encode_predictions(batch, predictions), batch)  # type: ignore[arg-type]  # all are bytes
            self._events.sort_out(batch, times, scored, outcomes)
        return self._turn(encode_outcomes(outcomes) if outcomes else None, batch)

    def on_update(self, envelope: bytes, value: bytes) -> Turn:
        """Follow a control record; one that is refused, or fails to load, is a dead letter of subtask 0."""
        record = decode_envelope(envelope)
        offset = record.offset
        if offset <= self.catalog.offset:
            return self._turn_of_update()  # already folded before the job started
        self._poll()  # a version that has failed by now is loaded again if the update asks for it
        model = None
        before = self.catalog.models
        try:
            update, signed_on = read_update(value, record.headers, self.catalog, self._verifier)
            model = update.reference
            self._serving.update(update, offset, signed_on)
            if not isinstance(update, RetireModel):
                self._letters.asked(update.model, value, envelope)
            self._note_changes()
            if self.catalog.models.get(update.model.name) is not before.get(update.model.name):
                self._lateness.followed(update)
        except ModelstreamError as error:
            self._letters.refused(value, envelope, error, model)
        self._serving.catalog = catalogs.advance(self.catalog, offset)
        self._note_changes()
        return self._turn_of_update()

    def close(self) -> None:
        """Close every model."""
        self._serving.close()

    def _catalog_at_start(self, restored: catalogs.Catalog, known: catalogs.Catalog) -> catalogs.Catalog:
        if self._verifier.required and known.offset >= restored.offset:
            return known  # what the state has of keys that are trusted no more does not come back
        return catalogs.newest(restored, known)

    def _times_of(self, events: Sequence[HeldEvent]) -> EventTimes:
        if self._time_field is not None:
            return self._time_field.read([event.value for event in events])
        at = [decode_envelope(event.envelope).timestamp if event.envelope else -1 for event in events]
        return EventTimes(np.array(at, np.int64), {})

    def _poll(self) -> None:
        self._serving.poll()
        self._note_changes()

    def _times_of_batch(self, batch: EventBatch) -> EventTimes:
        if self._time_field is None:
            return EventTimes(record_times(batch), {})
        return self._time_field.read(batch.values)

    def _wait(self) -> None:
        """Wait for the next load to end, which its deadline bounds, or for its word."""
        self._serving.wait(_WAIT_SECONDS)
        self._poll()

    def _end(self) -> list[Outcome | PredictionRun]:
        """At the end of the input nothing stays held or in flight, and every load has said its word."""
        outcomes = self._events.release()
        while self._serving.is_loading:
            self._wait()
            outcomes += self._offloaded.collect()
            outcomes += self._events.release()
        outcomes += self._letters.take()
        outcomes += self._events.give_up()
        while self._offloaded:
            self._offloaded.wait()
            outcomes += self._offloaded.collect()
        return outcomes

    def _turn_of_update(self) -> Turn:
        # Keyed state has no key on the broadcast side: the batch before a checkpoint writes it.
        outcomes = self._letters.take()
        return Turn(encode_outcomes(outcomes) if outcomes else None, self._take_statuses())

    def _turn(self, outcomes: bytes | None, batch: EventBatch) -> Turn:
        state = None
        if batch.barrier_follows:
            # What is in flight came before what is held of its key and model.
            held = self._offloaded.encode() + self._waiting.encode()
            state = State(held, self._scored.encode(), self._serving.served())
        return Turn(outcomes, self._take_statuses(), state)

    def _note_changes(self) -> None:
        """Take what happened to versions."""
        for change in self._serving.take_changes():
            self._reports.say(change)
            self._letters.noted(change, self._serving.failure(change.model))
            self._lateness.noted(change)

    def _take_statuses(self) -> tuple[ModelStatus, ...]:
        self._note_changes()
        return self._reports.take(self._running_time())
