"""Downloads from real servers on loopback: what is fetched, and each thing that must be refused."""

import hashlib
import ipaddress
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.downloads import CHUNK_BYTES, Received, download
from udfs.models.places import AllowedPlaces

MODEL = bytes(range(256)) * 10_000
Answer = Callable[[BaseHTTPRequestHandler], object]


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


class Server:
    """An http server on loopback whose answers a test gives by path."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        """Path and Host of each."""
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers["Host"]))
                outer.answers.get(self.path, not_found)(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                if not isinstance(sys.exception(), OSError):  # a client that hangs up is part of the tests
                    raise

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def body(content: bytes, length: int | None = -1, status: int = 200) -> Answer:
    """Answers with a body; ``length`` is what Content-Length says, -1: the truth, None: nothing."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if length is not None:
            handler.send_header("Content-Length", str(len(content) if length < 0 else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(target: str, status: int = 302) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def fetch(
    uri: str,
    *allow: str,
    private: tuple[str, ...] = (),
    max_bytes: int = 2**30,
    timeout: float = 30.0,
    s3: dict[str, Any] | None = None,
) -> bytes:
    file = BytesIO()
    received = Received(file, max_bytes, "the artifact")
    download(uri, AllowedPlaces(allow, private), received, timeout, s3 or {})
    received.check(hashlib.sha256(file.getvalue()).hexdigest())
    return file.getvalue()


def failure(uri: str, *allow: str, **settings: Any) -> str:
    with pytest.raises(ArtifactError) as caught:
        fetch(uri, *allow, **settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def may_pass(uri: str, *allow: str, **settings: Any) -> bool:
    """Whether a fetch fails for a fault that may pass."""
    with pytest.raises(ArtifactError) as caught:
        fetch(uri, *allow, **settings)
    return isinstance(caught.value, ArtifactUnavailableError)


class TestHttp:
    @pytest.mark.parametrize("length", [-1, None], ids=["with its length", "without"])
    def test_a_body_is_fetched_whole(self, server: Server, length: int | None) -> None:
        server.answers["/m/iris"] = body(MODEL, length)
        assert fetch(f"{server.url}/m/iris", f"{server.url}/m") == MODEL

    def test_an_empty_body_is_fetched(self, server: Server) -> None:
        server.answers["/m"] = body(b"")
        assert fetch(f"{server.url}/m", server.url) == b""

    def test_path_and_query_reach_the_server_as_written(self, server: Server) -> None:
        path = "/m/iris%20v2%2Bb?sig=a%2Fb&c=d%20e"
        server.answers[path] = body(MODEL)
        assert fetch(server.url + path, server.url) == MODEL

    def test_a_place_that_is_not_allowed_is_never_asked(self, server: Server) -> None:
        assert "in none of the allowed places" in failure(f"{server.url}/other", f"{server.url}/m")
        assert server.requests == []

    @pytest.mark.parametrize("status", [404, 403, 500, 304, 206])
    def test_a_status_other_than_200_is_an_error(self, server: Server, status: int) -> None:
        server.answers["/m"] = body(b"", status=status)
        assert f"/m: the server said {status}" in failure(f"{server.url}/m", server.url)

    def test_a_body_that_is_cut_short_is_an_error(self, server: Server) -> None:
        server.answers["/m"] = body(MODEL, len(MODEL) + 1)
        assert "without sending complete message body" in failure(f"{server.url}/m", server.url)

    def test_an_answer_that_is_no_http_is_an_error(self, server: Server) -> None:
        server.answers["/m"] = lambda handler: handler.wfile.write(b"220 mail.example.com\r\n\r\n")
        assert failure(f"{server.url}/m", server.url).startswith(f"{server.url}/m: ")

    def test_what_says_that_it_is_too_large_is_refused_before_it_is_read(self, server: Server) -> None:
        server.answers["/m"] = body(b"", 10**12)
        assert f"{10**12} bytes or more, over artifacts.max_bytes (1000)" in failure(
            f"{server.url}/m", server.url, max_bytes=1000
        )

    def test_what_does_not_say_its_size_is_refused_once_it_is_too_large(self, server: Server) -> None:
        def endless(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while not server.ended.is_set():
                handler.wfile.write(MODEL)

        server.answers["/m"] = endless
        assert "over artifacts.max_bytes (1000)" in failure(f"{server.url}/m", server.url, max_bytes=1000)

    def test_exactly_the_largest_size_is_allowed(self, server: Server) -> None:
        server.answers["/m"] = body(MODEL, None)
        assert fetch(f"{server.url}/m", server.url, max_bytes=len(MODEL)) == MODEL

    def test_an_unreachable_server_is_an_error(self) -> None:
        with socket.socket() as unused:  # bound and not listening: nobody answers here
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            assert failure(f"{url}/m?sig=secret", url).startswith(f"{url}/m: ")

    def test_an_unknown_host_is_an_error(self) -> None:
        assert "nowhere.invalid: no address" in failure("http://nowhere.invalid/m", "http://nowhere.invalid")

    def test_a_server_that_says_nothing_is_left_in_time(self, server: Server) -> None:
        server.answers["/m"] = lambda _: server.ended.wait(60)
        start = time.monotonic()
        assert "not fetched in 0.3 s (artifacts.timeout)" in failure(
            f"{server.url}/m", server.url, timeout=0.3
        )
        assert time.monotonic() - start < 30

    def test_a_server_that_drips_is_left_in_time(self, server: Server) -> None:
        def drip(handler: BaseHTTPRequestHandler) -> None:
            body(b"", 10**6)(handler)
            while not server.ended.wait(0.02):
                handler.wfile.write(b"x")

        server.answers["/m"] = drip
        start = time.monotonic()
        assert "not fetched in 0.3 s" in failure(f"{server.url}/m", server.url, timeout=0.3)
        assert time.monotonic() - start < 30

    def test_errors_do_not_show_the_query(self, server: Server) -> None:
        assert "secret" not in failure(f"{server.url}/gone?sig=secret", server.url)

    def test_no_thread_outlives_a_fetch(self, server: Server) -> None:
        server.answers["/m"] = body(MODEL)
        before = set(threading.enumerate())
        fetch(f"http://localhost:{server.port}/m", f"http://localhost:{server.port}", private=("localhost",))
        assert {t for t in threading.enumerate() if "asyncio" in t.name} <= before

    def test_proxies_of_the_environment_are_not_used(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "")
        server.answers["/m"] = body(MODEL)
        assert fetch(f"{server.url}/m", server.url) == MODEL


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("target", ["/m/b", "b", "{url}/m/b"])
    def test_a_redirect_inside_the_places_is_followed(self, server: Server, target: str, status: int) -> None:
        server.answers["/m/a"] = redirect(target.format(url=server.url), status)
        server.answers["/m/b"] = body(MODEL)
        assert fetch(f"{server.url}/m/a", f"{server.url}/m") == MODEL

    @pytest.mark.parametrize(
        ("target", "cause"),
        [
            pytest.param("/secret", "in none of the allowed places", id="another folder"),
            pytest.param("../secret", "in none of the allowed places", id="out by dots"),
            pytest.param("/m/%2e%2e/secret", ". and .. in a path", id="out by encoded dots"),
            pytest.param("/m-evil/x", "in none of the allowed places", id="the same beginning"),
            pytest.param("http://169.254.169.254/m/x", "in none of the allowed places", id="another address"),
            pytest.param("//evil.test/m/x", "in none of the allowed places", id="another host"),
            pytest.param("http://user@127.0.0.1/m/x", "user info", id="user info"),
            pytest.param("file:///etc/hostname", "in none of the allowed places", id="a file"),
            pytest.param("http://[", "not a URI", id="no URI"),
        ],
    )
    def test_a_redirect_out_of_the_places_is_refused(self, server: Server, target: str, cause: str) -> None:
        server.answers["/m/a"] = redirect(target)
        text = failure(f"{server.url}/m/a", f"{server.url}/m")
        assert text.startswith(f"{server.url}/m/a redirects: ")
        assert cause in text
        assert [path for path, _ in server.requests] == ["/m/a"]

    def test_a_redirect_to_a_file_is_refused_though_its_folder_is_allowed(
        self, server: Server, tmp_path: Path
    ) -> None:
        (tmp_path / "x").write_bytes(MODEL)
        server.answers["/a"] = redirect(f"{tmp_path.as_uri()}/x")
        assert "a redirect to file is refused" in failure(f"{server.url}/a", server.url, tmp_path.as_uri())

    def test_a_redirect_to_a_private_address_is_refused_though_its_host_is_allowed(
        self, server: Server
    ) -> None:
        inside = f"http://localhost:{server.port}"
        server.answers["/a"] = redirect(f"{inside}/b")
        assert "is not a public address" in failure(f"{server.url}/a", server.url, inside)
        assert [path for path, _ in server.requests] == ["/a"]

    def test_an_endless_redirect_is_left(self, server: Server) -> None:
        server.answers["/a"] = redirect("/a")
        assert "more than 5 redirects" in failure(f"{server.url}/a", server.url)


class TestNames:
    """The name is asked for once, and the connection goes to the address that was checked."""

    @staticmethod
    def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
        asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host != "models.test":
                return real(host, port, *rest, **more)
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    def test_the_server_is_told_the_name(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = self.answer_with(monkeypatch, ["127.0.0.1"])
        server.answers["/m"] = body(MODEL)
        place = f"http://models.test:{server.port}"
        assert fetch(f"{place}/m", place, private=("models.test",)) == MODEL
        assert (server.requests, asked) == ([("/m", f"models.test:{server.port}")], ["models.test"])

    def test_a_name_that_has_become_private_is_refused(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer_with(monkeypatch, ["127.0.0.1"])
        place = f"http://models.test:{server.port}"
        assert "models.test: 127.0.0.1 is not a public address" in failure(f"{place}/m", place)
        assert server.requests == []

    def test_the_next_address_is_tried_where_one_is_unreachable(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer_with(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        server.answers["/m"] = body(MODEL)
        place = f"http://models.test:{server.port}"
        assert fetch(f"{place}/m", place, private=("models.test",)) == MODEL


class TestTls:
    @staticmethod
    def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, name: x509.GeneralName) -> Server:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "server.pem"
        path.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        server = Server(context)
        server.answers["/m"] = body(MODEL)
        return server

    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("localhost", x509.DNSName("localhost")),
            ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        ],
    )
    def test_a_certificate_for_the_host_is_trusted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, name: x509.GeneralName
    ) -> None:
        server = self.serve(tmp_path, monkeypatch, name)
        try:
            place = f"https://{host}:{server.port}"
            assert fetch(f"{place}/m", place, private=(host,)) == MODEL
        finally:
            server.close()

    def test_a_certificate_for_the_address_alone_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        server = self.serve(tmp_path, monkeypatch, address)
        try:
            place = f"https://localhost:{server.port}"
            assert "CERTIFICATE_VERIFY_FAILED" in failure(f"{place}/m", place, private=("localhost",))
        finally:
            server.close()


class TestFiles:
    def test_a_file_is_fetched(self, tmp_path: Path) -> None:
        (tmp_path / "a model").write_bytes(MODEL)
        assert fetch(f"{tmp_path.as_uri()}/a%20model", tmp_path.as_uri()) == MODEL

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        assert "x: No such file or directory" in failure(f"{tmp_path.as_uri()}/x", tmp_path.as_uri())

    def test_a_folder_is_an_error(self, tmp_path: Path) -> None:
        assert "Is a directory" in failure(tmp_path.as_uri(), tmp_path.as_uri())

    def test_a_named_pipe_is_an_error_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in failure(f"{tmp_path.as_uri()}/pipe", tmp_path.as_uri())

    def test_a_file_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(MODEL)
        assert f"{len(MODEL)} bytes or more, over artifacts.max_bytes" in failure(
            f"{tmp_path.as_uri()}/x", tmp_path.as_uri(), max_bytes=len(MODEL) - 1
        )

    def test_a_link_that_takes_the_place_of_a_checked_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / "x").write_bytes(b"model")
        (tmp_path / "secret").write_bytes(b"secret")
        places = AllowedPlaces([folder.as_uri()])
        location = places.check(f"{folder.as_uri()}/x")
        (folder / "x").unlink()
        (folder / "x").symlink_to(tmp_path / "secret")
        monkeypatch.setattr(places, "check", lambda _: location)
        with pytest.raises(ArtifactError, match="symbolic link"):
            download(f"{folder.as_uri()}/x", places, Received(BytesIO(), 100, "x"), 10, {})

    def test_a_link_that_takes_the_place_of_a_checked_folder_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, others = tmp_path / "models" / "iris", tmp_path / "others"
        for one in (folder, others):
            one.mkdir(parents=True)
            (one / "x").write_bytes(b"model")
        places = AllowedPlaces([folder.parent.as_uri()])
        location = places.check(f"{folder.as_uri()}/x")
        folder.rename(tmp_path / "moved")
        folder.symlink_to(others)
        monkeypatch.setattr(places, "check", lambda _: location)
        with pytest.raises(ArtifactError, match="another file took its place"):
            download(f"{folder.as_uri()}/x", places, Received(BytesIO(), 100, "x"), 10, {})


class TestFaultsThatMayPass:
    """They are told from those that stay, because fetching again can help."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_a_server_that_may_do_better_later(self, server: Server, status: int) -> None:
        server.answers["/m"] = body(b"", status=status)
        assert may_pass(f"{server.url}/m", server.url)

    @pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416])
    def test_a_server_that_will_say_the_same_again(self, server: Server, status: int) -> None:
        server.answers["/m"] = body(b"", None, status=status)
        assert not may_pass(f"{server.url}/m", server.url)

    def test_a_server_that_is_down(self) -> None:
        with socket.socket() as unused:  # bound and not listening: nobody answers here
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            assert may_pass(f"{url}/m", url)

    def test_a_server_that_hangs_up(self, server: Server) -> None:
        server.answers["/m"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
        assert may_pass(f"{server.url}/m", server.url)

    def test_a_body_that_is_cut_short(self, server: Server) -> None:
        server.answers["/m"] = body(MODEL, len(MODEL) + 1)
        assert may_pass(f"{server.url}/m", server.url)

    def test_a_server_that_is_too_slow(self, server: Server) -> None:
        server.answers["/m"] = lambda _: server.ended.wait(60)
        assert may_pass(f"{server.url}/m", server.url, timeout=0.3)

    def test_a_host_without_an_address(self) -> None:
        assert may_pass("http://nowhere.invalid/m", "http://nowhere.invalid")

    def test_a_name_that_no_host_can_have(self) -> None:
        name = "http://" + "a" * 64 + ".test"
        assert not may_pass(f"{name}/m", name)

    def test_a_server_that_may_do_better_later_after_a_redirect(self, server: Server) -> None:
        server.answers["/a"] = redirect("/b")
        server.answers["/b"] = body(b"", status=503)
        assert may_pass(f"{server.url}/a", server.url)

    def test_a_redirect_out_of_the_places(self, server: Server) -> None:
        server.answers["/m/a"] = redirect("/secret")
        assert not may_pass(f"{server.url}/m/a", f"{server.url}/m")

    def test_a_certificate_that_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        server = TestTls.serve(tmp_path, monkeypatch, address)
        try:
            place = f"https://localhost:{server.port}"
            assert not may_pass(f"{place}/m", place, private=("localhost",))
        finally:
            server.close()

    def test_what_is_too_large(self, server: Server) -> None:
        server.answers["/m"] = body(MODEL)
        assert not may_pass(f"{server.url}/m", server.url, max_bytes=1000)

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        assert not may_pass(f"{tmp_path.as_uri()}/x", tmp_path.as_uri())


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Options for a server of S3 on loopback that has a model in its bucket ``models``."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "region": "us-east-1", "key": "k", "secret": "s"}
    client = boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="iris/a model", Body=MODEL)
    client.close()
    yield options
    server.stop()


class TestS3:
    PLACE = "s3://models/iris"
    MODEL_URI = "s3://models/iris/a%20model"

    def test_an_object_is_fetched(self, s3: dict[str, Any]) -> None:
        assert len(MODEL) > CHUNK_BYTES
        assert fetch(self.MODEL_URI, self.PLACE, s3=s3) == MODEL

    def test_the_region_may_be_given_as_s3fs_takes_it(self, s3: dict[str, Any]) -> None:
        options = {**s3, "client_kwargs": {"region_name": "us-east-1"}}
        del options["region"]
        assert fetch(self.MODEL_URI, self.PLACE, s3=options) == MODEL

    def test_an_object_outside_is_refused(self, s3: dict[str, Any]) -> None:
        assert "in none of" in failure("s3://models/iris-evil/x", self.PLACE, s3=s3)

    def test_a_missing_object_is_an_error(self, s3: dict[str, Any]) -> None:
        assert "s3://models/iris/gone: FileNotFoundError: " in failure(
            f"{self.PLACE}/gone", self.PLACE, s3=s3
        )

    def test_an_object_that_is_too_large_is_refused(self, s3: dict[str, Any]) -> None:
        assert f"{len(MODEL)} bytes or more, over artifacts.max_bytes" in failure(
            self.MODEL_URI, self.PLACE, s3=s3, max_bytes=1000
        )

    def test_a_server_that_says_nothing_is_left_in_time(self, s3: dict[str, Any], server: Server) -> None:
        server.answers["/models/iris/x"] = lambda _: server.ended.wait(60)
        options = {**s3, "endpoint_url": server.url}
        assert "not fetched in 0.5 s" in failure(f"{self.PLACE}/x", self.PLACE, s3=options, timeout=0.5)

    def test_a_body_that_is_cut_short_is_an_error(self, s3: dict[str, Any], server: Server) -> None:
        server.answers["/models/iris/x"] = body(MODEL, len(MODEL) + 1)
        options = {**s3, "endpoint_url": server.url}
        assert failure(f"{self.PLACE}/x", self.PLACE, s3=options).startswith("s3://models/iris/x: ")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_server_that_may_do_better_later_is_told_from_others(
        self, s3: dict[str, Any], server: Server, status: int
    ) -> None:
        server.answers["/models/iris/x"] = body(b"", status=status)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, server))

    def test_a_server_that_asks_to_slow_down_may_do_better_later(
        self, s3: dict[str, Any], server: Server
    ) -> None:
        slow_down = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
        server.answers["/models/iris/x"] = body(slow_down, status=400)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, server))

    def test_a_body_that_is_cut_short_may_be_whole_later(self, s3: dict[str, Any], server: Server) -> None:
        server.answers["/models/iris/x"] = body(MODEL, len(MODEL) + 1)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, server))

    def test_a_server_that_is_down_may_come_back(self, s3: dict[str, Any], server: Server) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            options = {**self.impatient(s3, server), "endpoint_url": url}
            assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=options)

    @pytest.mark.parametrize("status", [400, 403, 404])
    def test_what_is_refused_stays_refused(self, s3: dict[str, Any], server: Server, status: int) -> None:
        server.answers["/models/iris/x"] = body(b"", status=status)
        assert not may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, server))

    @staticmethod
    def impatient(s3: dict[str, Any], server: Server) -> dict[str, Any]:
        """Options for a server that a test answers for, without the retries of botocore."""
        config = {"retries": {"max_attempts": 0}}
        return {**s3, "endpoint_url": server.url, "config_kwargs": config}

    def test_a_redirect_of_the_endpoint_is_not_followed(self, s3: dict[str, Any], server: Server) -> None:
        server.answers["/models/iris/x"] = redirect("/secret")
        server.answers["/secret"] = body(MODEL)
        options = {**s3, "endpoint_url": server.url}
        failure(f"{self.PLACE}/x", self.PLACE, s3=options, timeout=60)
        assert "/secret" not in [path for path, _ in server.requests]

    def test_an_unknown_option_is_an_error(self, s3: dict[str, Any]) -> None:
        assert "no_such_option" in failure(self.MODEL_URI, self.PLACE, s3={**s3, "no_such_option": 1})

    def test_no_thread_outlives_a_fetch(self, s3: dict[str, Any]) -> None:
        before = set(threading.enumerate())
        fetch(self.MODEL_URI, self.PLACE, s3=s3)
        left = set(threading.enumerate()) - before
        assert not [t.name for t in left if t.name.startswith(("asyncio", "fsspec"))]

    def test_without_the_library_the_group_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        assert failure(self.MODEL_URI, self.PLACE).endswith(
            "needs s3fs, which is not installed: pip install 'modelstream[s3]'"
        )
