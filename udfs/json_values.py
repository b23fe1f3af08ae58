"""JSON in and out: one reader and one writer for events, outputs and files of events."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import orjson

T = TypeVar("T")

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
"""A decoded JSON value."""


def read_json(text: bytes | bytearray | memoryview) -> JsonValue:
    """Decode JSON (UTF-8), also the NaN, Infinity and -Infinity that Python's json module writes.

    Raises:
        ValueError: the text is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        value: JsonValue = orjson.loads(text)
        return value
    except orjson.JSONDecodeError as strict:
        # orjson keeps to RFC 8259. Only a number that RFC 8259 has no text for deserves a second reader.
        raw = bytes(text)
        if b"NaN" not in raw and b"Infinity" not in raw:
            raise
        try:
            lenient: JsonValue = json.loads(raw)
            # Python's reader takes half a surrogate pair, which no UTF-8 can be written of.
            json.dumps(lenient, ensure_ascii=False).encode()
            return lenient
        except (ValueError, RecursionError):
            raise strict from None


def read_struct(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode JSON as a decoder's type, with the same leave for NaN and infinity as `read_json`.

    Raises:
        msgspec.ValidationError: JSON, but not of that type; the text names the path.
        ValueError: not JSON.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = read_json(text)
    try:
        struct: T = msgspec.convert(value, decoder.type, str_keys=True)
        return struct
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_struct(struct: msgspec.Struct) -> bytes:
    """Encode a struct so that `read_struct` reads the same again, NaN and infinity in it too.

    Raises:
        RecursionError: it is nested too deeply.
    """
    builtins = msgspec.to_builtins(struct)
    return json.dumps(builtins).encode() if has_non_finite(builtins) else msgspec.json.encode(struct)


def has_non_finite(value: JsonValue) -> bool:
    """Whether there is NaN or infinity in a value."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float() as number if not math.isfinite(number):
                return True
            case Mapping() as fields:
                waiting += fields.values()
            case list() | tuple() as items:
                waiting += items
    return False


def write_json(value: JsonValue) -> bytes:
    """Encode a value as compact JSON (UTF-8). NaN and infinity, which JSON can't say, become null.

    Raises:
        ValueError: the value holds something that JSON can't say (an integer beyond 64 bits, say).
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise ValueError(str(error)) from error


def is_nested_deeper(value: JsonValue, most: int) -> bool:
    """Whether a value has arrays and objects within each other more than so many deep."""
    level: list[JsonValue] = [value]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list | tuple)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
        if not level:
            return False
    return True
