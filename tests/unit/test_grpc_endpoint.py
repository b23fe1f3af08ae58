"""The gRPC transport: what it sends, what it makes of failures, how it is bounded, and how it ends."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from tests.certificates import Authority
from tests.grpc_server import Methods, fail, serving
from tests.ports import held_port
from tests.waiting import wait_until
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes import _grpc
from udfs.remotes._grpc import MAX_MESSAGE_BYTES, GrpcEndpoint
from udfs.remotes._grpc_faults import error_of
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials

T = TypeVar("T")
ECHO, WAIT, FAIL, BIG = "/t.T/Echo", "/t.T/Wait", "/t.T/Fail", "/t.T/Big"
TOKEN = "t0ken-that-nobody-may-see"
TRACE = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]


class Server(Methods):
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
def server() -> Server:
    return Server()


@pytest.fixture(scope="module")
def port(server: Server) -> Iterator[int]:
    with serving(server) as bound:
        yield bound
        server.may_answer.set()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_port(authority: Authority, server: Server) -> Iterator[int]:
    """A server with TLS that asks its clients for no certificate."""
    cert, key = authority.sign("server")
    with serving(server, tls=grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])) as bound:
        yield bound


@pytest.fixture(scope="module")
def mtls_port(authority: Authority, server: Server) -> Iterator[int]:
    """A server that asks its clients for a certificate."""
    cert, key = authority.sign("strict-server")
    pair = [(key.read_bytes(), cert.read_bytes())]
    tls = grpc.ssl_server_credentials(pair, authority.file.read_bytes(), require_client_auth=True)
    with serving(server, tls=tls) as bound:
        yield bound


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


# --- calls ---------------------------------------------------------------------------------------------


def test_bytes_go_there_and_back(port: int) -> None:
    assert echo(f"grpc://127.0.0.1:{port}") == b"hello"


def test_trace_context_goes_as_metadata(server: Server, port: int) -> None:
    echo(f"grpc://127.0.0.1:{port}")
    assert server.seen.metadata["traceparent"] == TRACE[0][1]


@pytest.mark.parametrize("value", ["a\nb", "ümlaut", "a\x00b", "a\x7fb"], ids=repr)
def test_trace_context_that_no_metadata_can_hold_is_left_out(server: Server, port: int, value: str) -> None:
    trace = [("traceparent", value), *TRACE]
    use(f"grpc://127.0.0.1:{port}", lambda endpoint: endpoint.unary(ECHO, b"x", 60, trace))
    assert server.seen.metadata["traceparent"] == TRACE[0][1]


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


def test_several_loops_ask_at_a_time(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(endpoint: GrpcEndpoint) -> list[bytes]:
        return await asyncio.gather(*(endpoint.unary(ECHO, b"%d" % i, 60) for i in range(50)))

    answers: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(use(f"grpc://127.0.0.1:{port}", ask)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[b"%d" % i for i in range(50)]] * 3
    assert not caplog.records


# --- faults --------------------------------------------------------------------------------------------


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
def test_a_status_says_what_may_help(port: int, status: str, fault: Fault) -> None:
    url = f"grpc://127.0.0.1:{port}"
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


def test_a_server_that_comes_back_is_found_again(server: Server) -> None:
    async def ask(endpoint: GrpcEndpoint, own: int) -> bytes:
        with pytest.raises(OffloadError):
            await endpoint.unary(ECHO, b"x", 60)
        with serving(server, port=own):
            for _ in range(400):
                try:
                    return await endpoint.unary(ECHO, b"again", 60)
                except OffloadError:
                    await asyncio.sleep(0.05)
        raise AssertionError("it was never found")

    with held_port() as own:
        assert use(f"grpc://127.0.0.1:{own}", lambda endpoint: ask(endpoint, own)) == b"again"


def test_a_deadline_holds_while_the_server_is_silent(port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{port}", WAIT, seconds=0.2)
    assert error.fault is Fault.PASSING


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_a_deadline_holds_while_a_handshake_hangs(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = error_from(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)
    assert error.fault is Fault.PASSING


def test_an_answer_over_the_bound_is_a_lasting_fault(port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{port}", BIG, b"%d" % (MAX_MESSAGE_BYTES + 1), 60)
    assert error.fault is Fault.LASTING
    assert "larger than max" in str(error)


def test_a_request_over_the_bound_is_its_records_fault(port: int) -> None:
    error = error_from(f"grpc://127.0.0.1:{port}", ECHO, bytes(MAX_MESSAGE_BYTES + 1))
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


# --- TLS and credentials -------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_private_authority_is_trusted_where_it_is_named(
    authority: Authority, tls_port: int, host: str
) -> None:
    assert echo(f"grpcs://{host}:{tls_port}", Credentials(ca_file=str(authority.file))) == b"hello"


def test_an_authority_that_is_not_named_is_not_trusted(tls_port: int) -> None:
    assert "UNAVAILABLE" in str(error_from(f"grpcs://localhost:{tls_port}"))


def test_a_certificate_of_another_host_is_refused(authority: Authority, server: Server) -> None:
    cert, key = authority.sign("other", ("elsewhere.example",))
    tls = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    with serving(server, tls=tls) as port:
        error = error_from(f"grpcs://localhost:{port}", credentials=Credentials(ca_file=str(authority.file)))
    assert error.fault is Fault.PASSING


def test_a_client_shows_its_certificate(authority: Authority, mtls_port: int) -> None:
    cert, key = authority.sign("client")
    credentials = Credentials(
        ca_file=str(authority.file), client_cert_file=str(cert), client_key_file=str(key)
    )
    assert echo(f"grpcs://localhost:{mtls_port}", credentials) == b"hello"


def test_a_client_without_a_certificate_is_refused(authority: Authority, mtls_port: int) -> None:
    error_from(f"grpcs://localhost:{mtls_port}", credentials=Credentials(ca_file=str(authority.file)))


def test_a_server_without_tls_is_not_spoken_to_in_clear_text(authority: Authority, port: int) -> None:
    error_from(f"grpcs://localhost:{port}", credentials=Credentials(ca_file=str(authority.file)))


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_a_load_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "authority.pem"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"authority\.pem"):
        echo("grpcs://localhost:1", Credentials(ca_file=str(path)))


def test_a_bearer_token_goes_as_metadata(server: Server, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    echo(f"grpc://127.0.0.1:{port}", Credentials(bearer_env="TOKEN"))
    assert server.seen.metadata["authorization"] == f"Bearer {TOKEN}"


def test_a_token_that_a_server_repeats_is_in_no_error(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    request = f"UNAUTHENTICATED no right: {TOKEN}".encode()
    error = error_from(f"grpc://127.0.0.1:{port}", FAIL, request, credentials=Credentials(bearer_env="TOKEN"))
    assert "no right: …" in str(error)


def test_metadata_that_can_not_be_sent_is_in_no_error(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    credentials = Credentials(headers_env={"x~y^": "SECRET"})
    error = error_from(f"grpc://127.0.0.1:{port}", credentials=credentials)
    assert TOKEN not in f"{error!r}{error.__cause__!r}"


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
    server: Server, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.seen.requests.clear()

    def found(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    error = error_from(f"grpc://models.example:{port}")
    assert error.fault is Fault.LASTING
    assert "not a public address" in str(error)
    assert not server.seen.requests


def test_calls_in_flight_end_when_it_is_closed(server: Server, port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> OffloadError:
        server.seen.asked.clear()
        call = asyncio.create_task(endpoint.unary(WAIT, b"x", 60))
        await asyncio.to_thread(server.seen.asked.wait, 60)
        await endpoint.close()
        with pytest.raises(OffloadError) as caught:
            await call
        return caught.value

    assert use(f"grpc://127.0.0.1:{port}", ask).fault is Fault.PASSING


def test_a_call_may_be_cancelled(server: Server, port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> bytes:
        server.seen.asked.clear()
        call = asyncio.create_task(endpoint.unary(WAIT, b"x", 60))
        await asyncio.to_thread(server.seen.asked.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await endpoint.unary(ECHO, b"next", 60)

    assert use(f"grpc://127.0.0.1:{port}", ask) == b"next"


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


def test_nothing_is_asked_after_it_was_closed(port: int) -> None:
    async def ask(endpoint: GrpcEndpoint) -> OffloadError:
        await endpoint.close()
        with pytest.raises(OffloadError, match="closed") as caught:
            await endpoint.unary(ECHO, b"x", 60)
        return caught.value

    assert use(f"grpc://127.0.0.1:{port}", ask).fault is Fault.LASTING


def test_no_thread_is_left_when_it_is_closed(port: int) -> None:
    before = set(threading.enumerate())
    echo(f"grpc://127.0.0.1:{port}")
    wait_until(lambda: not {one for one in threading.enumerate() if "channel_spin" in one.name} - before)
