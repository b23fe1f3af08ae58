"""What of a PMML file is read before PMML4S reads it: its encoding, its dangers and its data fields.

PMML4S always reads UTF-8 and follows external entities. So the text is decoded here, and the very text that
was found to have no document type declaration is what PMML4S is given.

Source: https://dmg.org/pmml/v4-4-1/DataDictionary.html, https://dmg.org/pmml/v4-4-1/MiningSchema.html
"""

import codecs
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn
from xml.parsers import expat

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue

Scalar = bool | int | float | str

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARATION: Final = re.compile(r"\s*<\?xml\s[^>]*?(?:encoding\s*=\s*[\"']([^\"']*)[\"'][^>]*)?\?>")
_LONGEST_DECLARATION: Final = 200
# Python knows them, XML doesn't, and some take forever over a long text.
_NO_ENCODINGS: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})

_INTEGERS: Final = frozenset({int})
_NUMBERS: Final = frozenset({int, float})
_SCALARS: Final = frozenset({str, int, float, bool})
_CHOOSING_METHODS: Final = ("selectFirst", "selectAll", "modelChain")
_PLAIN_TYPES: Final = {"integer": _INTEGERS, "float": _NUMBERS, "double": _NUMBERS}


class DataField(NamedTuple):
    """A field of the model's data dictionary."""

    name: str
    data_type: str
    missing: frozenset[str] = frozenset()
    """Texts that stand for a missing value."""
    invalid_is_missing: bool = False

    def takes(self, column: Collection[Any]) -> bool:
        """Whether values, none of them missing, are all of the data type as they are."""
        if not set(map(type, column)) <= _PLAIN_TYPES.get(self.data_type, _SCALARS):
            return False
        return self.data_type != "integer" or (_is_long(min(column)) and _is_long(max(column)))

    def read(self, value: JsonValue) -> Scalar | None:
        """One value as the data type has it; None where it is missing.

        Raises:
            ScoreError: the data type has no such value.
        """
        if value is None or value != value:
            return None
        if isinstance(value, str) and value in self.missing:
            return None
        scalar = self._read_scalar(value)
        if scalar is None and not self.invalid_is_missing:
            raise ScoreError(f"field {self.name!r} takes {self.data_type} values, got {_describe(value)}")
        return None if scalar != scalar else scalar

    def _read_scalar(self, value: JsonValue) -> Scalar | None:
        if not isinstance(value, Scalar):
            return None
        if self.data_type not in _PLAIN_TYPES:
            return None if isinstance(value, float) and math.isinf(value) else value
        number = None if isinstance(value, bool) else _number(value)
        if number is None or number != number or _is_long(number):
            return number
        # PMML4S would wrap an integer beyond 64 bits; a double holds it.
        return None if self.data_type == "integer" else float(number)


class Document(NamedTuple):
    """A PMML file that is safe to read."""

    text: str
    fields: Mapping[str, DataField]
    gathers_groups: bool
    """Whether an output depends on the events before: those of the same transaction, in association rules."""
    output_names: Sequence[str]
    """The output fields of the model and of the models in it, as they are written."""
    outputs_vary: bool
    """Whether the model's segments each have their own output fields."""


def read_document(data: bytes) -> Document:
    """Decode and check a PMML file.

    Raises:
        ModelLoadError: it is no XML, no PMML, or has a document type declaration.
    """
    text = _decode(data)
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reader.start_element
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise ModelLoadError(f"it is no XML: {error}") from error
    return Document(
        text, reader.fields(), reader.gathers_groups, reader.output_names, reader.method in _CHOOSING_METHODS
    )


class _Reader:
    def __init__(self) -> None:
        self.gathers_groups = False
        self.output_names: list[str] = []
        self.method: str | None = None
        self._root: str | None = None
        self._schemas = 0
        self._types: dict[str, str] = {}
        self._missing: dict[str, set[str]] = {}
        self._invalid_is_missing: set[str] = set()
        self._field = ""

    def start_element(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if self._root is None:
            self._root = tag
            if tag != "PMML":
                raise ModelLoadError(f"it is no PMML: its root element is {tag[:100]!r}")
        match tag:
            case "DataField":
                self._field = attributes.get("name", "")
                self._types[self._field] = attributes.get("dataType", "")
            case "Value" if attributes.get("property") == "missing":
                self._missing.setdefault(self._field, set()).add(attributes.get("value", ""))
            case "OutputField":
                self.output_names.append(attributes.get("name", ""))
            case "Segmentation" if self.method is None:
                self.method = attributes.get("multipleModelMethod", "")
            case "MiningSchema":
                self._schemas += 1
            case "MiningField" if self._schemas == 1:
                self._read_mining_field(attributes)
            case _:
                pass

    def fields(self) -> dict[str, DataField]:
        return {
            name: DataField(
                name, data_type, frozenset(self._missing.get(name, ())), name in self._invalid_is_missing
            )
            for name, data_type in self._types.items()
        }

    def _read_mining_field(self, attributes: dict[str, str]) -> None:
        if attributes.get("invalidValueTreatment") == "asMissing":
            self._invalid_is_missing.add(attributes.get("name", ""))
        if attributes.get("usageType") == "group":
            self.gathers_groups = True


def _decode(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None:
        head = data[:_LONGEST_DECLARATION].decode("latin-1")
        declaration = _DECLARATION.match(head)
        encoding = (declaration and declaration[1]) or "utf-8"
    try:
        if codecs.lookup(encoding).name.replace("-", "_") in _NO_ENCODINGS:
            raise LookupError(f"unknown encoding: {encoding}")
        text = data.decode(encoding)
    except (LookupError, ValueError) as error:
        raise ModelLoadError(f"it is no XML: {error}") from error
    declaration = _DECLARATION.match(text[:_LONGEST_DECLARATION])
    return text[declaration.end() :] if declaration else text


def _refuse_doctype(*_: object) -> NoReturn:
    raise ModelLoadError(
        "it has a document type declaration (<!DOCTYPE>), which can name files and addresses"
    )


def _number(value: float | str) -> int | float | None:
    for read in (int, float) if isinstance(value, str) else (type(value),):
        try:
            number = read(value)
            return None if math.isinf(number) else number
        except (ValueError, OverflowError):
            continue
    return None


def _is_long(number: float) -> bool:
    return -(2**63) <= number < 2**63


def _describe(value: JsonValue) -> str:
    match value:
        case str():
            return f"the text {value[:50]!r}"
        case bool() | int() | float():
            return repr(value)
        case Mapping():
            return "an object"
        case _:
            return "an array"
