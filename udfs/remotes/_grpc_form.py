"""How a unary method scores records: what of its messages takes them, and what holds the outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from udfs.errors import ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.remotes._grpc_descriptors import Method
from udfs.remotes._grpc_faults import one_line
from udfs.remotes._grpc_messages import MessageWriter, is_map, read_into


@dataclass(frozen=True, slots=True)
class Places:
    """Where the records and the outputs are, as the options say it.

    Attributes:
        request: fields that all requests have.
        batch: the repeated field of the request that takes the records; None: the request is one record.
        results: the repeated field of the response that has an element a record.
        output: the field of the response, or of an element, that is the output; None: all of it.
    """

    request: Mapping[str, JsonValue]
    batch: str | None
    results: str | None
    output: str | None


class Form:
    """A method whose messages have the places that the options name.

    Args:
        method: the method.
        places: see there.

    Raises:
        ModelLoadError: the method's messages have no such fields.
    """

    def __init__(self, method: Method, places: Places) -> None:
        self.path = method.path
        self._method = method
        self._request = method.request()
        try:
            read_into(self._request, dict(places.request), method.pool)
        except ScoreError as error:
            raise ModelLoadError(f"option request: {error}") from error
        writer = MessageWriter(method.pool)
        self._batch, self._results = places.batch, places.results
        self._output: Callable[[Any], JsonValue] = writer.message
        answer: Descriptor | None = method.response.DESCRIPTOR
        if places.batch is not None and places.results is not None:
            batch = _repeated("batch", method.request.DESCRIPTOR, places.batch)
            if batch.message_type is None:
                raise ModelLoadError(f"option batch: {places.batch} holds no messages")
            results = _repeated("results", method.response.DESCRIPTOR, places.results)
            answer, self._output = results.message_type, writer.element(results)
        if places.output is not None:
            name = _field("output", answer, places.output).name
            self._output = lambda message: writer.field(message, name)

    def request(self, inputs: Sequence[JsonValue]) -> tuple[bytes, dict[int, ScoreError]]:
        """The serialized request for N records, and errors by position for those that are not in it."""
        message = self._method.request()
        message.CopyFrom(self._request)
        errors: dict[int, ScoreError] = {}
        for row, value in enumerate(inputs):
            try:
                if self._batch is None:
                    read_into(message, value, self._method.pool)
                else:
                    self._add(getattr(message, self._batch), value)
            except ScoreError as error:
                errors[row] = error
        return bytes(message.SerializeToString()), errors

    def outputs(self, answer: bytes, count: int) -> list[JsonValue | ScoreError]:
        """The outputs of N records.

        Raises:
            OffloadError: it is no answer, or not one for N records.
        """
        try:
            message = self._method.response.FromString(answer)
        except DecodeError as error:
            raise OffloadError(f"the answer is no {self._method.response.DESCRIPTOR.full_name}") from error
        elements = [message] if self._results is None else getattr(message, self._results)
        if len(elements) != count:
            raise OffloadError(f"{self._results} has {len(elements)} elements for {count} records")
        return [self._output_of(element) for element in elements]

    def _add(self, records: Any, value: JsonValue) -> None:
        try:
            read_into(records.add(), value, self._method.pool)
        except ScoreError:
            del records[-1]
            raise

    def _output_of(self, element: object) -> JsonValue | ScoreError:
        try:
            return self._output(element)
        except Exception as error:  # noqa: BLE001 - the edge to protobuf
            return ScoreError(f"its answer can't be read: {type(error).__name__}: {one_line(str(error))}")


def _field(option: str, descriptor: Descriptor | None, name: str) -> FieldDescriptor:
    known = {} if descriptor is None else dict(descriptor.fields_by_name)
    if name not in known:
        names = ", ".join(known) or "there are none"
        raise ModelLoadError(f"option {option}: no field {name!r}; known: {names}")
    return known[name]


def _repeated(option: str, descriptor: Descriptor, name: str) -> FieldDescriptor:
    field = _field(option, descriptor, name)
    if field.label != FieldDescriptor.LABEL_REPEATED or is_map(field):
        raise ModelLoadError(f"option {option}: {name} is no repeated field")
    return field
