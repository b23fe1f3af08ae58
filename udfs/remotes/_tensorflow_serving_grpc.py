"""A model of TensorFlow Serving, asked over gRPC.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._tensorflow_serving_examples import Features, example_of
from udfs.remotes._tensorflow_serving_messages import (
    ClassificationResponse,
    ExamplesRequest,
    GetModelMetadataRequest,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    RegressionResponse,
)
from udfs.remotes._tensorflow_serving_model import Classes, Wanted
from udfs.remotes._tensorflow_serving_signature import FIELD, Signature, TensorInfo, read_metadata_message
from udfs.remotes._tensorflow_serving_tensors import read_tensor, write_tensor
from udfs.remotes.base import Trace
from udfs.tensors.reader import Columns

_SERVICE = "/tensorflow.serving.PredictionService"


class GrpcModel:
    """See `udfs.remotes._tensorflow_serving_model.ServedModel`."""

    def __init__(self, endpoint: GrpcEndpoint, wanted: Wanted) -> None:
        self.endpoint = endpoint
        self._spec = ModelSpec(name=wanted.model, version_label=wanted.label or "")
        if wanted.version is not None:
            self._spec.version.value = wanted.version
        self._metadata_request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[FIELD])
        self._spec.signature_name = wanted.signature

    async def read_signatures(self, seconds: float) -> dict[str, Signature]:
        """See the protocol class."""
        request = self._metadata_request.SerializeToString()
        return read_metadata_message(
            await self.endpoint.unary(f"{_SERVICE}/GetModelMetadata", request, seconds)
        )

    async def predict(
        self, columns: Columns, outputs: Mapping[str, TensorInfo], seconds: float, trace: Trace
    ) -> dict[str, NDArray[Any]]:
        """See the protocol class."""
        request = PredictRequest(model_spec=self._spec, output_filter=list(outputs))
        for name, column in columns.items():
            write_tensor(column, request.inputs[name])
        response = await self._call("Predict", request, PredictResponse, seconds, trace)
        return {name: read_tensor(response.outputs[name]) for name in outputs if name in response.outputs}

    async def classify(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[Classes]:
        """See the protocol class."""
        request = self._examples_request(examples)
        response = await self._call("Classify", request, ClassificationResponse, seconds, trace)
        return [
            [(one.label, one.score) for one in record.classes] for record in response.result.classifications
        ]

    async def regress(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[float]:
        """See the protocol class."""
        request = self._examples_request(examples)
        response = await self._call("Regress", request, RegressionResponse, seconds, trace)
        return [one.value for one in response.result.regressions]

    async def close(self) -> None:
        """See the protocol class."""
        await self.endpoint.close()

    def _examples_request(self, examples: Sequence[Features]) -> Message:
        request = ExamplesRequest(model_spec=self._spec)
        request.input.example_list.examples.extend(map(example_of, examples))
        return request

    async def _call(
        self, method: str, request: Message, response: type[Message], seconds: float, trace: Trace
    ) -> Message:
        answer = await self.endpoint.unary(
            f"{_SERVICE}/{method}", request.SerializeToString(), seconds, trace
        )
        try:
            return response.FromString(answer)
        except DecodeError as error:
            raise ValueError(f"it is no {response.DESCRIPTOR.name}") from error
