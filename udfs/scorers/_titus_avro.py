"""What titus calls ``avro.schema``: the API of avro-python3, which it was written for, over PyFlink's avro.

Every Avro type of a PFA document passes here, and titus writes the text of types into the Python that it
generates. So a type keeps only what makes it that type (no doc, no alias, no property of anyone's own), its
names are identifiers, and its text has no defaults.

Source: https://avro.apache.org/docs/1.12.0/specification/
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import avro.name
import avro.schema
from avro.errors import AvroException, SchemaParseException
from avro.schema import PrimitiveSchema

__all__ = [
    "ArraySchema",
    "AvroException",
    "EnumSchema",
    "Field",
    "FixedSchema",
    "MapSchema",
    "Names",
    "Parse",
    "PrimitiveSchema",
    "RecordSchema",
    "SchemaFromJSONData",
    "SchemaParseException",
    "UnionSchema",
]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FULL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_SORT_ORDERS: Final = ("ascending", "descending", "ignore")


class Names(avro.name.Names):
    """The named types of a document. A name is asked for before it is known to be one, so none is refused."""

    def __init__(self, default_namespace: str | None = None, names: Mapping[str, Any] | None = None) -> None:
        super().__init__(default_namespace, validate_names=False)
        self.names = dict(names or {})

    def has_name(self, name_attr: str, space_attr: str | None = None) -> bool:
        """Whether a type of that name is known. titus asks at every node of a tree, so it should be quick."""
        if space_attr is None and self.default_namespace is None:
            return name_attr in self.names
        return bool(super().has_name(name_attr, space_attr))


class Field(avro.schema.Field):
    """A record's field, whose text leaves its default out."""

    def __init__(
        self,
        type: Any,
        name: str,
        index: int | None = None,
        has_default: bool = False,
        default: Any = None,
        order: str | None = None,
        names: Names | None = None,
    ) -> None:
        del index
        super().__init__("null", name, has_default, default, order, names or Names())
        self.type = type
        self.set_prop("type", type)

    def to_json(self, names: Names | None = None) -> dict[str, Any]:
        """The field's structure, without its default."""
        return {
            key: value
            for key, value in super().to_json(names).items()  # type: ignore[no-untyped-call]
            if key != "default"
        }


def Parse(text: str) -> Any:  # noqa: N802 - the name that titus calls
    """Read a type from its JSON text."""
    return SchemaFromJSONData(json.loads(text), Names())


def SchemaFromJSONData(data: Any, names: Names | None = None) -> Any:  # noqa: N802 - the name that titus calls
    """Read a type from decoded JSON.

    Args:
        data: the type; what a type does not need is left out.
        names: the named types known so far; those found here are added.

    Raises:
        SchemaParseException: it is no type, or a name of it is no identifier.
    """
    structure = _structure(data)
    names = Names() if names is None else names
    if isinstance(structure, str) and names.has_name(structure):
        return names.get_name(structure)
    try:
        schema = avro.schema.make_avsc_object(structure, names, validate_names=False)
    except SchemaParseException:
        raise
    except (AvroException, ValueError, TypeError, AttributeError) as error:
        raise SchemaParseException(f"not an Avro type: {error}") from error
    _make_it_as_titus_knows_it(schema, set())
    return schema


def FixedSchema(name: str, namespace: str | None, size: int, names: Names) -> Any:  # noqa: N802
    """A type of `size` bytes."""
    return SchemaFromJSONData({"type": "fixed", "name": name, "namespace": namespace, "size": size}, names)


def EnumSchema(name: str, namespace: str | None, symbols: Sequence[str], names: Names) -> Any:  # noqa: N802
    """A type of named symbols."""
    data = {"type": "enum", "name": name, "namespace": namespace, "symbols": list(symbols)}
    return SchemaFromJSONData(data, names)


def ArraySchema(items: Any) -> Any:  # noqa: N802
    """An array of a type."""
    schema = avro.schema.ArraySchema("null", Names())
    schema.set_prop("items", items)
    return schema


def MapSchema(values: Any) -> Any:  # noqa: N802
    """A map of a type."""
    schema = avro.schema.MapSchema("null", Names())
    schema.set_prop("values", values)
    return schema


def UnionSchema(schemas: Sequence[Any]) -> Any:  # noqa: N802
    """A union of types."""
    schema = avro.schema.UnionSchema([], Names())
    schema._schemas = list(schemas)
    return schema


def RecordSchema(  # noqa: N802
    name: str,
    namespace: str | None,
    fields: Sequence[Field],
    make_fields: None,
    names: Names,
    record_type: str,
) -> Any:
    """A record of fields."""
    del make_fields
    schema = SchemaFromJSONData(
        {"type": record_type, "name": name, "namespace": namespace, "fields": []}, names
    )
    schema.set_prop("fields", list(fields))
    return schema


def _structure(data: Any) -> Any:
    match data:
        case str():
            return _checked(_FULL_NAME, data, "type name")
        case list() | tuple():
            branches = [_structure(item) for item in data]
            if len({_branch_name(branch) for branch in branches}) < len(branches):
                raise AvroException(f"a union has a type twice: {json.dumps(data)[:100]}")
            return branches
        case {"type": "array", "items": items}:
            return {"type": "array", "items": _structure(items)}
        case {"type": "map", "values": values}:
            return {"type": "map", "values": _structure(values)}
        case {"type": "fixed", "size": int(size)}:
            return {**_named(data), "size": size}
        case {"type": "enum", "symbols": list() | tuple() as symbols}:
            return {**_named(data), "symbols": [_checked(_NAME, symbol, "symbol") for symbol in symbols]}
        case {"type": "record", "fields": list() | tuple() as fields}:
            return {**_named(data), "fields": [_field(field) for field in fields]}
        case {"type": "array" | "map" | "fixed" | "enum" | "record" as kind}:
            raise SchemaParseException(f"not a whole type of the kind {kind!r}")
        case {"type": inner}:
            return _structure(inner)
        case _:
            raise SchemaParseException(f"not an Avro type: {str(data)[:60]!r}")


def _branch_name(branch: Any) -> str:
    match branch:
        case str(name) | {"name": str(name)} | {"type": str(name)}:
            return name
        case _:
            raise AvroException("a union can't be in a union")


def _named(data: Mapping[str, Any]) -> dict[str, Any]:
    named = {"type": data["type"], "name": _checked(_FULL_NAME, data.get("name"), "type name")}
    if namespace := data.get("namespace"):
        named["namespace"] = _checked(_FULL_NAME, namespace, "namespace")
    return named


def _field(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or "type" not in data:
        raise SchemaParseException(f"not a field of a record: {str(data)[:60]!r}")
    field = {"name": _checked(_NAME, data.get("name"), "field name"), "type": _structure(data["type"])}
    if "default" in data:
        field["default"] = data["default"]
    if (order := data.get("order")) is not None:
        if order not in _SORT_ORDERS:
            raise SchemaParseException(f"not a sort order: {str(order)[:60]!r}")
        field["order"] = order
    return field


def _checked(pattern: re.Pattern[str], name: Any, what: str) -> str:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise SchemaParseException(f"not a {what}: {str(name)[:60]!r}")
    return name


def _make_it_as_titus_knows_it(schema: Any, seen: set[int]) -> None:
    if id(schema) in seen:
        return
    seen.add(id(schema))
    parts: list[Any] = []
    match schema.type:
        case "array":
            parts = [schema.items]
        case "map":
            parts = [schema.values]
        case "union":
            parts = schema.schemas
        case "enum":
            schema.set_prop("symbols", tuple(schema.symbols))
        case "record":
            for field in schema.fields:
                # avro makes its own Field objects, with no way to ask for another class.
                field.__class__ = Field
            parts = [field.type for field in schema.fields]
    for part in parts:
        _make_it_as_titus_knows_it(part, seen)
