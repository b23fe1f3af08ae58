"""KServe's Python server with a model of irises that is fitted as it starts, on loopback.

    python kserve_iris.py FOLDER --http_port 8080 --grpc_port 8081

The model is `iris`: `measures` [-1, 4] in, `species` [-1] (BYTES) and `probabilities` [-1, 3] out.
`FOLDER/examples.json` is what it says of the irises.
"""
# mypy: disable-error-code="import-not-found, import-untyped, misc"

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import irises
import numpy as np
from grpc import aio
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING
from kserve.errors import InvalidInput
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.rest.server import RESTServer
from kserve.utils.utils import generate_uuid
from numpy.typing import NDArray

Tensors = list[dict[str, object]]

HOST = "127.0.0.1"


class Irises(Model):
    """The classifier of irises as a model of KServe."""

    def __init__(self) -> None:
        super().__init__("iris")
        self._model = irises.fit()
        self.ready = True

    def get_input_types(self) -> Tensors:
        """The metadata's inputs."""
        return [{"name": "measures", "datatype": "FP64", "shape": [-1, 4]}]

    def get_output_types(self) -> Tensors:
        """The metadata's outputs."""
        return [
            {"name": "species", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]},
        ]

    def predict(
        self,
        payload: InferRequest,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002
        response_headers: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse:
        """Answer one request."""
        measures = payload.inputs[0].as_numpy()
        if measures.ndim != 2 or measures.shape[1] != 4:
            raise InvalidInput(f"measures have the shape [N, 4], not {list(measures.shape)}")
        species, probabilities = self.judge(measures)
        labels = InferOutput("species", list(species.shape), "BYTES")
        labels.set_data_from_numpy(species.astype(object), binary_data=False)
        scores = InferOutput("probabilities", list(probabilities.shape), "FP64")
        scores.set_data_from_numpy(probabilities, binary_data=False)
        # Over REST, KServe can't answer without an id.
        return InferResponse(payload.id or generate_uuid(), self.name, [labels, scores])

    def judge(self, measures: NDArray[np.float64]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """The species and the probabilities of irises."""
        return self._model.predict(measures), self._model.predict_proba(measures)


async def serve(model: Model) -> None:
    """Serve until SIGTERM. `ModelServer.start` would listen on all addresses, and has no option for it."""
    server = ModelServer()
    server.register_model(model)
    grpc = aio.server(interceptors=[ExceptionToStatusInterceptor()])
    servicer = InferenceServicer(server.dataplane, server.model_repository_extension)
    add_GRPCInferenceServiceServicer_to_server(servicer, grpc)
    grpc.add_insecure_port(f"{HOST}:{server.grpc_port}")
    rest = RESTServer(
        FASTAPI_APP_IMPORT_STRING, server.dataplane, server.model_repository_extension, server.http_port
    )
    rest.config.host = HOST
    await grpc.start()
    await rest.start()
    await grpc.stop(None)


def main(folder: Path) -> None:
    """Fit the model, write what it says of the irises, and serve it."""
    model = Irises()
    species, probabilities = model.judge(irises.MEASURES)
    said = {"species": species.tolist(), "probabilities": probabilities.tolist()}
    irises.write_examples(folder / "examples.json", {"iris": said})
    asyncio.run(serve(model))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
