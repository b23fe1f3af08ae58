"""Avro's scalars, from JSON to what a PFA engine works with and back; a value of another type is refused.

Source: https://avro.apache.org/docs/1.12.0/specification/#json-encoding
"""

import math
import reprlib
from collections.abc import Callable
from typing import Any, Final

from udfs.scorers._titus import datatype

Convert = Callable[[Any], Any]

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MismatchError(Exception):
    """A value is not of its type. The text begins with the path of the value, where that is known."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, step: str) -> "MismatchError":
        """The same, seen from one level above."""
        return MismatchError(self.message, step + self.path)


def mismatch(expected: str, value: Any) -> MismatchError:
    """The error of a value; the text shows no more than the beginning of it."""
    return MismatchError(f"expected {expected}, found {reprlib.repr(value)}")


def null(value: Any) -> None:
    """Null, either way."""
    if value is not None:
        raise mismatch("null", value)


def boolean(value: Any) -> bool:
    """A boolean, either way."""
    if value is True or value is False:
        return bool(value)
    if isinstance(value, datatype.booleanTypes):
        return bool(value)
    raise mismatch("a boolean", value)


def integer(name: str, lowest: int, highest: int) -> Convert:
    """Whole numbers of a range, either way; 3.0 is one."""

    def convert(value: Any) -> int:
        if type(value) is not int:
            if isinstance(value, bool) or not (
                isinstance(value, datatype.integerTypes) or (isinstance(value, float) and value.is_integer())
            ):
                raise mismatch(f"{name}, a whole number", value)
            value = int(value)
        if lowest <= value <= highest:
            return int(value)
        raise mismatch(f"{name}, a whole number from {lowest} to {highest}", value)

    return convert


def decode_double(value: Any) -> float:
    """A float or double from JSON."""
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise mismatch("a number that a double can hold", value) from None
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise mismatch("a number", value)


def encode_double(value: Any) -> float | str:
    """A float or double to JSON; what is not finite becomes Avro's word for it."""
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, (int, float, *datatype.floatTypes)):
            raise mismatch("a number", value)
        value = float(value)  # type: ignore[arg-type]
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def string(value: Any) -> str:
    """A string, either way."""
    if isinstance(value, str):
        return value
    raise mismatch("a string", value)


def decode_bytes(value: Any) -> bytes:
    """Bytes from JSON: a code point for each."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            pass
    raise mismatch("bytes, a string of the code points 0 to 255", value)


def encode_bytes(value: Any) -> str:
    """Bytes to JSON: a code point for each."""
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1")
    if isinstance(value, str):  # titus leaves the bytes of cells as the document's text
        return value
    raise mismatch("bytes", value)


def sized(convert_bytes: Convert, size: int) -> Convert:
    """Bytes of a fixed number."""

    def convert(value: Any) -> Any:
        data = convert_bytes(value)
        if len(data) != size:
            raise mismatch(f"{size} bytes", value)
        return data

    return convert


def symbol(avro_type: Any) -> Convert:
    """A symbol of an enum, either way."""

    symbols = frozenset(avro_type.symbols)

    def convert(value: Any) -> str:
        if isinstance(value, str) and value in symbols:
            return value
        raise mismatch(f"one of {', '.join(sorted(symbols))[:100]}", value)

    return convert
