"""Models that a server scores by the Open Inference Protocol V2: KServe, MLServer, Seldon, Triton, OpenVINO.

Over gRPC (``grpc://``, ``grpcs://``) or REST (``http://``, ``https://``), with tritonclient's classes of
messages and codecs. Not with its clients: they connect to a host's name, not to the addresses of it that
were checked, and follow redirects.

Records are read as `udfs.tensors.reader` says, by the names, datatypes and shapes in the model's metadata,
which is asked for once. The first axis of every input is the records': -1, or 1 for a model that takes one
record a request. Records that don't stack, because axes of any length differ, go in a request for each
shape, one after the other; where shapes differ a lot, set max_batch to 1.

Outputs are an object with a value for each of the model's outputs, by its own names: tensors as nested arrays
without the records' axis, BYTES as text. Bytes that are no UTF-8 have no place in JSON: such an output is an
error, and can be left out.

Options:
    url: where the server is.
    model: the model's name there.
    version: its version there; whichever the server takes unless told.
    fields: names for the elements of the only input tensor, in order: a list, or comma-separated.
    inputs: the inputs, in place of those that the server says, for a server that does not say them or that
        says the first axis otherwise: ``[{"name": "predict", "datatype": "FP32", "shape": [-1, 4]}]``.
    outputs: which outputs to give, a list or comma-separated; all of them unless told.
    parameters: a JSON object that goes with each request: ``{"content_type": "pd"}``.
    credentials: a name of the job's configuration.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from udfs.errors import ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import OptionReader, Options
from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._inference_grpc import GrpcModel
from udfs.remotes._inference_model import (
    ModelMetadata,
    TensorMetadata,
    Wanted,
    checked_parameters,
    declared_inputs,
    signature_of,
)
from udfs.remotes._inference_rest import RestModel
from udfs.remotes._inference_tensors import Output, read_records
from udfs.remotes.base import Remote, Surroundings, Trace
from udfs.tensors.reader import Columns, TensorReader, UnevenBatchError

OPTIONS = {"url", "model", "version", "fields", "inputs", "outputs", "parameters", "credentials"}


def connect(options: Options, surroundings: Surroundings) -> Remote:
    """Get ready to ask a server; nobody is asked yet.

    Args:
        options: see the module.
        surroundings: what the configuration allows.

    Raises:
        ModelLoadError: an option is missing, unknown or wrong, or the server is not allowed.
    """
    values = OptionReader(options, OPTIONS)
    url, credentials = values.required("url"), values.text("credentials")
    wanted = Wanted(
        values.required("model"),
        values.text("version"),
        values.names("outputs"),
        checked_parameters(values.object("parameters")),
    )
    fields, declared = values.names("fields"), declared_inputs(options)
    scheme = url.partition("://")[0]
    if scheme in ("grpc", "grpcs"):
        served: _ServedModel = GrpcModel(GrpcEndpoint(url, surroundings, credentials), wanted)
    elif scheme in ("http", "https"):
        served = RestModel(HttpEndpoint(url, surroundings, credentials), wanted)
    else:
        raise ModelLoadError("option url: expected grpc://, grpcs://, http:// or https://")
    return OpenInferenceRemote(served, wanted, fields, declared)


class _ServedModel(Protocol):
    """A model as one of the protocol's two transports has it."""

    @property
    def endpoint(self) -> GrpcEndpoint | HttpEndpoint: ...

    async def read_metadata(self, seconds: float) -> ModelMetadata: ...

    async def infer(self, columns: Columns, seconds: float, trace: Trace) -> list[Output]: ...

    async def close(self) -> None: ...


class OpenInferenceRemote:
    """A model of an inference server. See `udfs.remotes.base.Remote`.

    Attributes:
        is_repeatable: scoring changes nothing on the server.
        max_batch: known when it is open.
    """

    is_repeatable = True

    def __init__(
        self, served: _ServedModel, wanted: Wanted, fields: Sequence[str], declared: Sequence[TensorMetadata]
    ) -> None:
        """Prepare to ask.

        Args:
            served: asks the server.
            wanted: what is asked for.
            fields: see the module.
            declared: the inputs, in place of those that the server says; none: those.
        """
        self.max_batch: int | None = None
        self._served = served
        self._wanted = wanted
        self._fields = fields
        self._declared = declared
        self._reader: TensorReader | None = None

    @property
    def endpoint(self) -> str:
        """See `udfs.remotes.base.Remote`."""
        return self._served.endpoint.name

    async def open(self, seconds: float) -> bool:
        """See `udfs.remotes.base.Remote`."""
        try:
            signature = signature_of(
                await self._served.read_metadata(seconds), self._declared, self._wanted.outputs
            )
            self._reader = TensorReader(signature.specs, fields=self._fields)
        except (ModelLoadError, ValueError) as error:
            raise ModelLoadError(f"{self._name}: {error}") from error
        self.max_batch = signature.max_batch
        return True

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        """See `udfs.remotes.base.Remote`."""
        assert self._reader is not None, "scored before it was open"
        end = asyncio.get_running_loop().time() + seconds
        try:
            columns = self._reader.stack(inputs)
        except UnevenBatchError:
            groups, errors = self._reader.sort_out(inputs)
            results: list[JsonValue | ScoreError] = [errors.get(row) for row in range(len(inputs))]
            for rows, columns in groups:
                left = max(0.0, end - asyncio.get_running_loop().time())
                outputs = await self._infer(columns, len(rows), left, trace)
                for row, record in zip(rows, outputs, strict=True):
                    results[row] = record
            return results
        return list(await self._infer(columns, len(inputs), seconds, trace))

    async def close(self) -> None:
        """See `udfs.remotes.base.Remote`."""
        await self._served.close()

    async def _infer(self, columns: Columns, rows: int, seconds: float, trace: Trace) -> list[JsonValue]:
        try:
            outputs = await self._served.infer(columns, seconds, trace)
            return read_records(outputs, self._wanted.outputs, rows)
        except ValueError as error:
            raise OffloadError(f"{self._name} gave an answer that can't be read: {error}") from error

    @property
    def _name(self) -> str:
        version = f" version {self._wanted.version}" if self._wanted.version else ""
        return f"{self.endpoint}: model {self._wanted.model}{version}"
