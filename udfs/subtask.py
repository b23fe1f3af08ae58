"""All that one subtask of the job does, without Flink: batches and updates in, turns out."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from udfs.batches import (
    BatchKind,
    EventBatch,
    Outcome,
    OutcomeKind,
    decode_envelope,
    decode_events,
    encode_outcomes,
    encode_predictions,
)
from udfs.engine import Failure, Scored, score_values
from udfs.errors import ModelstreamError, ResolveError
from udfs.held import HeldEvent, HeldEvents, micro_batches
from udfs.models import catalog as catalogs
from udfs.models.known import KnownCatalog
from udfs.models.serving import Serving
from udfs.models.updates import check_supported, decode_update
from udfs.outputs import OutputLimits, dead_letter
from udfs.records import ModelStatus

_TEXT_CHARACTERS = 2000
"""Longest text in a status, whose topic takes no record of any size."""


class Place(NamedTuple):
    """Which subtask of which job this is."""

    job: str
    subtask: int = 0
    parallelism: int = 1
    attempt: int = 0


class Turn(NamedTuple):
    """What a batch or an update came to."""

    outcomes: bytes | None = None
    """An outcome batch, see `udfs.batches`."""
    statuses: tuple[ModelStatus, ...] = ()
    held: list[str] | None = None
    """What the keyed state must hold from now on; None: as it was."""


class ScoringSubtask:
    """Scores batches with what is serving, holds what has no model yet, follows updates.

    Used by one thread.

    Args:
        place: which subtask this is.
        serving: its models.
        limits: what the output topics take.
        held: what it holds, None where an event without a model is a dead letter at once.
        default_model: the model of events that name none.
        running_time: seconds of running time, for what is held.
        clock: the time of day, for statuses, dead letters and the limits of timestamps.
        max_batch: most events and bytes that are scored in one call when held events are released.
    """

    def __init__(
        self,
        place: Place,
        serving: Serving,
        limits: OutputLimits,
        held: HeldEvents | None,
        default_model: str | None,
        running_time: Callable[[], float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        max_batch: tuple[int, int],
    ) -> None:
        self._place = place
        self._serving = serving
        self._limits = limits
        self._held = held
        self._default_model = default_model
        self._running_time = running_time
        self._clock = clock
        self._max_batch = max_batch
        self._unsaid: list[Outcome] = []
        self._asked: tuple[int, int] | None = None

    @property
    def catalog(self) -> catalogs.Catalog:
        """The catalog as it is now."""
        return self._serving.catalog

    def start(self, restored: catalogs.Catalog, known: KnownCatalog) -> None:
        """Serve what the state held and what the control topic said before the job started."""
        self._serving.start(catalogs.newest(restored, known.catalog))
        if self._place.subtask == 0:
            now = self._clock()
            self._unsaid += [
                dead_letter(one.value, one.envelope, one.error(), self._limits, now, cut_from=one.cut_from)
                for one in known.refused
                if one.offset > restored.offset
            ]
            self._unsaid += [
                dead_letter(
                    one.whole_value(known.catalog.models[model.name].versions[model.version]),
                    one.envelope,
                    failure,
                    self._limits,
                    now,
                    str(model),
                )
                for model, one in known.published.items()
                if one.offset > restored.offset and (failure := self._serving.failure(model)) is not None
            ]

    def adopt(self, state: Iterable[str]) -> None:
        """Go on holding what an earlier attempt, or another subtask before a rescaling, held."""
        entries = HeldEvents.decode(state)
        if self._held is not None:
            self._held.add(entries, self._running_time())
        else:
            why = ResolveError("held before missing_model was set to dead-letter")
            self._unsaid += [self._dead(event, why) for event in entries]

    def on_batch(self, blob: bytes) -> Turn:
        """Score a batch, after what was held and now has its model."""
        batch = decode_events(blob)
        released = self._release(batch.kind)
        if not batch.values:
            return self._turn(encode_outcomes(released) if released else None)
        scored = self._score(batch)
        if not released and not any(isinstance(result, Failure) for result in scored):
            return self._turn(encode_predictions(batch, scored))  # type: ignore[arg-type]  # all are bytes
        outcomes = released + self._sort_out(batch, scored)
        return self._turn(encode_outcomes(outcomes) if outcomes else None)

    def on_update(self, envelope: bytes, value: bytes) -> Turn:
        """Follow a control record; one that is refused, or fails to load, is a dead letter of subtask 0."""
        offset = decode_envelope(envelope).offset
        if offset <= self.catalog.offset:
            return self._turn_of_update(None)  # already folded before the job started
        outcomes: list[Outcome] = []
        model = None
        try:
            update = decode_update(value)
            model = update.reference
            check_supported(update)
            self._serving.update(update, offset)
        except ModelstreamError as error:
            if self._place.subtask == 0:
                outcomes.append(dead_letter(value, envelope, error, self._limits, self._clock(), model))
        self._serving.catalog = catalogs.advance(self.catalog, offset)
        return self._turn_of_update(encode_outcomes(outcomes) if outcomes else None)

    def close(self) -> None:
        """Close every model."""
        self._serving.close()

    def _score(self, batch: EventBatch) -> list[Scored]:
        scored = score_values(batch.values, self._serving.serve, self._default_model)
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

    def _sort_out(self, batch: EventBatch, scored: list[Scored]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        now = self._clock()
        for index, result in enumerate(scored):
            value, envelope = batch.values[index], batch.envelope(index)
            if isinstance(result, bytes):
                outcomes.append(Outcome(OutcomeKind.PREDICTION, result, envelope))
                continue
            error = result.error
            if result.reference is not None:
                event = HeldEvent(result.reference, value, envelope)
                if self._held is not None and batch.kind is not BatchKind.END_OF_INPUT:
                    if self._held.has_room_for(event):
                        self._held.add([event], self._running_time())
                        continue
                    error = ResolveError(f"{error}; no room to hold it (missing_model.max_events, max_bytes)")
            model = str(result.model) if result.model else result.reference
            outcomes.append(dead_letter(value, envelope, error, self._limits, now, model))
        return outcomes

    def _release(self, kind: BatchKind) -> list[Outcome]:
        outcomes, self._unsaid = self._unsaid, []
        if self._held is None or not len(self._held):
            return outcomes
        # Asking is dear where much is held, and the answer changes with the serving alone.
        if self._asked != (asking := (self._serving.changes, self._held.arrivals)):
            self._asked = asking
            for ready in micro_batches(self._held.take_ready(self._is_served), *self._max_batch):
                outcomes += self._score_held(ready)
        if kind is BatchKind.END_OF_INPUT:
            overdue, why = self._held.take_all(), "the input ended before the model came"
        else:
            overdue = self._held.take_expired(self._running_time())
            why = "the model did not come in time (missing_model.hold)"
        outcomes += [self._dead(event, ResolveError(f"{event.reference}: {why}")) for event in overdue]
        return outcomes

    def _is_served(self, reference: str) -> bool:
        try:
            self._serving.serve(reference)
        except ResolveError:
            return False
        return True

    def _score_held(self, events: list[HeldEvent]) -> list[Outcome]:
        scored = score_values([event.value for event in events], self._serving.serve, self._default_model)
        outcomes: list[Outcome] = []
        now_ms = self._now_ms()
        for event, result in zip(events, scored, strict=True):
            if isinstance(result, bytes):
                refused = self._limits.size_error(result, event.envelope)
                refused = refused or self._limits.timestamp_error(event.envelope, now_ms)
                if refused is None:
                    outcomes.append(Outcome(OutcomeKind.PREDICTION, result, event.envelope))
                    continue
                result = Failure(refused)
            outcomes.append(self._dead(event, result.error))
        return outcomes

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    def _dead(self, event: HeldEvent, error: ModelstreamError) -> Outcome:
        return dead_letter(event.value, event.envelope, error, self._limits, self._clock(), event.reference)

    def _turn_of_update(self, outcomes: bytes | None) -> Turn:
        # Keyed state has no key on the broadcast side: what is held is written with the next batch.
        return Turn(outcomes, self._take_statuses(), None)

    def _turn(self, outcomes: bytes | None) -> Turn:
        held = None
        if self._held is not None:
            now = self._running_time()
            if self._held.changed or self._held.is_stale(now):
                held = self._held.encode(now)
        return Turn(outcomes, self._take_statuses(), held)

    def _take_statuses(self) -> tuple[ModelStatus, ...]:
        changes = self._serving.take_changes()
        if not changes:
            return ()
        at = self._clock().isoformat(timespec="milliseconds")
        job, subtask, parallelism, attempt = self._place
        return tuple(
            ModelStatus(
                job,
                change.model,
                change.status,
                subtask,
                parallelism,
                attempt,
                change.sha256,
                at,
                load_ms=change.load_ms,
                cause=None if change.cause is None else change.cause[:_TEXT_CHARACTERS],
                notes=tuple(note[:_TEXT_CHARACTERS] for note in change.notes),
            )
            for change in changes
        )
