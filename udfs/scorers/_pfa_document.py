"""A PFA document, read and validated before titus sees it.

titus generates Python from a document. Whatever could be a name in that code must be an identifier, wherever
it stands in the document; free text (a doc, a locator, a log's namespace, a literal) only ever becomes a
literal of it. Nothing in a document makes its loading read another file or address.

Source: http://dmg.org/pfa/docs/document_structure/, https://avro.apache.org/docs/1.12.0/specification/
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from udfs.errors import ModelLoadError
from udfs.json_values import read_json

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DOTTED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_LOCATOR: Final = "@"
_MAX_DEPTH: Final = 300
# YAML's aliases may name a part many times over; a document without any has fewer values than bytes.
_MAX_VALUES_PER_BYTE: Final = 4
# YAML is read slowly: a large broken JSON file should not be read as YAML that happens to begin like JSON.
_MAX_FLOW_YAML_BYTES: Final = 1_000_000


class _YamlLoader(yaml.SafeLoader):
    """YAML's safe types that JSON has too: numbers as JSON writes them, and no dates."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]+\Z"), list("-0123456789")
)


def read_document(data: bytes) -> dict[str, Any]:
    """Read a PFA document.

    Args:
        data: JSON or YAML, UTF-8.

    Returns:
        The document as decoded JSON.

    Raises:
        ModelLoadError: it is neither, no PFA document, or not safe to make an engine of; the text has the
            path in the document.
    """
    if not data.strip():
        raise ModelLoadError("the file is empty")
    document = _decode(data)
    if not isinstance(document, dict) or not {"input", "output", "action"} <= document.keys():
        raise ModelLoadError("not a PFA document: an object with input, output and action")
    _check_values(document, max_values=_MAX_VALUES_PER_BYTE * len(data))
    _check_top(document)
    for part in document:
        # What a cell holds is data; it is not code, and may look as it likes.
        if part not in ("cells", "pools", "metadata", "options", "zero", "doc"):
            _check_types(document[part], part)
    for part in ("cells", "pools"):
        for name, cell in _members(document, part):
            _check_types(cell.get("type"), f"{part}.{name}.type")
    return document


def _decode(data: bytes) -> Any:
    try:
        return read_json(data)
    except ValueError as error:
        json_error = error
    looks_like_json = data.lstrip()[:1] in (b"{", b"[")
    if looks_like_json and len(data) > _MAX_FLOW_YAML_BYTES:
        raise ModelLoadError(f"not JSON: {_one_line(json_error)}")
    try:
        document = yaml.load(data.decode("utf-8"), _YamlLoader)
    except RecursionError:
        raise ModelLoadError(f"the document is nested more than {_MAX_DEPTH} levels deep") from None
    except (ValueError, yaml.YAMLError, AttributeError) as error:
        if looks_like_json:
            raise ModelLoadError(f"not JSON: {_one_line(json_error)}") from error
        raise ModelLoadError(f"neither JSON nor YAML: {_one_line(error)}") from error
    return document


def _check_values(document: Any, max_values: int) -> None:
    """That it holds JSON's values alone, is not too deep for recursion, and no larger than its text."""
    count = 0
    stack = [(document, "", 0)]
    while stack:
        value, path, depth = stack.pop()
        count += 1
        if depth > _MAX_DEPTH:
            raise ModelLoadError(f"{path[:100]}...: nested more than {_MAX_DEPTH} levels deep")
        if count > max_values:
            raise ModelLoadError("the document's aliases make it much larger than its text")
        match value:
            case dict():
                for key, item in value.items():
                    if not isinstance(key, str):
                        raise ModelLoadError(f"{path or 'the document'}: a key is {key!r}, not a string")
                    stack.append((item, f"{path}.{key}" if path else key, depth + 1))
            case list():
                stack.extend((item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
            case float() if not math.isfinite(value):
                raise ModelLoadError(f"{path}: {value} is no JSON number")
            case None | bool() | int() | float() | str():
                pass
            case _:
                raise ModelLoadError(f"{path}: {type(value).__name__} is no type of JSON")


def _check_top(document: dict[str, Any]) -> None:
    if "name" in document:
        _check_name(document["name"], "name", _IDENTIFIER)
    for part, pattern in (("fcns", _DOTTED), ("cells", _IDENTIFIER), ("pools", _IDENTIFIER)):
        for name, member in _members(document, part):
            _check_name(name, part, pattern)
            if part != "fcns" and member.get("source", "embedded") != "embedded":
                raise ModelLoadError(f"{part}.{name}.source: only values in the document itself are read")


def _members(document: dict[str, Any], part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    members = document.get(part, {})
    if not isinstance(members, dict):
        raise ModelLoadError(f"{part}: expected an object")
    for name, member in members.items():
        if name == _LOCATOR:
            continue
        if not isinstance(member, dict):
            raise ModelLoadError(f"{part}.{name[:60]}: expected an object")
        yield name, member


def _check_types(value: Any, path: str) -> None:
    """Check whatever looks like an Avro type, in any place: where types stand is titus's to know."""
    match value:
        case list():
            for i, item in enumerate(value):
                _check_types(item, f"{path}[{i}]")
        case dict():
            if value.get("type") in ("record", "enum", "fixed"):
                _check_named_type(value, path)
            for key, item in value.items():
                _check_types(item, f"{path}.{key}")


def _check_named_type(value: dict[str, Any], path: str) -> None:
    if "name" in value:
        _check_name(value["name"], f"{path}.name", _DOTTED)
    if value.get("namespace"):
        _check_name(value["namespace"], f"{path}.namespace", _DOTTED)
    symbols = value.get("symbols", ())
    for i, symbol in enumerate(symbols if isinstance(symbols, list) else ()):
        _check_name(symbol, f"{path}.symbols[{i}]", _IDENTIFIER)
    fields = value.get("fields", ())
    for i, field in enumerate(fields if isinstance(fields, list) else ()):
        if isinstance(field, dict) and "name" in field:
            _check_name(field["name"], f"{path}.fields[{i}].name", _IDENTIFIER)


def _check_name(name: Any, path: str, pattern: re.Pattern[str]) -> None:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ModelLoadError(f"{path}: {str(name)[:60]!r} is not an identifier")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
