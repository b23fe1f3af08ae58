"""Protobuf messages from JSON values and back.

Back they are as protobuf's JSON mapping has them, by the fields' own names, with two differences that keep
numbers numbers: integers of 64 bits are no strings, and neither are NaN and infinity. Fields that have no
presence are always there, others where they are set.

Source: https://protobuf.dev/programming-guides/json/
"""

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.remotes._grpc_faults import one_line

_MAX_DEPTH = 100
_PROTOBUF = "google.protobuf."
_TEXTS = ("Duration", "FieldMask", "Timestamp")

_Convert = Callable[[Any], JsonValue]


def read_into(message: Message, value: JsonValue, pool: DescriptorPool) -> None:
    """Set the fields of a message that an object has.

    Args:
        message: it may have fields already.
        value: an object, by the names of the fields.
        pool: that the message is of.

    Raises:
        ScoreError: it is no object, has a field that is not known, or a value that does not fit.
    """
    if not isinstance(value, dict):
        raise ScoreError(f"expected an object with the fields of {message.DESCRIPTOR.full_name}")
    try:
        ParseDict(value, message, descriptor_pool=pool, max_recursion_depth=_MAX_DEPTH)
    except ParseError as error:
        raise ScoreError(one_line(str(error))) from error
    except Exception as error:  # the edge to protobuf, which leaves some checks to Python
        raise ScoreError(f"{type(error).__name__}: {one_line(str(error))}") from error


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


class _Field(NamedTuple):
    has_presence: bool
    convert: _Convert


class MessageWriter:
    """Makes JSON values of the messages of one pool.

    Each method raises ValueError, or what else protobuf has, where JSON has no such value: a timestamp out
    of range, say.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self._known: dict[str, dict[str, _Field]] = {}

    def message(self, message: Message) -> JsonValue:
        """The value of a message: an object, but for some of protobuf's well-known types."""
        descriptor = message.DESCRIPTOR
        if descriptor.full_name.startswith(_PROTOBUF):
            return self._well_known(message, descriptor.full_name.removeprefix(_PROTOBUF))
        return self._object(message)

    def field(self, message: Message, name: str) -> JsonValue:
        """The value of a field; None where one with presence is not set."""
        has_presence, convert = self._fields(message.DESCRIPTOR)[name]
        return None if has_presence and not message.HasField(name) else convert(getattr(message, name))

    def element(self, field: FieldDescriptor) -> _Convert:
        """What makes the value of one element of a field."""
        if field.message_type is not None:
            return self.message
        if field.enum_type is not None:
            names = {number: one.name for number, one in field.enum_type.values_by_number.items()}
            return lambda value: names.get(value, value)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return _base64
        return lambda value: value

    def _object(self, message: Message) -> dict[str, JsonValue]:
        return {
            name: convert(getattr(message, name))
            for name, (has_presence, convert) in self._fields(message.DESCRIPTOR).items()
            if not has_presence or message.HasField(name)
        }

    def _fields(self, descriptor: Descriptor) -> dict[str, _Field]:
        known = self._known.get(descriptor.full_name)
        if known is None:
            known = {one.name: _Field(one.has_presence, self._value(one)) for one in descriptor.fields}
            self._known[descriptor.full_name] = known
        return known

    def _value(self, field: FieldDescriptor) -> _Convert:
        if is_map(field):
            one = self.element(field.message_type.fields_by_name["value"])
            return lambda items: {_key(key): one(value) for key, value in items.items()}
        one = self.element(field)
        if field.label == FieldDescriptor.LABEL_REPEATED:
            return lambda values: list(map(one, values))
        return one

    def _well_known(self, message: Message, name: str) -> JsonValue:
        if name in _TEXTS:
            text: str = MessageToDict(message)
            return text
        if name == "Any":
            return self._any(message)
        if name == "Struct":
            return self.field(message, "fields")
        if name == "ListValue":
            return self.field(message, "values")
        if name == "Value":
            kind = message.WhichOneof("kind")
            return None if kind in (None, "null_value") else self.field(message, kind)
        # BoolValue and its like are their value.
        return self.field(message, "value") if name.endswith("Value") else self._object(message)

    def _any(self, message: Message) -> JsonValue:
        try:
            inner = GetMessageClass(self._pool.FindMessageTypeByName(message.TypeName()))
            value = self.message(inner.FromString(message.value))
        except (KeyError, DecodeError):
            value = _base64(message.value)
        return {"@type": message.type_url, **(value if isinstance(value, dict) else {"value": value})}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _key(key: bool | int | str) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
