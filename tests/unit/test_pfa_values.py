"""JSON values become what a PFA engine works with, and back, by Avro's rules."""

import math
from typing import Any

import numpy as np
import pytest

from udfs.scorers._pfa_scalars import MismatchError
from udfs.scorers._pfa_values import compile_decoder, compile_encoder
from udfs.scorers._titus import datatype

FLOWER = {
    "type": "record",
    "name": "Flower",
    "namespace": "org.iris",
    "fields": [{"name": "width", "type": "double"}, {"name": "count", "type": "int"}],
}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
FIXED = {"type": "fixed", "name": "Pair", "size": 2}
TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "value", "type": "int"},
        {"name": "left", "type": ["null", "Tree"]},
        {"name": "right", "type": ["Tree", "null"], "default": {"value": 0, "right": None}},
    ],
}
LEAF = {"value": 0, "left": None, "right": None}


def avro_type(schema: Any) -> Any:
    return datatype.jsonNodeToAvroType(schema)


def decode(schema: Any, value: Any) -> Any:
    return compile_decoder(avro_type(schema))(value)


def encode(schema: Any, value: Any) -> Any:
    return compile_encoder(avro_type(schema))(value)


GOOD: list[tuple[Any, Any, Any]] = [
    ("null", None, None),
    ("boolean", True, True),
    ("int", -(2**31), -(2**31)),
    ("int", 3.0, 3),
    ("long", 2**63 - 1, 2**63 - 1),
    ("float", 1, 1.0),
    ("double", 2.5, 2.5),
    ("double", "Infinity", math.inf),
    ("double", "-Infinity", -math.inf),
    ("string", "ü", "ü"),
    ("bytes", "\x00ÿ", b"\x00\xff"),
    (FIXED, "ab", b"ab"),
    (COLOUR, "red", "red"),
    ({"type": "array", "items": "double"}, [1, 2.5], [1.0, 2.5]),
    ({"type": "map", "values": "int"}, {"a": 1, "": 2}, {"a": 1, "": 2}),
    (FLOWER, {"count": 3, "width": 1, "more": "x"}, {"width": 1.0, "count": 3}),
    (["null", "double"], None, None),
    (["null", "double"], {"double": 1}, {"double": 1.0}),
    (["null", "double"], 1, {"double": 1.0}),
    (["null", "double"], {"null": None}, None),
    (["int", "string"], "7", {"string": "7"}),
    (["null", FLOWER], {"org.iris.Flower": {"width": 1, "count": 2}}, {"Flower": {"width": 1.0, "count": 2}}),
    (["null", FLOWER], {"Flower": {"width": 1, "count": 2}}, {"Flower": {"width": 1.0, "count": 2}}),
    (["null", FLOWER], {"width": 1, "count": 2}, {"Flower": {"width": 1.0, "count": 2}}),
    (["int", {"type": "map", "values": "int"}], {"int": 1}, {"int": 1}),
    (["string", {"type": "map", "values": "int"}], {"a": 1}, {"map": {"a": 1}}),
    (
        TREE,
        {"value": 1, "left": {"Tree": {"value": 2}}, "right": None},
        {
            "value": 1,
            "left": {"Tree": {"value": 2, "left": None, "right": {"Tree": LEAF}}},
            "right": None,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "expected"), GOOD)
def test_a_value_of_a_type_is_decoded(schema: Any, value: Any, expected: Any) -> None:
    decoded = decode(schema, value)
    assert decoded == expected
    assert type(decoded) is type(expected)


def test_nan_is_decoded() -> None:
    assert math.isnan(decode("double", "NaN"))


BAD: list[tuple[Any, Any, str]] = [
    ("null", 0, "expected null, found 0"),
    ("boolean", 1, "expected a boolean, found 1"),
    ("boolean", "true", "expected a boolean, found 'true'"),
    ("int", True, "expected int"),
    ("int", 2**31, "from -2147483648 to 2147483647"),
    ("int", 1.5, "expected int"),
    ("int", "1", "expected int"),
    ("int", math.nan, "expected int"),
    ("int", None, "expected int"),
    ("long", 2**63, "expected long"),
    ("double", True, "expected a number"),
    ("double", "1.5", "expected a number, found '1.5'"),
    ("double", None, "expected a number, found None"),
    ("double", 10**400, "a number that a double can hold"),
    ("string", 1, "expected a string"),
    ("bytes", "€", "expected bytes"),
    ("bytes", [1, 2], "expected bytes"),
    (FIXED, "abc", "expected 2 bytes"),
    (COLOUR, "green", "expected one of blue, red"),
    (COLOUR, ["red"], "expected one of blue, red"),
    ({"type": "array", "items": "double"}, {"0": 1}, "expected an array"),
    ({"type": "array", "items": "double"}, "12", "expected an array"),
    ({"type": "array", "items": "double"}, [1, 2, "x"], "[2]: expected a number"),
    ({"type": "map", "values": "int"}, [1], "expected a map"),
    ({"type": "map", "values": "int"}, {"a": "x"}, ".a: expected int"),
    (FLOWER, {"width": 1}, ".count: the field is missing"),
    (FLOWER, {"width": 1, "count": None}, ".count: expected int"),
    (FLOWER, [1, 2], "expected an object"),
    (["null", "double"], "x", "expected null or double, found 'x'"),
    (["null", "double"], {"int": 1}, "expected null or double"),
    (["null", "double"], {"double": "x"}, "expected a number, found 'x'"),
    (["null", "double"], {}, "expected null or double"),
]


@pytest.mark.parametrize(("schema", "value", "says"), BAD)
def test_a_value_of_another_type_is_refused_with_its_path(schema: Any, value: Any, says: str) -> None:
    with pytest.raises(MismatchError) as caught:
        decode(schema, value)
    assert says in str(caught.value)


def test_a_long_value_is_cut_in_the_text_of_its_error() -> None:
    with pytest.raises(MismatchError) as caught:
        decode("int", "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ("null", None, None),
        ("boolean", np.True_, True),
        ("int", np.int64(3), 3),
        ("int", 3.0, 3),
        ("double", 3, 3.0),
        ("double", np.float32(0.5), 0.5),
        ("double", math.inf, "Infinity"),
        ("double", -math.inf, "-Infinity"),
        ("double", math.nan, "NaN"),
        ("bytes", b"\x00\xff", "\x00ÿ"),
        ("bytes", "text of a cell", "text of a cell"),
        (FIXED, b"ab", "ab"),
        (COLOUR, "blue", "blue"),
        ({"type": "array", "items": "int"}, (1, 2), [1, 2]),
        ({"type": "map", "values": "double"}, {"a": 1}, {"a": 1.0}),
        (FLOWER, {"count": 3, "width": 1}, {"width": 1.0, "count": 3}),
        (["null", "double"], None, None),
        (["null", "double"], {"double": 1}, {"double": 1.0}),
        (["null", "double"], 1.5, {"double": 1.5}),
        ([FLOWER], {"Flower": {"width": 1, "count": 2}}, {"org.iris.Flower": {"width": 1, "count": 2}}),
        (
            TREE,
            {"value": 1, "left": {"Tree": {"value": 2, "left": None, "right": None}}, "right": None},
            {"value": 1, "left": {"Tree": {"value": 2, "left": None, "right": None}}, "right": None},
        ),
    ],
)  # fmt: skip
def test_a_value_of_an_engine_is_encoded(schema: Any, value: Any, expected: Any) -> None:
    encoded = encode(schema, value)
    assert encoded == expected
    assert type(encoded) is type(expected)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("null", 1),
        ("int", "1"),
        ("int", 2**31),
        ("double", True),
        ("double", "1"),
        ("string", 1),
        ("bytes", 1),
        (COLOUR, "green"),
        ({"type": "array", "items": "int"}, ["x"]),
        (FLOWER, {"width": 1.0}),
        (FLOWER, 1),
        (["null", "double"], "x"),
    ],
)
def test_a_value_that_an_engine_should_not_give_is_an_error(schema: Any, value: Any) -> None:
    with pytest.raises(MismatchError):
        encode(schema, value)


def test_fields_come_in_the_order_of_the_type() -> None:
    assert list(encode(FLOWER, {"count": 3, "width": 1})) == ["width", "count"]
