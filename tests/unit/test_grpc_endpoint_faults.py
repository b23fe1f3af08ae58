"""The gRPC transport: what it makes of failures, and how it is bounded."""

import asyncio
import socket
import threading

import grpc
import pytest

from tests.grpc_endpoints import BIG, ECHO, FAIL, WAIT, EchoServer, echo, error_from, use
from tests.grpc_server import Methods, serving
from tests.ports import held_port
from udfs.errors import Fault, OffloadError
from udfs.remotes._grpc import MAX_MESSAGE_BYTES, GrpcEndpoint
from udfs.remotes._grpc_faults import error_of


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((name, Fault.RECORD) for name in ("INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION")),
        *((name, Fault.UNCLEAR) for name in ("INTERNAL", "UNKNOWN")),
        *((name, Fault.PASSING) for name in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")),
        *((name, Fault.PASSING) for name in ("ABORTED", "CANCELLED")),
        *((name, Fault.LASTING) for name in ("UNIMPLEMENTED", "NOT_FOUND", "UNAUTHENTICATED")),
        *((name, Fault.LASTING) for name in ("PERMISSION_DENIED", "ALREADY_EXISTS", "DATA_LOSS")),
    ],
)
def test_a_status_says_what_may_help(grpc_port: int, status: str, fault: Fault) -> None:
    url = f"grpc://127.0.0.1:{grpc_port}"
    error = error_from(url, FAIL, f"{status} it is so".encode())
    assert error.fault is fault
    assert str(error) == f"t.T/Fail at {url}: {status}: it is so"


@pytest.mark.parametrize(
    ("status", "details", "fault"),
    [
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5 vs. 4)", Fault.RECORD),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5 vs. 4)", Fault.RECORD),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 4194305", Fault.RECORD),
        ("RESOURCE_EXHAUSTED", "CLIENT: Received message larger than max (5 vs. 4)", Fault.LASTING),
        ("INTERNAL", "Received RST_STREAM with error code 2", Fault.PASSING),
        ("UNKNOWN", "Stream removed", Fault.PASSING),
    ],
)
def test_details_say_more_than_some_statuses(status: str, details: str, fault: Fault) -> None:
    assert error_of("t.T/Echo", grpc.StatusCode[status], details).fault is fault


def test_details_are_bounded_to_one_line() -> None:
    text = str(error_of("t.T/Echo", grpc.StatusCode.INTERNAL, "no\n\tgood\x1b[31m" + "x" * 100_000))
    assert text.startswith("t.T/Echo: INTERNAL: no good [31mxxx")
    assert text.isprintable()
    assert len(text) < 350


@pytest.mark.parametrize(
    ("said", "seconds"), [("1500", 1.5), ("-1", None), ("soon", None), ("9" * 5000, 3600), ("", None)]
)
def test_a_server_may_ask_to_be_left_alone(said: str, seconds: float | None) -> None:
    trailers = [("grpc-retry-pushback-ms", said)]
    assert error_of("t.T/Echo", grpc.StatusCode.UNAVAILABLE, "", trailers).retry_after == seconds


def test_nobody_listening_is_a_passing_fault() -> None:
    with held_port() as port:
        error = error_from(f"grpc://127.0.0.1:{port}")
    assert error.fault is Fault.PASSING
    assert f"t.T/Echo at grpc://127.0.0.1:{port}: UNAVAILABLE: " in str(error)


def test_a_server_that_comes_back_is_found_again(grpc_server: EchoServer) -> None:
    async def ask(endpoint: GrpcEndpoint, own: int) -> bytes:
        with pytest.raises(OffloadError):
            await endpoint.unary(ECHO, b"x", 60)
        with serving(grpc_server, port=own):
            for _ in range(400):
                try:
                    return await endpoint.unary(ECHO, b"again", 60)
                except OffloadError:
                    await asyncio.sleep(0.05)
        raise AssertionError("it was never found")

    with held_port() as own:
        assert use(f"grpc://127.0.0.1:{own}", lambda endpoint: ask(endpoint, own)) == b"again"


def test_a_deadline_holds_while_the_server_is_silent(grpc_port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{grpc_port}", WAIT, seconds=0.2)
    assert error.fault is Fault.PASSING


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_a_deadline_holds_while_a_handshake_hangs(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = error_from(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
    assert error.fault is Fault.PASSING


def test_an_answer_over_the_bound_is_a_lasting_fault(grpc_port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{grpc_port}", BIG, b"%d" % (MAX_MESSAGE_BYTES + 1), 60)
    assert error.fault is Fault.LASTING
    assert "larger than max" in str(error)


def test_a_request_over_the_bound_is_its_records_fault(grpc_port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{grpc_port}", ECHO, bytes(MAX_MESSAGE_BYTES + 1))
    assert error.fault is Fault.RECORD


def test_a_compressed_answer_is_refused_before_it_is_unpacked() -> None:
    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return bytes(MAX_MESSAGE_BYTES * 2)

    with serving(Methods({ECHO: answer})) as port, pytest.raises(OffloadError, match=r"gzip.*disabled"):
        echo(f"grpc://127.0.0.1:{port}", seconds=60)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 500,
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03",
    ],
    ids=["nothing", "http/1.1", "zeros", "half a frame"],
)
def test_a_server_that_speaks_no_grpc_is_a_fault(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        error = error_from(f"grpc://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert error.fault is Fault.PASSING
