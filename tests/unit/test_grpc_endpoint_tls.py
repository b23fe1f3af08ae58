"""The gRPC transport: whom it trusts over TLS, and which credentials it shows."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.certificates import Authority
from tests.grpc_endpoints import FAIL, EchoServer, echo, error_from
from tests.grpc_server import serving
from udfs.errors import Fault, ModelLoadError
from udfs.remotes.credentials import Credentials

TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_port(authority: Authority, grpc_server: EchoServer) -> Iterator[int]:
    """A server with TLS that asks its clients for no certificate."""
    cert, key = authority.sign("server")
    with serving(
        grpc_server, tls=grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    ) as bound:
        yield bound


@pytest.fixture(scope="module")
def mtls_port(authority: Authority, grpc_server: EchoServer) -> Iterator[int]:
    """A server that asks its clients for a certificate."""
    cert, key = authority.sign("strict-server")
    pair = [(key.read_bytes(), cert.read_bytes())]
    tls = grpc.ssl_server_credentials(pair, authority.file.read_bytes(), require_client_auth=True)
    with serving(grpc_server, tls=tls) as bound:
        yield bound


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_private_authority_is_trusted_where_it_is_named(
    authority: Authority, tls_port: int, host: str
) -> None:
    assert echo(f"grpcs://{host}:{tls_port}", Credentials(ca_file=str(authority.file))) == b"hello"


def test_an_authority_that_is_not_named_is_not_trusted(tls_port: int) -> None:
    assert "UNAVAILABLE" in str(error_from(f"grpcs://localhost:{tls_port}"))


def test_a_certificate_of_another_host_is_refused(authority: Authority, grpc_server: EchoServer) -> None:
    cert, key = authority.sign("other", ("elsewhere.example",))
    tls = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    with serving(grpc_server, tls=tls) as port:
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


def test_a_server_without_tls_is_not_spoken_to_in_clear_text(authority: Authority, grpc_port: int) -> None:
    error_from(f"grpcs://localhost:{grpc_port}", credentials=Credentials(ca_file=str(authority.file)))


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_a_load_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "authority.pem"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"authority\.pem"):
        echo("grpcs://localhost:1", Credentials(ca_file=str(path)))


def test_a_bearer_token_goes_as_metadata(
    grpc_server: EchoServer, grpc_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    echo(f"grpc://127.0.0.1:{grpc_port}", Credentials(bearer_env="TOKEN"))
    assert grpc_server.seen.metadata["authorization"] == f"Bearer {TOKEN}"


def test_a_token_that_a_server_repeats_is_in_no_error(
    grpc_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    request = f"UNAUTHENTICATED no right: {TOKEN}".encode()
    error = error_from(
        f"grpc://127.0.0.1:{grpc_port}", FAIL, request, credentials=Credentials(bearer_env="TOKEN")
    )
    assert "no right: …" in str(error)


def test_metadata_that_can_not_be_sent_is_in_no_error(
    grpc_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    credentials = Credentials(headers_env={"x~y^": "SECRET"})
    error = error_from(f"grpc://127.0.0.1:{grpc_port}", credentials=credentials)
    assert TOKEN not in f"{error!r}{error.__cause__!r}"
