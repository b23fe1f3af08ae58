"""gRPC endpoints in use, and a server that they ask, for tests."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

import grpc
import pytest

from tests.grpc_server import Methods, fail, serving
from udfs.errors import OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials

T = TypeVar("T")
ECHO, WAIT, FAIL, BIG = "/t.T/Echo", "/t.T/Wait", "/t.T/Fail", "/t.T/Big"
TRACE = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]


class EchoServer(Methods):
    """Echoes, waits, fails as it is told, or answers too much."""

    def __init__(self) -> None:
        super().__init__(
            {
                ECHO: lambda request, _: request,
                WAIT: self._wait,
                FAIL: lambda request, context: fail(context, *request.decode().split(" ", 1)),
                BIG: lambda request, _: bytes(int(request)),
            }
        )
        self.may_answer = threading.Event()

    def _wait(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        self.may_answer.wait(20)
        return request


@pytest.fixture(scope="module")
def grpc_server() -> EchoServer:
    return EchoServer()


@pytest.fixture(scope="module")
def grpc_port(grpc_server: EchoServer) -> Iterator[int]:
    with serving(grpc_server) as bound:
        yield bound
        grpc_server.may_answer.set()


def use(
    url: str,
    ask: Callable[[GrpcEndpoint], Awaitable[T]],
    credentials: Credentials | None = None,
    allow: str | None = None,
) -> T:
    """Use an endpoint on a loop of its own, then close it."""
    known: Mapping[str, Credentials] = {"own": credentials} if credentials else {}

    async def whole() -> T:
        places = AllowedPlaces([allow or url], ["localhost"])
        endpoint = GrpcEndpoint(url, Surroundings(places, known), "own" if known else None)
        try:
            return await ask(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(whole())


def echo(url: str, credentials: Credentials | None = None, seconds: float = 60) -> bytes:
    return use(url, lambda endpoint: endpoint.unary(ECHO, b"hello", seconds, TRACE), credentials)


def error_from(
    url: str,
    method: str = ECHO,
    request: bytes = b"x",
    seconds: float = 60,
    credentials: Credentials | None = None,
) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        use(url, lambda endpoint: endpoint.unary(method, request, seconds), credentials)
    return caught.value
