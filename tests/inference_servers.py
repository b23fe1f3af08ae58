"""Stand-ins for inference servers, for tests: what they are asked, and what they may answer."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import numpy as np
import orjson
from tritonclient.grpc.service_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)

from tests.grpc_server import Methods, Seen, serving
from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.remotes import connect
from udfs.remotes.base import Remote, Surroundings

TensorMetadata: TypeAlias = ModelMetadataResponse.TensorMetadata
InferOutput: TypeAlias = ModelInferResponse.InferOutputTensor
Answer = Callable[[ModelInferRequest], ModelInferResponse | bytes]

PAIRS = TensorMetadata(name="x", datatype="FP32", shape=[-1, 2])
SUMS = TensorMetadata(name="sum", datatype="FP32", shape=[-1])
METADATA = ModelMetadataResponse(name="adder", inputs=[PAIRS], outputs=[SUMS])


def add(request: ModelInferRequest) -> ModelInferResponse:
    """The sums of pairs."""
    (x,), (raw,) = request.inputs, request.raw_input_contents
    sums = np.frombuffer(raw, "<f4").reshape(x.shape).sum(axis=1)
    output = InferOutput(name="sum", datatype="FP32", shape=[len(sums)])
    return ModelInferResponse(outputs=[output], raw_output_contents=[sums.tobytes()])


def answer_of(*outputs: InferOutput, raw: Sequence[bytes] = ()) -> ModelInferResponse:
    return ModelInferResponse(outputs=outputs, raw_output_contents=raw)


class StandIn:
    """A stand-in for an inference server, over gRPC: it knows one model, and may lie about it."""

    def __init__(self, port: int, methods: Methods) -> None:
        self.url = f"grpc://127.0.0.1:{port}"
        self._methods = methods

    @property
    def seen(self) -> Seen:
        """What it was asked last."""
        return self._methods.seen

    @property
    def requests(self) -> list[ModelInferRequest]:
        """What was to be scored."""
        return [ModelInferRequest.FromString(raw) for raw in self._methods.seen.requests[1:]]

    @property
    def metadata_request(self) -> ModelMetadataRequest:
        """How it was asked for the model's tensors."""
        return ModelMetadataRequest.FromString(self._methods.seen.requests[0])


@contextmanager
def stand_in(answer: Answer = add, metadata: ModelMetadataResponse | bytes = METADATA) -> Iterator[StandIn]:
    """Start one."""

    def serialized(message: ModelMetadataResponse | ModelInferResponse | bytes) -> bytes:
        return message if isinstance(message, bytes) else bytes(message.SerializeToString())

    methods = Methods(
        {
            "/inference.GRPCInferenceService/ModelMetadata": lambda request, context: serialized(metadata),
            "/inference.GRPCInferenceService/ModelInfer": lambda request, context: serialized(
                answer(ModelInferRequest.FromString(request))
            ),
        }
    )
    with serving(methods) as port:
        yield StandIn(port, methods)


def connected(url: str, /, **options: JsonValue) -> Remote:
    surroundings = Surroundings(places=AllowedPlaces([url]))
    return connect("open-inference", {"url": url, "model": "adder", **options}, surroundings)


def score(url: str, /, *records: JsonValue, **options: JsonValue) -> list[JsonValue | ScoreError]:
    """Open a remote and score records with it."""

    async def run() -> list[JsonValue | ScoreError]:
        remote = connected(url, **options)
        try:
            await remote.open(60)
            return list(await remote.score(records, 60, ()))
        finally:
            await remote.close()

    return asyncio.run(run())


class _RoomyServer(ThreadingHTTPServer):
    request_queue_size = 256  # clients that connect at once find room; the default is 5


@contextmanager
def json_stand_in(answer: Any, metadata: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A stand-in over REST, which answers the same each time; gives its URL and what it is asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, None))
            self._say(metadata)

        def do_POST(self) -> None:
            asked.append((self.path, orjson.loads(self.rfile.read(int(self.headers["content-length"])))))
            self._say(answer)

        def _say(self, value: Any) -> None:
            body = value if isinstance(value, bytes) else orjson.dumps(value)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with _RoomyServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
