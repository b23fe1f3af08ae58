"""The Open Inference Protocol V2 over gRPC, with raw tensors on the way in.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from google.protobuf.message import DecodeError
from tritonclient.grpc.service_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)

from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._inference_model import ModelMetadata, Parameter, TensorMetadata, Wanted
from udfs.remotes._inference_tensors import Output, datatype_of, read_contents, read_raw, write_raw
from udfs.remotes.base import Trace
from udfs.tensors.reader import Columns

_SERVICE = "/inference.GRPCInferenceService"


class GrpcModel:
    """One model of a gRPC server."""

    def __init__(self, endpoint: GrpcEndpoint, wanted: Wanted) -> None:
        self.endpoint = endpoint
        self._metadata_request = ModelMetadataRequest(name=wanted.model, version=wanted.version or "")
        self._request = ModelInferRequest(
            model_name=wanted.model,
            model_version=wanted.version or "",
            outputs=[ModelInferRequest.InferRequestedOutputTensor(name=name) for name in wanted.outputs],
            parameters={name: _parameter(value) for name, value in wanted.parameters.items()},
        )

    async def read_metadata(self, seconds: float) -> ModelMetadata:
        """Ask for the model's tensors.

        Raises:
            OffloadError: as the endpoint says.
            ValueError: the answer can't be read.
        """
        answer = await self.endpoint.unary(
            f"{_SERVICE}/ModelMetadata", self._metadata_request.SerializeToString(), seconds
        )
        try:
            metadata = ModelMetadataResponse.FromString(answer)
        except DecodeError as error:
            raise ValueError(f"no ModelMetadataResponse: {error}") from error
        return ModelMetadata(
            [TensorMetadata(one.name, one.datatype, list(one.shape)) for one in metadata.inputs],
            [TensorMetadata(one.name, one.datatype, list(one.shape)) for one in metadata.outputs],
        )

    async def infer(self, columns: Columns, seconds: float, trace: Trace) -> list[Output]:
        """Have records scored.

        Raises:
            OffloadError: as the endpoint says.
            ValueError: the answer can't be read.
        """
        request = ModelInferRequest(
            inputs=[
                ModelInferRequest.InferInputTensor(
                    name=name, datatype=datatype_of(column.dtype), shape=column.shape
                )
                for name, column in columns.items()
            ],
            raw_input_contents=[write_raw(column) for column in columns.values()],
        )
        request.MergeFrom(self._request)
        answer = await self.endpoint.unary(
            f"{_SERVICE}/ModelInfer", request.SerializeToString(), seconds, trace
        )
        try:
            response = ModelInferResponse.FromString(answer)
        except DecodeError as error:
            raise ValueError(f"no ModelInferResponse: {error}") from error
        return _outputs(response)

    async def close(self) -> None:
        """Let go of the server."""
        await self.endpoint.close()


def _outputs(response: ModelInferResponse) -> list[Output]:
    raw = response.raw_output_contents
    if not raw:
        return [read_contents(one.name, one.datatype, one.shape, one.contents) for one in response.outputs]
    if len(raw) != len(response.outputs):
        raise ValueError(f"{len(response.outputs)} outputs, but raw contents for {len(raw)}")
    return [
        read_raw(one.name, one.datatype, one.shape, contents)
        for one, contents in zip(response.outputs, raw, strict=True)
    ]


def _parameter(value: Parameter) -> InferParameter:
    match value:
        case bool():
            return InferParameter(bool_param=value)
        case int():
            return InferParameter(int64_param=value)
        case float():
            return InferParameter(double_param=value)
        case str():
            return InferParameter(string_param=value)
