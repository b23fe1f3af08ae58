"""mlflow: MLflow's scoring server, protocol 2: ``/invocations``, asked with JSON.

    url         of the server: what comes before ``/invocations``
    input       dataframe_split (without the option), instances or inputs: the form that records go in
    fields      names of the fields that the model takes, in its order; other fields are not sent
    credentials a name of offload.credentials

A record is an object of named fields, or an array; instances and inputs take other values too. Without
``fields`` the server gets a record's fields in their own order, and only records of the same fields go in one
request: a batch of others is refused as a fault of its records, so that its halves are tried.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ ("Inference Server Specification")
"""

from collections.abc import Mapping, Sequence

from udfs.errors import Fault, OffloadError, ScoreError
from udfs.json_values import JsonValue, write_json
from udfs.options import OptionReader, Options
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._records import prepare_each, put_together, write_record
from udfs.remotes.base import Surroundings, Trace

OPTIONS = ("url", "input", "fields", "credentials")
FORMS = ("dataframe_split", "instances", "inputs")


class MlflowRemote:
    """A model behind MLflow's scoring server."""

    is_repeatable = True
    max_batch = None

    def __init__(self, server: HttpEndpoint, form: str, fields: Sequence[str]) -> None:
        self._server = server
        self._form = form
        self._fields = tuple(fields)
        for path in ("/ping", "/invocations"):
            server.url_of(path)

    @property
    def endpoint(self) -> str:
        """The server."""
        return self._server.name

    async def open(self, seconds: float) -> bool:
        """See that the server is there. It does not say what its model takes."""
        await self._server.get("/ping", seconds)
        return True

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Score records with one request; see `Remote.score`."""
        records, errors = prepare_each(inputs, self._prepare)
        return put_together(await self._ask(records, seconds, trace) if records else (), errors, len(inputs))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _prepare(self, value: JsonValue) -> JsonValue:
        """What is sent of a record."""
        if self._fields:
            value = _pick(value, self._fields)
        elif self._form == "dataframe_split" and (not isinstance(value, Mapping | list) or not value):
            raise ScoreError(f"expected an object of named fields or an array, got {_kind(value)}")
        write_record(value)
        return value

    async def _ask(self, records: Sequence[JsonValue], seconds: float, trace: Trace) -> Sequence[JsonValue]:
        if any(_shape(record) != _shape(records[0]) for record in records):
            raise OffloadError(
                f"{self.endpoint}: records of different fields can't go in one request; see option fields",
                Fault.RECORD,
            )
        body = write_json({self._form: _form(self._form, records)})
        answer = await self._server.post("/invocations", body, seconds, trace)
        try:
            return _rows(_predictions(self._server.json_of(answer)), len(records))
        except ValueError as error:
            raise self._server.unreadable(str(error), answer) from error


def connect(options: Options, surroundings: Surroundings) -> MlflowRemote:
    """Make a remote of options.

    Raises:
        ModelLoadError: options that can't work.
    """
    read = OptionReader(options, OPTIONS)
    server = HttpEndpoint(read.required("url"), surroundings, read.text("credentials"))
    return MlflowRemote(server, read.one_of("input", FORMS), read.names("fields"))


def _pick(value: JsonValue, fields: Sequence[str]) -> JsonValue:
    if isinstance(value, Mapping):
        if missing := [name for name in fields if name not in value]:
            raise ScoreError(f"has no {', '.join(missing)}")
        return {name: value[name] for name in fields}
    if isinstance(value, list):
        if len(value) != len(fields):
            raise ScoreError(f"expected {len(fields)} elements ({', '.join(fields)}), got {len(value)}")
        return dict(zip(fields, value, strict=True))
    raise ScoreError(f"expected an object of named fields or an array, got {_kind(value)}")


def _shape(record: JsonValue) -> tuple[str, ...] | int | None:
    """What the records of a request have in common."""
    if isinstance(record, Mapping):
        return tuple(record)
    return len(record) if isinstance(record, list) else None


def _form(form: str, records: Sequence[JsonValue]) -> JsonValue:
    names = _shape(records[0])
    if not isinstance(names, tuple) or form == "instances":
        return {"data": records} if form == "dataframe_split" else records
    objects = [record for record in records if isinstance(record, Mapping)]
    if form == "dataframe_split":
        return {"columns": names, "data": [[record[name] for name in names] for record in objects]}
    return {name: [record[name] for record in objects] for name in names}


def _predictions(answer: JsonValue) -> JsonValue:
    if not isinstance(answer, Mapping) or "predictions" not in answer:
        raise ValueError("has no predictions")
    return answer["predictions"]


def _rows(predictions: JsonValue, count: int) -> Sequence[JsonValue]:
    """Predictions by record, also where the server gives them by output."""
    if isinstance(predictions, Mapping) and predictions:
        columns = [_of_length(column, count) for column in predictions.values()]
        return [dict(zip(predictions, row, strict=True)) for row in zip(*columns, strict=True)]
    return _of_length(predictions, count)


def _of_length(value: JsonValue, count: int) -> Sequence[JsonValue]:
    if not isinstance(value, list) or len(value) != count:
        got = f"{len(value)} predictions" if isinstance(value, list) else _kind(value)
        raise ValueError(f"has {got} for {count} records")
    return value


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping | list):
        return "an object" if isinstance(value, Mapping) else "an array"
    return f"a {type(value).__name__}"
