"""Scoring a batch of values: plain functions from bytes to predictions and errors.

No Flink, Kafka, catalog, clock or thread: who serves what is handed in as a function.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from udfs.errors import DecodeError, ModelstreamError, ResolveError, ScoreError
from udfs.json_values import JsonValue, read_struct
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

    def __str__(self) -> str:
        return f"{self.served.name}:{self.served.version}"


class Failure(NamedTuple):
    """Why an event has no prediction."""

    error: ModelstreamError
    model: LoadedModel | None = None
    """The version that failed on it."""
    reference: str | None = None
    """The model that the event names, where none serves it; such an event may be held."""


Scored = bytes | Failure
"""What became of one value: the JSON of its prediction, or why there is none."""

Serve = Callable[[str], LoadedModel]
"""The version that scores what an event names; raises ResolveError."""


class _Prediction(msgspec.Struct, gc=False):
    id: Any
    model: msgspec.Raw
    outputs: object


_decoder = msgspec.json.Decoder(Event)
_decode: Callable[[bytes], Event] = _decoder.decode
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def score_values(values: Sequence[bytes], serve: Serve, default_model: str | None = None) -> list[Scored]:
    """Score the values of a batch of events.

    Args:
        values: JSON values of N events.
        serve: gives the version for the model that an event names.
        default_model: the model of events that name none.

    Returns:
        N results in the order of the values.
    """
    events = _decode_all(values)
    results: list[Scored | None] = [None] * len(values)
    groups: dict[str | None, list[int]] = {}
    for index, event in enumerate(events):
        if isinstance(event, DecodeError):
            results[index] = Failure(event)
        else:
            groups.setdefault(event.model, []).append(index)
    for named, indexes in groups.items():
        members = [events[index] for index in indexes] if len(indexes) < len(events) else events
        for index, result in zip(indexes, _score_group(members, named or default_model, serve), strict=True):
            results[index] = result
    return results  # type: ignore[return-value]  # every index is in one group or failed above


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


def _score_group(events: Sequence[Any], reference: str | None, serve: Serve) -> list[Scored]:
    if reference is None:
        nameless = ResolveError("the event names no model and the configuration has no models.default")
        return [Failure(nameless)] * len(events)
    try:
        model = serve(reference)
    except ResolveError as error:
        return [Failure(error, reference=reference)] * len(events)
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
