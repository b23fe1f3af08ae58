"""gRPC servers for tests, in this process: methods of bytes by their full names."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection

Method = Callable[[bytes, grpc.ServicerContext], bytes]
"""Takes a serialized request, gives the serialized answer."""


@dataclass
class Seen:
    """What a server was asked."""

    metadata: dict[str, str] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Handles unary methods of bytes."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.seen = Seen()
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = self._methods.get(details.method)
        if method is None:
            return None

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.seen.metadata = dict(context.invocation_metadata())
            self.seen.requests.append(request)
            self.seen.asked.set()
            return method(request, context)

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def serving(
    handler: grpc.GenericRpcHandler,
    *,
    port: int = 0,
    tls: grpc.ServerCredentials | None = None,
    reflected: tuple[Sequence[str], DescriptorPool] | None = None,
) -> Iterator[int]:
    """Serve on loopback; gives the port.

    Args:
        handler: what is served.
        port: 0: one that is free.
        tls: the server's certificate; None: in clear text.
        reflected: services that the server's reflection tells of, with their descriptors.
    """
    with ThreadPoolExecutor(8) as pool:
        options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1))
        server = grpc.server(pool, handlers=[handler], options=options)
        if reflected:
            reflection.enable_server_reflection(reflected[0], server, reflected[1])
        address = f"127.0.0.1:{port}"
        bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
        server.start()
        try:
            yield bound
        finally:
            server.stop(0).wait()


def fail(context: grpc.ServicerContext, code: str, details: str = "") -> NoReturn:
    """End a call with a status, by its name."""
    context.abort(grpc.StatusCode[code], details)
    raise AssertionError("abort raises")
