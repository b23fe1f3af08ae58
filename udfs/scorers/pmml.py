"""PMML models, with PMML4S (the Java library of pypmml) in a Java process beside Python.

An input is an object of named fields, or an array of values in the order of the model's active fields.
Null, NaN and a field that is not there are missing values; missing, invalid and out-of-range values and
fields of no use to the model are treated as the model says. Numbers may be written as strings. A value that
its field's data type has no word for (text, a boolean or infinity for a number, an array, an object) is an
error of its record, unless the model says that invalid values are missing ones.

Outputs are an object with a value for each of the model's output fields, in the model's order. Null is an
output that the model has no value for, NaN or infinity.

There are no options. The Java process is bounded by ``-Xmx512m`` (the environment variable
MODELSTREAM_PMML_HEAP sets another bound), shared by the models of a Python process, and ends with the last.

Source: https://dmg.org/pmml/v4-4-1/GeneralStructure.html, https://github.com/autodeployai/pmml4s
"""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options
from udfs.scorers._pmml_document import DataField, Document, Scalar, read_document
from udfs.scorers._pmml_jvm import Connection, JavaError, Reference

_MODEL_CLASS: Final = "org.pmml4s.model.Model"
# What PMML4S gives for an integer that is missing.
_NO_INTEGER: Final = -(2**63)
_ERROR_CHARACTERS: Final = 300


def load(artifact: Path, options: Options) -> "PmmlScorer":
    """Load a PMML file, of any encoding that Python knows.

    Args:
        artifact: the XML file. A document type declaration is refused before anything reads on.
        options: none are known.

    Raises:
        ModelLoadError: it is no PMML model that PMML4S can score, or Java can't be started.
    """
    if options:
        raise ModelLoadError(f"unknown option {min(options)!r}: the format pmml has none")
    try:
        data = artifact.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"{artifact.name} can't be read: {error.strerror}") from error
    return PmmlScorer(read_document(data))


class PmmlScorer:
    """A PMML model in the Java process.

    Attributes:
        stateful: the model gathers the events of a group, so that outputs depend on the events before.
    """

    def __init__(self, document: Document) -> None:
        self.stateful = document.gathers_groups
        self._text = document.text
        self._connection: Connection | None = None
        self._model = Reference()
        try:
            connection = self._open()
            names = connection.call_for_strings(self._model, "inputNames")
            self._outputs = connection.call_for_strings(self._model, "outputNames")
        except (JavaError, OSError) as error:
            self.close()
            raise ModelLoadError(f"PMML4S can't load the model: {_text_of(error)}") from error
        if not self._outputs:
            self.close()
            raise ModelLoadError("it holds no model that has outputs")
        self._fields = [document.fields.get(name, DataField(name, "")) for name in names]
        self._outputs_vary = document.outputs_vary
        names_in_order = dict.fromkeys((*self._outputs, *document.output_names))
        self._output_order = {name: place for place, name in enumerate(names_in_order)}

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        """Score a batch; see `udfs.scorers.base.Scorer`."""
        table = self._table(inputs)
        if table is not None:
            with contextlib.suppress(JavaError):
                results = self._read_table(self._predict(table))
                if results is not None:
                    return results
        return self._score_records(inputs)

    def close(self) -> None:
        """Free the model. The last one to close ends the Java process."""
        if self._connection is None:
            return
        with contextlib.suppress(JavaError, OSError):
            self._connection.release(self._model)
        self._connection.close()
        self._connection = None

    # --- a batch in which nothing is missing: names once, then rows ---------------------------------------

    def _table(self, inputs: Sequence[JsonValue]) -> str | None:
        """The batch as PMML4S's JSON of columns and rows; None if a value is missing or of another type."""
        if self._outputs_vary:
            return None  # the answer's columns would be those of its first row
        names = [field.name for field in self._fields]
        rows: list[Sequence[Any]]
        if all(type(row) is dict for row in inputs):
            try:
                rows = [[row[name] for name in names] for row in inputs]  # type: ignore[call-overload,index]
            except KeyError:
                return None
        elif all(type(row) is list and len(row) == len(names) for row in inputs):
            rows = list(inputs)  # type: ignore[arg-type]
        else:
            return None
        columns = zip(*rows, strict=True)
        if not all(field.takes(column) for field, column in zip(self._fields, columns, strict=True)):
            return None
        try:
            table = orjson.dumps({"columns": names, "data": rows})
        except TypeError:
            return None
        # NaN and infinity are written as null, which PMML4S reads as a number.
        return None if b"null" in table else table.decode()

    def _read_table(self, answer: str) -> list[JsonValue | ScoreError] | None:
        table = _read_answer(answer)
        if table["columns"] != self._outputs:
            return None
        return [dict(zip(self._outputs, row, strict=True)) for row in table["data"]]

    # --- any batch: a record at a time --------------------------------------------------------------------

    def _score_records(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        results: list[JsonValue | ScoreError] = []
        places: list[int] = []
        records: list[bytes] = []
        for place, value in enumerate(inputs):
            try:
                records.append(orjson.dumps(self._record(value)))
                places.append(place)
                results.append(None)
            except ScoreError as error:
                results.append(error)
            except TypeError as error:
                results.append(ScoreError(f"the input can't be written as JSON: {error}"))
        if records:
            for place, outputs in zip(places, self._score_some(records), strict=True):
                results[place] = outputs
        return results

    def _record(self, value: JsonValue) -> dict[str, Scalar]:
        """An input's values by field, without those that are missing."""
        pairs: Iterable[tuple[DataField, JsonValue]]
        if isinstance(value, dict):
            pairs = ((field, value[field.name]) for field in self._fields if field.name in value)
        elif isinstance(value, list | tuple) and len(value) == len(self._fields):
            pairs = zip(self._fields, value, strict=True)
        else:
            raise ScoreError(
                f"the model takes an object of named fields or an array of {len(self._fields)} values"
            )
        scalars = ((field.name, field.read(item)) for field, item in pairs)
        return {name: scalar for name, scalar in scalars if scalar is not None}

    def _score_some(self, records: Sequence[bytes]) -> list[JsonValue | ScoreError]:
        try:
            answer = self._predict(f"[{b','.join(records).decode()}]")
        except JavaError as error:
            if len(records) == 1:
                return [ScoreError(_text_of(error))]
            middle = len(records) // 2
            return [*self._score_some(records[:middle]), *self._score_some(records[middle:])]
        return [self._in_order(row) for row in _read_answer(answer)]

    def _in_order(self, outputs: dict[str, JsonValue]) -> JsonValue:
        order = self._output_order
        return {name: outputs[name] for name in sorted(outputs, key=lambda name: order.get(name, len(order)))}

    # --- the Java process ---------------------------------------------------------------------------------

    def _open(self) -> Connection:
        connection = Connection()
        try:
            self._model = connection.call_for_object(_MODEL_CLASS, "fromString", self._text)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _predict(self, records: str) -> str:
        if self._connection is not None:
            try:
                return str(self._connection.call(self._model, "predict", records))
            except OSError:
                self.close()
        # The process is gone; a new one takes its place.
        try:
            connection = self._open()
        except JavaError as error:
            raise OSError(f"PMML4S can't load the model again: {_text_of(error)}") from error
        return str(connection.call(self._model, "predict", records))


def _read_answer(answer: str) -> Any:
    decoded = orjson.loads(answer)
    return _without_missing_integers(decoded) if str(_NO_INTEGER) in answer else decoded


def _without_missing_integers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_missing_integers(item) for key, item in value.items()}
        case list():
            return [_without_missing_integers(item) for item in value]
        case _:
            return None if type(value) is int and value == _NO_INTEGER else value


def _text_of(error: Exception) -> str:
    return " ".join(str(error).split())[:_ERROR_CHARACTERS]
