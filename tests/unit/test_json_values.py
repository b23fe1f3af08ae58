"""JSON as it is read and written: RFC 8259, and the NaN and infinity that Python's json module writes."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.json_values import JsonValue, read_json, read_struct, write_json

FINITE = st.floats(allow_nan=False, allow_infinity=False)
WRITABLE = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"))
)


def values_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(st.characters(codec="utf-8"))
    return st.recursive(leaves, lambda below: st.lists(below) | st.dictionaries(keys, below), max_leaves=20)


any_value = settings(deadline=None, derandomize=True)


@any_value
@given(values_of(WRITABLE | FINITE))
def test_what_was_written_is_read_as_it_was(value: JsonValue) -> None:
    assert repr(read_json(write_json(value))) == repr(value)


@any_value
@given(values_of(WRITABLE | st.floats(width=32)), st.booleans())
def test_what_pythons_json_module_writes_is_read(value: JsonValue, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()

    assert repr(read_json(text)) == repr(value)


PIECES = [*'[]{},:"01-', '"a"', ".5", "e9", "null", "true", "NaN", "Infinity", r"\ud83d", r"\ude00", "é"]


@any_value
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_text_is_read_as_pythons_json_module_reads_it_or_is_a_value_error(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    try:
        value = read_json(text)
    except ValueError:
        return
    assert repr(value) == repr(json.loads(text))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("text", [b"[1]", b"[Infinity]"])
def test_text_of_any_buffer_is_read(kind: Any, text: bytes) -> None:
    assert read_json(kind(text)) == json.loads(text)


def test_the_words_nan_and_infinity_are_text_within_quotes() -> None:
    assert repr(read_json(b'["NaN", {"Infinity": NaN}]')) == "['NaN', {'Infinity': nan}]"


NO_JSON = {
    "nothing": b"",
    "white space": b" \n",
    "a word": b"nul",
    "an end too soon": b'{"a": [1',
    "an end too soon behind NaN": b'{"a": [NaN',
    "more behind the end": b"1 2",
    "more behind NaN": b"NaN NaN",
    "a comma too many": b"[NaN,]",
    "nan in small letters": b"[nan]",
    "NaN with a sign": b"[-NaN]",
    "a number beyond every float": b"1e400",
    "single quotes": b"{'a': 1}",
    "half a surrogate pair": rb'"\ud800"',
    "half a surrogate pair beside NaN": rb'["\ud800", NaN]',
    "half a surrogate pair as a name beside NaN": rb'{"\udfff": NaN}',
    "not UTF-8": b'"\xff"',
    "not UTF-8 beside NaN": b'["\xff", NaN]',
    "UTF-16": '["NaN"]'.encode("utf-16"),
    "an integer of too many digits beside NaN": b"[NaN, " + b"1" * 5000 + b"]",
    "nested too deeply": b"[" * 100_000 + b"]" * 100_000,
    "NaN nested too deeply": b"[" * 100_000 + b"NaN" + b"]" * 100_000,
}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=list(NO_JSON))
def test_what_is_not_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        read_json(text)


class Reading(msgspec.Struct, forbid_unknown_fields=True):
    value: object
    count: int = 0


READINGS = msgspec.json.Decoder(Reading)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", '[1.5, Infinity, "NaN"]', '{"a": NaN}', "null"])
def test_a_struct_may_hold_nan_and_infinity(value: str) -> None:
    read = read_struct(READINGS, f'{{"value": {value}, "count": 2}}'.encode())

    assert (repr(read.value), read.count) == (repr(json.loads(value)), 2)


@pytest.mark.parametrize("value", ["1", "NaN"])
@pytest.mark.parametrize(
    ("rest", "path"),
    [(', "count": "2"', "`$.count`"), (', "count": NaN', "`$.count`"), (', "more": 1', "field `more`")],
)
def test_json_of_another_type_is_told_by_its_path(value: str, rest: str, path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        read_struct(READINGS, f'{{"value": {value}{rest}}}'.encode())

    assert path in str(error.value)


@pytest.mark.parametrize("text", [b"[]", b"1", b"NaN", b'"value"', b"null", b'{"count": 1}'])
def test_json_that_is_no_such_struct_is_a_validation_error(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        read_struct(READINGS, text)


@pytest.mark.parametrize("text", NO_JSON.values(), ids=list(NO_JSON))
def test_a_struct_with_what_is_not_json_is_an_error_that_readers_expect(text: bytes) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        read_struct(READINGS, b'{"value": ' + text + b"}")


@pytest.mark.parametrize("text", [b"", b"{", b'{"value": 1', b'{"value": NaN', b'{"value": "\xff"}'])
def test_a_struct_of_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="line 1 column"):
        read_struct(READINGS, text)


class Nested(msgspec.Struct):
    below: "Nested | None" = None


def test_a_struct_nested_too_deeply_is_a_value_error() -> None:
    text = b'{"below":' * 1010 + b"null" + b"}" * 1010

    with pytest.raises(ValueError, match="nested too deeply"):
        read_struct(msgspec.json.Decoder(Nested), text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_written_as_null(number: float) -> None:
    assert write_json({"a": [number, 1.5]}) == b'{"a":[null,1.5]}'


def test_what_is_written_is_compact_utf_8_in_the_order_of_its_fields() -> None:
    assert write_json({"b": ["é", (True, None)], "a": {}}) == '{"b":["é",[true,null]],"a":{}}'.encode()


def nested(depth: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**64, "64-bit"),
        (-(2**63) - 1, "64-bit"),
        ("\ud800", "surrogates"),
        ({"\ud800": 1}, "surrogates"),
        ({1: 2}, "key must be str"),
        (b"bytes", "bytes"),
        ({1}, "set"),
        (object(), "object"),
        (1j, "complex"),
        (nested(2000), "Recursion"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"a": [v]}], ids=["alone", "within"])
def test_what_json_can_not_say_is_a_value_error_that_tells_why(value: Any, said: str, wrap: Any) -> None:
    with pytest.raises(ValueError, match=said):
        write_json(wrap(value))
