"""A stand-in for TensorFlow Serving, whose binary is in no package registry.

    python -m tests.tensorflow_serving_server PORT REST_PORT NAME FOLDER

It serves the versions of one model, ``FOLDER/<version>/saved_model.pb``, with TensorFlow itself: over gRPC
the published PredictionService (tensorflow-serving-api) without MultiInference, over REST the published paths
and formats. Version 1 has the label ``stable``. What it refuses it refuses with the codes of the original.

Source: tensorflow_serving/apis/prediction_service.proto
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from tests.tensorflow_serving_rest import RestHandler
from tests.tensorflow_serving_versions import Arrays, Model, Refusing, classes_of, refusal


class Service(PredictionServiceServicer):  # type: ignore[misc]  # it has no types
    """The published gRPC service."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        with Refusing(context):
            version = self._model.of_spec(request.model_spec)
            signature = version.signature(request.model_spec.signature_name, "predict")
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            outputs = version.run(signature, inputs, list(request.output_filter))
            tensors = {name: tf.make_tensor_proto(array) for name, array in outputs.items()}
            return PredictResponse(model_spec=request.model_spec, outputs=tensors)

    def Classify(  # noqa: N802
        self, request: ClassificationRequest, context: grpc.ServicerContext
    ) -> ClassificationResponse:
        with Refusing(context):
            response = ClassificationResponse(model_spec=request.model_spec)
            for record in classes_of(self._run_examples(request, "classify")):
                classes = response.result.classifications.add().classes
                for label, score in record:
                    classes.add(label=label, score=score)
            return response

    def Regress(  # noqa: N802
        self, request: RegressionRequest, context: grpc.ServicerContext
    ) -> RegressionResponse:
        with Refusing(context):
            response = RegressionResponse(model_spec=request.model_spec)
            for value in self._run_examples(request, "regress")["outputs"].ravel():
                response.result.regressions.add(value=value)
            return response

    def GetModelMetadata(  # noqa: N802
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        with Refusing(context):
            if list(request.metadata_field) != ["signature_def"]:
                raise refusal("INVALID_ARGUMENT", "Metadata field is not supported")
            signatures = self._model.of_spec(request.model_spec).signatures
            response = GetModelMetadataResponse(model_spec=request.model_spec)
            response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=signatures))
            return response

    def _run_examples(self, request: Any, method: str) -> Arrays:
        examples = list(request.input.example_list.examples)
        return self._model.of_spec(request.model_spec).run_examples(
            request.model_spec.signature_name, method, examples
        )


class _RestServer(ThreadingHTTPServer):
    request_queue_size = 256  # clients that connect at once find room; the default is 5


def main() -> None:
    """Serve until the process is ended."""
    port, rest_port, name, folder = sys.argv[1:]
    model = Model(name, Path(folder))
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    add_PredictionServiceServicer_to_server(Service(model), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    handler = type("Handler", (RestHandler,), {"model": model})
    rest = _RestServer(("127.0.0.1", int(rest_port)), handler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
