"""Credentials: names and paths only in the configuration, read where a remote is made, never shown."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.certificates import Authority, Identity
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.remotes.credentials import Credentials, Secrets, open_credentials


def decoded(**fields: Any) -> Credentials:
    return msgspec.convert(fields, Credentials)


def load_error(**fields: Any) -> str:
    with pytest.raises(ModelLoadError) as caught:
        Secrets("fraud", decoded(**fields))
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"bearer_env": "A", "bearer_file": "/b"}, "expected one of them"),
        ({"client_key_file": "/k"}, "expected client_cert_file with it"),
        ({"headers_env": {"x key": "A"}}, "expected names of headers"),
        ({"headers_env": {"": "A"}}, "expected names of headers"),
        ({"headers_env": {"X-Key": "A", "x-key": "B"}}, "each once"),
        ({"bearer_env": "A", "headers_env": {"Authorization": "B"}}, "the header of the bearer token too"),
        ({"token": "secret"}, "unknown field"),
        ({"servers": ["https://models.example.com"]}, "servers: expected HOST, HOST:PORT or"),
        ({"servers": ["*"]}, "servers: expected HOST, HOST:PORT or"),
        ({"servers": ["models.*"]}, "servers: expected HOST, HOST:PORT or"),
        ({"servers": ["models.example.com:0"]}, "servers: expected HOST, HOST:PORT or"),
        ({"servers": ["models.example.com\n"]}, "servers: expected HOST, HOST:PORT or"),
    ],
)
def test_a_configuration_that_can_t_work_is_refused(fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=cause):
        decoded(**fields)


def test_a_token_of_the_environment_is_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", " abc \n")
    assert Secrets("fraud", decoded(bearer_env="TOKEN")).headers() == {"authorization": "Bearer abc"}


def test_other_headers_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "abc def")
    assert Secrets("fraud", decoded(headers_env={"X-Api-Key": "KEY"})).headers() == {"x-api-key": "abc def"}


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    assert load_error(bearer_env="TOKEN") == "credentials fraud: environment variable TOKEN is not set"


@pytest.mark.parametrize("value", ["se cret", "secret\r\nx-evil: 1", "sécret", "sec\x01ret"])
def test_a_token_that_no_header_can_have_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TOKEN", value)
    text = load_error(bearer_env="TOKEN")
    assert text == "credentials fraud: environment variable TOKEN holds what no header can"


class TestTokenFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "token"
        file.write_text("first\n")
        return file

    def test_a_token_of_a_file_is_a_header(self, file: Path) -> None:
        secrets = Secrets("fraud", decoded(bearer_file=str(file)))
        assert secrets.headers() == {"authorization": "Bearer first"}

    def test_a_file_that_changed_is_read_again(self, file: Path) -> None:
        secrets = Secrets("fraud", decoded(bearer_file=str(file)))
        file.write_text("second\n")
        assert secrets.headers() == {"authorization": "Bearer second"}

    def test_another_file_in_its_place_is_read(self, file: Path, tmp_path: Path) -> None:
        secrets = Secrets("fraud", decoded(bearer_file=str(file)))
        other = tmp_path / "other"
        other.write_text("other\n")
        other.rename(file)
        assert secrets.headers() == {"authorization": "Bearer other"}

    @pytest.mark.parametrize(
        ("content", "cause"),
        [(b"", "holds no bearer token"), (b"a b", "holds no bearer token"), (b"\xff", "not a text of ASCII")],
    )
    def test_a_file_without_a_token_is_refused(self, file: Path, content: bytes, cause: str) -> None:
        file.write_bytes(content)
        assert load_error(bearer_file=str(file)).startswith(f"credentials fraud: {file}: {cause}")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere"
        expected = f"credentials fraud: {path}: No such file or directory"
        assert load_error(bearer_file=str(path)) == expected

    def test_a_file_that_is_gone_later_may_come_back(self, file: Path) -> None:
        secrets = Secrets("fraud", decoded(bearer_file=str(file)))
        file.unlink()
        with pytest.raises(OffloadError, match="No such file") as caught:
            secrets.headers()
        assert caught.value.fault is Fault.PASSING
        file.write_text("back")
        assert secrets.headers() == {"authorization": "Bearer back"}


def with_client(authority: Authority) -> tuple[Secrets, Identity]:
    """Secrets with a certificate for clients, and its files."""
    first = authority.sign("first")
    files = {"client_cert_file": str(first.cert), "client_key_file": str(first.key)}
    return Secrets("fraud", decoded(ca_file=str(authority.file), **files)), first


def shown_by(secrets: Secrets, authority: Authority) -> bytes | None:
    """The certificate that a server gets to see on a new connection."""
    context, asking = secrets.ssl_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert context is not None
    asking.load_cert_chain(*authority.sign("server"))
    asking.load_verify_locations(authority.file)
    asking.verify_mode = ssl.CERT_REQUIRED
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = asking.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return server.getpeercert(binary_form=True)


class TestTls:
    def test_without_files_nothing_is_said_of_tls(self) -> None:
        assert Secrets("fraud", Credentials()).ssl_context() is None

    def test_the_bytes_of_the_files_are_given(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        cert, key = authority.sign("client")
        files = Secrets(
            "fraud",
            decoded(ca_file=str(authority.file), client_cert_file=str(cert), client_key_file=str(key)),
        ).tls_files()
        assert files == (authority.file.read_bytes(), cert.read_bytes(), key.read_bytes())

    def test_a_certificate_and_its_key_may_be_in_one_file(self, tmp_path: Path) -> None:
        cert, key = Authority(tmp_path).sign("client")
        both = tmp_path / "both.pem"
        both.write_bytes(cert.read_bytes() + key.read_bytes())
        files = Secrets("fraud", decoded(client_cert_file=str(both))).tls_files()
        assert files == (None, both.read_bytes(), both.read_bytes())

    @pytest.mark.parametrize("field", ["ca_file", "client_cert_file"])
    def test_a_missing_file_is_named(self, tmp_path: Path, field: str) -> None:
        path = str(tmp_path / "nowhere")
        assert load_error(**{field: path}) == f"credentials fraud: {path}: No such file or directory"

    @pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
    def test_a_file_without_certificates_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "ca.pem"
        path.write_bytes(content)
        assert load_error(ca_file=str(path)).startswith(f"credentials fraud: {path}: no PEM certificates")

    def test_the_key_of_another_certificate_is_refused(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        cert, key = authority.sign("client").cert, authority.sign("other").key
        text = load_error(client_cert_file=str(cert), client_key_file=str(key))
        assert text.startswith(f"credentials fraud: {cert} and {key}: expected a PEM certificate and its key")

    def test_a_client_certificate_that_changed_is_shown(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        secrets, first = with_client(authority)
        second = authority.sign("second")
        first.cert.write_bytes(second.cert.read_bytes())
        first.key.write_bytes(second.key.read_bytes())
        secrets.headers()
        assert shown_by(secrets, authority) == ssl.PEM_cert_to_DER_cert(second.cert.read_text())

    def test_half_of_a_new_pair_leaves_the_old_one(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        secrets, first = with_client(authority)
        before = first.cert.read_text()
        first.cert.write_bytes(authority.sign("second").cert.read_bytes())
        secrets.headers()
        assert shown_by(secrets, authority) == ssl.PEM_cert_to_DER_cert(before)

    def test_the_other_half_makes_it_shown(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        secrets, first = with_client(authority)
        second = authority.sign("second")
        first.cert.write_bytes(second.cert.read_bytes())
        secrets.headers()
        first.key.write_bytes(second.key.read_bytes())
        secrets.headers()
        assert shown_by(secrets, authority) == ssl.PEM_cert_to_DER_cert(second.cert.read_text())

    def test_an_encrypted_key_is_refused_and_no_password_asked_for(self, tmp_path: Path) -> None:
        cert, key = Authority(tmp_path).sign("client")
        private = load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
        )
        text = load_error(client_cert_file=str(cert), client_key_file=str(key))
        assert "not encrypted" in text


class TestServers:
    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("models.example.com", "models.example.com", 443),
            ("Models.Example.com.", "models.example.com", 1),
            ("models.example.com:8081", "models.example.com", 8081),
            ("*.example.com", "a.b.example.com", 443),
            ("10.0.0.7:80", "10.0.0.7", 80),
            ("[::1]:80", "0:0::1", 80),
        ],
    )
    def test_a_server_that_is_named_may_see_them(self, pattern: str, host: str, port: int) -> None:
        assert decoded(servers=["other", pattern]).may_go_to(host, port)

    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("models.example.com", "evil.example.com", 443),
            ("models.example.com", "models.example.com.evil.com", 443),
            ("models.example.com:8081", "models.example.com", 8082),
            ("models.example.com:8081", "models.example.com", None),
            ("*.example.com", "example.com", 443),
            ("*.example.com", "evilexample.com", 443),
            ("10.0.0.7", "10.0.0.70", 80),
        ],
    )
    def test_another_may_not(self, pattern: str, host: str, port: int | None) -> None:
        assert not decoded(servers=[pattern]).may_go_to(host, port)

    def test_without_servers_every_one_may(self) -> None:
        assert Credentials().may_go_to("models.example.com", 443)


class TestByName:
    def test_no_name_is_no_credentials(self) -> None:
        assert open_credentials({}, None).headers() == {}

    def test_an_unknown_name_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(ModelLoadError) as caught:
            open_credentials({"a": Credentials(), "b": Credentials()}, "c")
        assert str(caught.value) == "option credentials: 'c' is not in offload.credentials (a, b)"

    def test_where_there_are_none_that_is_said(self) -> None:
        with pytest.raises(ModelLoadError, match=r"\(there are none\)"):
            open_credentials({}, "c")


def test_secrets_have_no_text_that_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "xyzzy")
    secrets = Secrets("fraud", decoded(bearer_env="TOKEN"))
    assert "xyzzy" not in repr(secrets) + str(secrets)


def test_secrets_are_hidden_in_what_a_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "xyzzy")
    monkeypatch.setenv("KEY", "plugh")
    secrets = Secrets("fraud", decoded(bearer_env="TOKEN", headers_env={"x-key": "KEY"}))
    assert secrets.hide("Bearer xyzzy with plugh is wrong") == "Bearer … with … is wrong"
