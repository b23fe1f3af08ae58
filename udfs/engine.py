"""Scoring a batch of values: plain functions from bytes to predictions and errors.

No Flink, Kafka, catalog, clock or thread: who serves what is handed in as a function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from udfs.errors import Absence, DecodeError, ModelstreamError, ResolveError, ScoreError
from udfs.event_times import EventTimes
from udfs.json_values import JsonValue, read_struct
from udfs.offload.lane import Lane
from udfs.records import Event, ServedModel
from udfs.scorers.base import Scorer


class LoadedModel(NamedTuple):
    """A version that is loaded and ready to score."""

    served: ServedModel
    scorer: Scorer
    described: msgspec.Raw
    """``served`` as JSON, for every prediction."""
    load_ms: float
    notes: tuple[str, ...]
    lane: Lane | None = None
    """Where its events are scored beside the stream; None: its scorer scores them at once."""

    def __str__(self) -> str:
        return f"{self.served.name}:{self.served.version}"


class Failure(NamedTuple):
    """Why an event has no prediction."""

    error: ModelstreamError
    model: LoadedModel | None = None
    """The version that failed on it."""
    reference: str | None = None
    """The model that the event names, where none serves it; such an event may be held."""
    is_behind: bool = False
    """Another event of its key and model waits, or is to wait, before it; the error is that one's."""


class Offloaded(msgspec.Struct, frozen=True, gc=False):
    """An event that is to be scored beside the stream."""

    event_id: JsonValue
    data: JsonValue
    model: LoadedModel
    """The version; it has a lane."""
    reference: str
    """What the event names."""


Scored = bytes | Failure | Offloaded
"""What became of one value: the JSON of its prediction, why there is none, or that it is scored elsewhere."""


class ScoredBatch(NamedTuple):
    """What became of the values of a batch."""

    results: list[Scored]
    """In the order of the values."""
    by_reference: Mapping[str | None, Sequence[int]]
    """The indexes of those that could be read, ascending, by the model that they name."""


_NAMELESS = Failure(
    ResolveError("the event names no model and the configuration has no models.default", Absence.FOR_EVER)
)


class Models(Protocol):
    """Who scores what."""

    def serve(self, reference: str, at: int) -> LoadedModel:
        """The version that scores events which name a model or a version.

        Args:
            reference: what they name.
            at: the time of one of them, ms since 1970: of one period between `boundaries`.

        Raises:
            ResolveError: there is none.
        """

    def boundaries(self, reference: str) -> Sequence[int]:
        """The event times at which another version takes over, ascending."""

    def note(self, reference: str, model: LoadedModel, at: NDArray[np.int64]) -> None:
        """Told that a version scored events of some times that name a model; not where they are offloaded."""


class Waiting(Protocol):
    """Who waits for a model."""

    def ahead(self, reference: str) -> Mapping[bytes | None, ResolveError]:
        """The keys of the events that wait for what they name, and why they wait; None is never there."""

    def may_wait(self, reference: str, error: ResolveError) -> bool:
        """Whether an event that nothing scores is held, where there is room."""


class Line(NamedTuple):
    """Behind whom a batch's events stand in line: those of one key and model keep their order."""

    waiting: Waiting
    key: Callable[[int], bytes | None]
    """The key of an event by its index. An event without one waits behind none, and none behind it."""


class _Prediction(msgspec.Struct, gc=False):
    id: Any
    model: msgspec.Raw
    outputs: object


_decoder = msgspec.json.Decoder(Event)
_decode: Callable[[bytes], Event] = _decoder.decode
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def score_values(
    values: Sequence[bytes], models: Models, times: EventTimes, default_model: str | None = None
) -> list[Scored]:
    """Score the values of a batch before which nobody waits; see `score_in_line`."""
    return score_in_line(values, models, times, default_model).results


def score_in_line(
    values: Sequence[bytes],
    models: Models,
    times: EventTimes,
    default_model: str | None = None,
    line: Line | None = None,
) -> ScoredBatch:
    """Score the values of a batch of events.

    Args:
        values: JSON values of N events.
        models: gives the version for the model that an event names.
        times: the times of the N events.
        default_model: the model of events that name none.
        line: who waits before them; None: nobody, and an event that nothing scores lets others pass.

    Returns:
        N results, and who named which model.
    """
    events = _decode_all(values)
    results: list[Scored | None] = [None] * len(values)
    groups: dict[str | None, list[int]] = {}
    for index, event in enumerate(events):
        if isinstance(event, DecodeError):
            results[index] = Failure(event)
        elif index in times.errors:
            results[index] = Failure(times.errors[index])
        else:
            groups.setdefault(event.model, []).append(index)
    by_reference = _by_reference(groups, default_model)
    for reference, group in by_reference.items():
        if reference is None:
            for index in group:
                results[index] = _NAMELESS
            continue
        for indexes, model in _assign(group, reference, models, times.at, line):
            if isinstance(model, Failure):
                scored: list[Scored] = [model] * len(indexes)
            else:
                members = [events[index] for index in indexes] if len(indexes) < len(events) else events
                scored = _score_group(members, model, reference)
                if model.lane is None:
                    noted = times.at[indexes] if len(indexes) < len(events) else times.at
                    models.note(reference, model, noted)
            for index, result in zip(indexes, scored, strict=True):
                results[index] = result
    # Every index is in one group or failed above.
    return ScoredBatch(results, by_reference)  # type: ignore[arg-type]


def decode_event(value: bytes) -> Event:
    """Read one event's value.

    Raises:
        DecodeError: not JSON, not an object, no ``data``, or a field of a wrong type.
    """
    try:
        event = read_struct(_decoder, value)
    except msgspec.ValidationError as error:
        raise DecodeError(f"not an event: {error}") from error
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from error
    if event.data is msgspec.UNSET:
        raise DecodeError("not an event: object missing required field `data`")
    return event


def score_inputs(scorer: Scorer, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
    """Score inputs with a scorer that is not trusted to keep its promises.

    Args:
        scorer: any scorer.
        inputs: N decoded ``data`` values.

    Returns:
        N outputs or ScoreErrors. A scorer that raises, or that returns another number of results,
        gives an error of every input.
    """
    try:
        results = scorer.score_batch(inputs)
    except Exception as error:  # noqa: BLE001  # the edge to a model's own code
        return [ScoreError(f"the model failed: {type(error).__name__}: {error}")] * len(inputs)
    if len(results) != len(inputs):
        wrong = ScoreError(f"the model gave {len(results)} results for {len(inputs)} inputs")
        return [wrong] * len(inputs)
    return results


def encode_result(event_id: JsonValue, described: msgspec.Raw, outputs: JsonValue) -> bytes:
    """The JSON of a prediction. NaN and infinity, which JSON can't say, become null.

    Raises:
        ScoreError: the outputs hold what JSON can't say.
    """
    try:
        return _encode(_Prediction(event_id, described, outputs))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ScoreError(f"the outputs can't be written as JSON: {error}") from error


def _decode_all(values: Sequence[bytes]) -> Sequence[Event | DecodeError]:
    try:
        events = [_decode(value) for value in values]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_decode_or_error(value) for value in values]
    unset = msgspec.UNSET
    if any(event.data is unset for event in events):
        return [_decode_or_error(value) for value in values]
    return events


def _decode_or_error(value: bytes) -> Event | DecodeError:
    try:
        return decode_event(value)
    except DecodeError as error:
        return error


def _by_reference(
    groups: Mapping[str | None, list[int]], default_model: str | None
) -> Mapping[str | None, list[int]]:
    """Indexes of events by the model that scores them, ascending."""
    nameless = groups.get(None)
    if nameless is None or default_model is None:
        return groups
    named: dict[str | None, list[int]] = {
        name: indexes for name, indexes in groups.items() if name is not None
    }
    return {**named, default_model: sorted([*named.get(default_model, ()), *nameless])}


_Assigned = list[tuple[list[int], LoadedModel | Failure]]
"""Which version scores which events, by their indexes, or why none does."""


def _assign(
    indexes: list[int], reference: str, models: Models, at: NDArray[np.int64], line: Line | None
) -> _Assigned:
    boundaries = models.boundaries(reference)
    if boundaries:
        ordered = np.asarray(indexes)
        periods = np.searchsorted(np.asarray(boundaries), at[ordered], side="right")
        parts = [ordered[periods == period].tolist() for period in np.unique(periods)]
    else:
        parts = [indexes]
    assigned = [(part, _served(models, reference, int(at[part[0]]))) for part in parts]
    return assigned if line is None else _in_line(assigned, reference, line)


def _in_line(assigned: _Assigned, reference: str, line: Line) -> _Assigned:
    """Have those wait that have a version, and stand behind others of their key that wait."""
    waits = [
        isinstance(served, Failure)
        and isinstance(served.error, ResolveError)
        and line.waiting.may_wait(reference, served.error)
        for _, served in assigned
    ]
    ahead = line.waiting.ahead(reference)
    if not (ahead or any(waits)) or all(isinstance(served, Failure) for _, served in assigned):
        return assigned
    before: dict[bytes | None, ModelstreamError] = {**ahead}
    stay: list[list[int]] = [[] for _ in assigned]
    behind: _Assigned = []
    for index, part in sorted(
        (index, part) for part, (indexes, _) in enumerate(assigned) for index in indexes
    ):
        key, served = line.key(index), assigned[part][1]
        if isinstance(served, LoadedModel) and key in before:
            behind.append(([index], Failure(before[key], reference=reference, is_behind=True)))
            continue
        stay[part].append(index)
        if isinstance(served, Failure) and waits[part] and key is not None:
            before.setdefault(key, served.error)
    served_by = (served for _, served in assigned)
    return [(indexes, served) for indexes, served in zip(stay, served_by, strict=True) if indexes] + behind


def _served(models: Models, reference: str, at: int) -> LoadedModel | Failure:
    try:
        return models.serve(reference, at)
    except ResolveError as error:
        return Failure(error, reference=reference)


def _score_group(events: Sequence[Any], model: LoadedModel, reference: str) -> list[Scored]:
    if model.lane is not None:
        return [Offloaded(event.id, event.data, model, reference) for event in events]
    outputs = score_inputs(model.scorer, [event.data for event in events])
    described = model.described
    try:
        # The good path: nothing per event but the encoding itself.
        if not any(isinstance(result, ScoreError) for result in outputs):
            return [
                _encode(_Prediction(event.id, described, result))
                for event, result in zip(events, outputs, strict=True)
            ]
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        pass  # some output can't be written: find out which
    return [_encode_one(event.id, model, result) for event, result in zip(events, outputs, strict=True)]


def _encode_one(event_id: JsonValue, model: LoadedModel, result: JsonValue | ScoreError) -> Scored:
    if isinstance(result, ScoreError):
        return Failure(result, model)
    try:
        return encode_result(event_id, model.described, result)
    except ScoreError as error:
        return Failure(error, model)
