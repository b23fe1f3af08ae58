"""What a pool and its workers say to each other: frames of a length and a body, over a pair of sockets.

The first body that a worker gets is a request, and what it answers says whether the version is loaded. All
others are batches, and their results.
"""

import json
import struct
from collections.abc import Sequence
from typing import BinaryIO, cast

import msgspec

from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.load_request import LoadRequest

LENGTH = struct.Struct(">I")
MOST_BYTES = 64 << 20
"""Longest body."""


class WorkerRequest(LoadRequest, frozen=True, kw_only=True):
    """What to load, and serve from then on."""

    prepared: str | None = None
    """The file to load in the artifact's place, where its trial made one."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """A version is loaded and passed its checks."""

    notes: tuple[str, ...]
    """What its scorer says of how it scores."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """Why a version can't be served, or what is wrong with a batch as a whole."""

    cause: str


class Scored(msgspec.Struct, frozen=True, array_like=True, tag="scored", gc=False):
    """What a scorer gave for a batch."""

    outputs: list[object]
    """One for each input; null where it has an error."""
    failed: list[int]
    """The indexes of the inputs with an error, and their errors."""
    errors: list[str]


LoadReport = Ready | Refused

_encoder = msgspec.msgpack.Encoder()
_inputs = msgspec.msgpack.Decoder(list[object])
_answers: msgspec.msgpack.Decoder[Scored | Refused] = msgspec.msgpack.Decoder(Scored | Refused)
_load_reports: msgspec.msgpack.Decoder[LoadReport] = msgspec.msgpack.Decoder(LoadReport)
_JSON = b"["
"""How JSON begins here, and no array in MessagePack."""


def frame(body: bytes) -> bytes:
    """A body as it is sent."""
    return LENGTH.pack(len(body)) + body


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next body, None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    return stream.read(length)


def encode_inputs(inputs: Sequence[JsonValue]) -> bytes:
    """A batch as MessagePack, which keeps NaN and infinity; as JSON where a number is too long for it.

    Raises:
        ValueError: it can't be sent.
    """
    return _bounded(_encode(inputs))


def decode_inputs(body: bytes) -> list[JsonValue]:
    """What `encode_inputs` wrote.

    Raises:
        ValueError: it can't be read.
    """
    try:
        inputs = json.loads(body) if body.startswith(_JSON) else _inputs.decode(body)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    return cast(list[JsonValue], inputs)


def encode_results(results: Sequence[JsonValue | ScoreError]) -> bytes:
    """What a scorer gave for a batch; outputs that can't be sent become errors of their inputs.

    Raises:
        ValueError: together they are too long.
    """
    try:
        body = _encode(_split(results))
    except (TypeError, ValueError):
        body = _encode(_split([_sendable(result) for result in results]))
    return _bounded(body)


def decode_results(body: bytes, count: int) -> list[JsonValue | ScoreError]:
    """What a worker answered to so many inputs.

    Raises:
        OffloadError: it refuses the batch as it is.
        ValueError: it is no answer.
    """
    try:
        if body.startswith(_JSON):
            answer = msgspec.convert(json.loads(body), Scored | Refused)
        else:
            answer = _answers.decode(body)
    except RecursionError as error:
        raise OffloadError(f"the outputs are {_TOO_DEEP}", Fault.RECORD) from error
    if isinstance(answer, Refused):
        raise OffloadError(answer.cause, Fault.RECORD)
    results = cast(list[JsonValue | ScoreError], answer.outputs)
    if len(results) != count or len(answer.failed) != len(answer.errors):
        raise ValueError(f"{len(results)} results for {count} inputs")
    for index, text in zip(answer.failed, answer.errors, strict=True):
        if not 0 <= index < count:
            raise ValueError(f"an error of input {index} of {count}")
        results[index] = ScoreError(text)
    return results


def encode_report(report: LoadReport | Refused) -> bytes:
    """What became of a load, or why a batch was not scored."""
    return _encoder.encode(report)


def decode_load_report(body: bytes) -> LoadReport:
    """What a worker says of its load.

    Raises:
        ValueError: it is no report.
    """
    return _load_reports.decode(body)


_TOO_DEEP = "nested too deeply to be passed between processes"


def _split(results: Sequence[JsonValue | ScoreError]) -> Scored:
    errors = {index: str(result) for index, result in enumerate(results) if isinstance(result, ScoreError)}
    if not errors:
        return Scored(list(results), [], [])
    outputs = [None if isinstance(result, ScoreError) else result for result in results]
    return Scored(list(outputs), list(errors), list(errors.values()))


def _sendable(result: JsonValue | ScoreError) -> JsonValue | ScoreError:
    if isinstance(result, ScoreError):
        return result
    try:
        _encode(Scored([result], [], []))
    except (TypeError, ValueError) as error:
        return ScoreError(f"the outputs can't be written as JSON: {error}")
    return result


def _encode(value: object) -> bytes:
    try:
        try:
            return _encoder.encode(value)
        except (OverflowError, UnicodeEncodeError):  # an integer of more than 64 bits, half a surrogate pair
            return json.dumps(msgspec.to_builtins(value)).encode()
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def _bounded(body: bytes) -> bytes:
    if len(body) > MOST_BYTES:
        raise ValueError(f"{len(body)} bytes are more than a worker passes at once ({MOST_BYTES})")
    return body
