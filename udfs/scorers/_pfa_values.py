"""JSON values to and from the values that a PFA engine works with, by Avro type.

A type is compiled once into a function; an event costs no look at its type. Avro's JSON encoding holds:
bytes are strings of the code points 0 to 255, and a value of a union is an object of its branch's name
(``{"double": 2.5}``), or null. NaN and infinity are the strings "NaN", "Infinity" and "-Infinity".

Source: https://avro.apache.org/docs/1.12.0/specification/#json-encoding
"""

from collections.abc import Iterable
from typing import Any, Final

from udfs.scorers._pfa_scalars import (
    Convert,
    MismatchError,
    boolean,
    decode_bytes,
    decode_double,
    encode_bytes,
    encode_double,
    integer,
    mismatch,
    null,
    sized,
    string,
    symbol,
)
from udfs.scorers._titus import datatype


def compile_decoder(avro_type: Any) -> Convert:
    """A function from a decoded JSON value to what an engine takes; it raises MismatchError.

    A field that is not there has its default, or is null if null is its type or the first of its union.
    Fields that the type does not have are passed over. A union's branch need not be named: the first fits.
    """
    return _Decoders(decode_double, decode_bytes).of(avro_type)


def compile_encoder(avro_type: Any) -> Convert:
    """A function from what an engine gave to a JSON value; it raises MismatchError."""
    return _Encoders(encode_double, encode_bytes).of(avro_type)


class _Compiler:
    """Functions by type; a record has one, so that it may be part of itself."""

    def __init__(self, convert_double: Convert, convert_bytes: Convert) -> None:
        self._double = convert_double
        self._bytes = convert_bytes
        self._records: dict[str, Convert] = {}

    def of(self, avro_type: Any) -> Convert:
        match type(avro_type):
            case datatype.AvroNull:
                return null
            case datatype.AvroBoolean:
                return boolean
            case datatype.AvroInt:
                return integer("int", -(2**31), 2**31 - 1)
            case datatype.AvroLong:
                return integer("long", -(2**63), 2**63 - 1)
            case datatype.AvroFloat | datatype.AvroDouble:
                return self._double
            case datatype.AvroString:
                return string
            case datatype.AvroBytes:
                return self._bytes
            case datatype.AvroFixed:
                return sized(self._bytes, avro_type.size)
            case datatype.AvroEnum:
                return symbol(avro_type)
            case datatype.AvroArray:
                return _array(self.of(avro_type.items))
            case datatype.AvroMap:
                return _map(self.of(avro_type.values))
            case datatype.AvroRecord:
                return self._record_once(avro_type)
            case datatype.AvroUnion:
                return self._union(avro_type)
            case other:
                raise TypeError(other)

    def _record_once(self, avro_type: Any) -> Convert:
        name = avro_type.fullName
        if name not in self._records:
            made: list[Convert] = []
            self._records[name] = lambda value: made[0](value)
            made.append(self._record(avro_type))
            self._records[name] = made[0]
        return self._records[name]

    def _record(self, avro_type: Any) -> Convert:
        raise NotImplementedError

    def _union(self, avro_type: Any) -> Convert:
        raise NotImplementedError


class _Decoders(_Compiler):
    def _record(self, avro_type: Any) -> Convert:
        fields = [(field.name, self.of(field.avroType), _default(field)) for field in avro_type.fields]

        def convert(value: Any) -> Any:
            if type(value) is not dict:
                raise mismatch("an object", value)
            out = {}
            for name, convert_field, default in fields:
                try:
                    item = value.get(name, default)
                    if item is _REQUIRED:
                        raise MismatchError("the field is missing")
                    out[name] = convert_field(item)
                except MismatchError as error:
                    raise error.under(f".{name}") from None
            return out

        return convert

    def _union(self, avro_type: Any) -> Convert:
        branches = [(branch.name, self.of(branch)) for branch in avro_type.types]
        tags = {tag: (branch.name, self.of(branch)) for branch in avro_type.types for tag in _tags(branch)}
        has_null = "null" in tags
        expected = " or ".join(name for name, _ in branches)

        def convert(value: Any) -> Any:
            if value is None and has_null:
                return None
            if type(value) is dict and len(value) == 1:
                (tag, item), *_ = value.items()
                if tag in tags:
                    name, convert_branch = tags[tag]
                    return None if name == "null" else {name: convert_branch(item)}
            for name, convert_branch in branches:
                try:
                    return {name: convert_branch(value)}
                except MismatchError:
                    continue
            raise mismatch(expected, value)

        return convert


class _Encoders(_Compiler):
    def _record(self, avro_type: Any) -> Convert:
        fields = [(field.name, self.of(field.avroType)) for field in avro_type.fields]

        def convert(value: Any) -> Any:
            if not isinstance(value, dict):
                raise mismatch("a record", value)
            try:
                return {name: convert_field(value[name]) for name, convert_field in fields}
            except KeyError as error:
                raise MismatchError("the field is missing", f".{error.args[0]}") from None

        return convert

    def _union(self, avro_type: Any) -> Convert:
        tags = {branch.name: (list(_tags(branch))[-1], self.of(branch)) for branch in avro_type.types}
        expected = " or ".join(tags)

        def convert(value: Any) -> Any:
            if value is None and "null" in tags:
                return None
            if isinstance(value, dict) and len(value) == 1:
                (name, item), *_ = value.items()
                if name in tags:
                    tag, convert_branch = tags[name]
                    return {tag: convert_branch(item)}
            for tag, convert_branch in tags.values():
                try:
                    return {tag: convert_branch(value)}
                except MismatchError:
                    continue
            raise mismatch(expected, value)

        return convert


class _Required:
    """What a field without a default has instead of one."""


_REQUIRED: Final = _Required()


def _default(field: Any) -> Any:
    if field.schema.has_default:
        return _first_branch(field)
    avro_type = field.avroType
    if isinstance(avro_type, datatype.AvroUnion):
        avro_type = avro_type.types[0]
    return None if isinstance(avro_type, datatype.AvroNull) else _REQUIRED


def _first_branch(field: Any) -> Any:
    """A field's default; that of a union is a value of its first branch."""
    default, avro_type = field.schema.default, field.avroType
    if default is None or not isinstance(avro_type, datatype.AvroUnion):
        return default
    return {avro_type.types[0].name: default}


def _tags(branch: Any) -> Iterable[str]:
    """The names that a branch of a union goes by; the last is the one that is written."""
    return (branch.name, branch.fullName) if isinstance(branch, datatype.AvroCompiled) else (branch.name,)


def _array(convert_item: Convert) -> Convert:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise mismatch("an array", value)
        try:
            return [convert_item(item) for item in value]
        except MismatchError:
            return [_at(f"[{i}]", convert_item, item) for i, item in enumerate(value)]

    return convert


def _map(convert_item: Convert) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise mismatch("a map, an object", value)
        return {key: _at(f".{key}", convert_item, item) for key, item in value.items()}

    return convert


def _at(step: str, convert_item: Convert, item: Any) -> Any:
    try:
        return convert_item(item)
    except MismatchError as error:
        raise error.under(step) from None
