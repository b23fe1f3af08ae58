"""Any unary gRPC method as a model.

A record is an object with the fields of the method's request, by their names; an unknown field is that
record's error. The outputs are an object with the fields of the response, see `udfs.remotes._grpc_messages`.

Options:
    url: ``grpc://HOST:PORT``, or ``grpcs://HOST:PORT`` for TLS.
    method: ``package.Service/Method``.
    descriptors: a FileDescriptorSet in base64 with the method and all that its file imports, as
        ``protoc --include_imports --descriptor_set_out`` writes it; the server's reflection is asked unless
        told.
    request: an object with fields that all requests have.
    batch: the repeated field of the request that takes the records, as messages; a request is one record
        unless told.
    results: with ``batch``, the repeated field of the response that has an element a record, in their order.
    output: the field of the response, or of an element of ``results``, that is the output; all of it unless
        told.
    repeatable: whether calling the method again does no harm; false unless told.
    credentials: a name from the job's ``offload.credentials``.

Source: https://grpc.io/docs/guides/reflection/
"""

from collections.abc import Sequence

from udfs.errors import ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import OptionReader, Options
from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._grpc_descriptors import method_of_server, method_of_set, split_name
from udfs.remotes._grpc_form import Form, Places
from udfs.remotes._records import put_together
from udfs.remotes.base import Surroundings, Trace

OPTIONS = frozenset(
    ("url", "method", "descriptors", "request", "batch", "results", "output", "repeatable", "credentials")
)


def connect(options: Options, surroundings: Surroundings) -> "GrpcRemote":
    """Make a remote of a method; see the module for the options. Nobody is asked.

    Raises:
        ModelLoadError: options that can't work, or an endpoint that is not allowed.
    """
    values = OptionReader(options, OPTIONS)
    method = values.required("method")
    split_name(method)
    places = Places(
        values.object("request"), values.text("batch"), values.text("results"), values.text("output")
    )
    if (places.batch is None) != (places.results is None):
        raise ModelLoadError("options batch and results: expected both or neither")
    repeatable = values.flag("repeatable", False)
    endpoint = GrpcEndpoint(values.required("url"), surroundings, values.text("credentials"))
    descriptors = values.text("descriptors")
    form = None if descriptors is None else Form(method_of_set(descriptors, method), places)
    return GrpcRemote(endpoint, method, places, form, is_repeatable=repeatable)


class GrpcRemote:
    """A unary method; see `udfs.remotes.base.Remote`."""

    def __init__(
        self, endpoint: GrpcEndpoint, method: str, places: Places, form: Form | None, *, is_repeatable: bool
    ) -> None:
        self.endpoint = endpoint.name
        self.is_repeatable = is_repeatable
        self.max_batch = 1 if places.batch is None else None
        self._server = endpoint
        self._method = method
        self._places = places
        self._form = form

    async def open(self, seconds: float) -> bool:
        """Find the method by reflection, unless its descriptors were given."""
        if self._form is not None:
            return False
        method = await method_of_server(self._server, self._method, seconds)
        self._form = Form(method, self._places)
        return True

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        """Call the method once, with all records that fit its request."""
        if self._form is None:
            raise OffloadError(f"{self.endpoint}: not open")
        request, errors = self._form.request(inputs)
        count = len(inputs) - len(errors)
        if not count:
            return put_together([], errors, len(inputs))
        answer = await self._server.unary(self._form.path, request, seconds, trace)
        try:
            outputs = self._form.outputs(answer, count)
        except OffloadError as error:
            raise OffloadError(f"{self._method} at {self.endpoint}: {error}") from error
        return put_together(outputs, errors, len(inputs))

    async def close(self) -> None:
        """Close the connection."""
        await self._server.close()
