"""The gRPC transport: what it sends, where it may go, and how it ends."""

import asyncio
import socket
import threading

import pytest

from tests.grpc_endpoints import ECHO, TRACE, WAIT, EchoServer, echo, error_from, use
from tests.waiting import wait_until
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.remotes import _grpc
from udfs.remotes._grpc import GrpcEndpoint

# --- calls ---------------------------------------------------------------------------------------------


def test_bytes_go_there_and_back(grpc_port: int) -> None:
    assert echo(f"grpc://127.0.0.1:{grpc_port}") == b"hello"


def test_trace_context_goes_as_metadata(grpc_server: EchoServer, grpc_port: int) -> None:
    echo(f"grpc://127.0.0.1:{grpc_port}")
    assert grpc_server.seen.metadata["traceparent"] == TRACE[0][1]


@pytest.mark.parametrize("value", ["a\nb", "ümlaut", "a\x00b", "a\x7fb"], ids=repr)
def test_trace_context_that_no_metadata_can_hold_is_left_out(
    grpc_server: EchoServer, grpc_port: int, value: str
) -> None:
    trace = [("traceparent", value), *TRACE]
    use(f"grpc://127.0.0.1:{grpc_port}", lambda endpoint: endpoint.unary(ECHO, b"x", 60, trace))
    assert grpc_server.seen.metadata["traceparent"] == TRACE[0][1]


def test_the_authority_is_the_host_that_was_published() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        expected, received = f"localhost:{port}".encode(), bytearray()

        def listen() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # empty settings
                while expected not in received and (chunk := connection.recv(4096)):
                    received.extend(chunk)

        thread = threading.Thread(target=listen)
        thread.start()
        error_from(f"grpc://localhost:{port}", seconds=20)
        thread.join()
    assert expected in received


def test_several_loops_ask_at_a_time(grpc_port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(endpoint: GrpcEndpoint) -> list[bytes]:
        return await asyncio.gather(*(endpoint.unary(ECHO, b"%d" % i, 60) for i in range(50)))

    answers: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(use(f"grpc://127.0.0.1:{grpc_port}", ask)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[b"%d" % i for i in range(50)]] * 3
    assert not caplog.records


# --- where it may go, and how it ends ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["grpc://127.0.0.1:1", "http://127.0.0.1:80", "grpc://127.0.0.1", "grpc://", "iris"]
)
def test_an_endpoint_that_is_not_allowed_is_a_load_error(url: str) -> None:
    with pytest.raises(ModelLoadError, match="option url"):
        use(url, lambda endpoint: endpoint.close(), allow="grpc://127.0.0.1:2")


def test_another_scheme_is_a_load_error() -> None:
    with pytest.raises(ModelLoadError, match="grpc"):
        use("http://127.0.0.1:80", lambda endpoint: endpoint.close())


def test_a_host_that_gets_a_private_address_is_not_asked(
    grpc_server: EchoServer, grpc_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    grpc_server.seen.requests.clear()

    def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", grpc_port))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    error = error_from(f"grpc://models.example:{grpc_port}")
    assert error.fault is Fault.LASTING
    assert "not a public address" in str(error)
    assert not grpc_server.seen.requests


def test_calls_in_flight_end_when_it_is_closed(grpc_server: EchoServer, grpc_port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> OffloadError:
        grpc_server.seen.asked.clear()
        call = asyncio.create_task(endpoint.unary(WAIT, b"x", 60))
        await asyncio.to_thread(grpc_server.seen.asked.wait, 60)
        await endpoint.close()
        with pytest.raises(OffloadError) as caught:
            await call
        return caught.value

    assert use(f"grpc://127.0.0.1:{grpc_port}", ask).fault is Fault.PASSING


def test_a_call_may_be_cancelled(grpc_server: EchoServer, grpc_port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> bytes:
        grpc_server.seen.asked.clear()
        call = asyncio.create_task(endpoint.unary(WAIT, b"x", 60))
        await asyncio.to_thread(grpc_server.seen.asked.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await endpoint.unary(ECHO, b"next", 60)

    assert use(f"grpc://127.0.0.1:{grpc_port}", ask) == b"next"


def test_after_a_call_that_was_cancelled_another_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = {**dict(_grpc._CHANNEL_OPTIONS), "grpc.min_reconnect_backoff_ms": 60_000}
    monkeypatch.setattr(_grpc, "_CHANNEL_OPTIONS", tuple(patient.items()))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Half of what the library itself would wait now before it tries again.
        listening.settimeout(30)

        async def ask(endpoint: GrpcEndpoint) -> None:
            for _ in range(2):
                call = asyncio.create_task(endpoint.unary(ECHO, b"x", 60))
                accepted.append((await asyncio.to_thread(listening.accept))[0])
                call.cancel()
                await asyncio.wait([call])

        accepted: list[socket.socket] = []
        use(f"grpc://127.0.0.1:{listening.getsockname()[1]}", ask)
        for connection in accepted:
            connection.close()
    assert len(accepted) == 2


def test_nothing_is_asked_after_it_was_closed(grpc_port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> OffloadError:
        await endpoint.close()
        with pytest.raises(OffloadError, match="closed") as caught:
            await endpoint.unary(ECHO, b"x", 60)
        return caught.value

    assert use(f"grpc://127.0.0.1:{grpc_port}", ask).fault is Fault.LASTING


def test_no_thread_is_left_when_it_is_closed(grpc_port: int) -> None:
    before = set(threading.enumerate())
    echo(f"grpc://127.0.0.1:{grpc_port}")
    wait_until(lambda: not {one for one in threading.enumerate() if "channel_spin" in one.name} - before)
