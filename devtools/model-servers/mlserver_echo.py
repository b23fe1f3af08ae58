"""A model of MLServer that answers tensors as they came."""
# mypy: disable-error-code="import-not-found, misc"

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

DATATYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP32",
    "FP64",
    "BYTES",
)
"""The datatypes of the Open Inference Protocol that MLServer takes over both of its transports."""


class Echo(MLModel):
    """Gives for each input an output of the same name, datatype, shape and elements."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        outputs = [
            ResponseOutput(name=each.name, datatype=each.datatype, shape=each.shape, data=each.data)
            for each in payload.inputs
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
