"""Downloads of models, and a server on loopback that has them, for tests."""

import hashlib
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, server_context
from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.downloads import Received, download
from udfs.models.places import AllowedPlaces

MODEL = bytes(range(256)) * 10_000
Answer = Callable[[BaseHTTPRequestHandler], object]


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


class ModelServer:
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
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@contextmanager
def trusted_model_server(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server over TLS that has a model at ``/m``.

    Args:
        folder: where files of certificates go.
        host: the one host that its certificate is for.
        monkeypatch: by which its authority is trusted in the test.
    """
    authority = Authority(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    server = ModelServer(server_context(authority, host))
    server.answers["/m"] = body(MODEL)
    try:
        yield server
    finally:
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
