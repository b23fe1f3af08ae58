"""Downloads of models, and a server on loopback that has them, for tests."""

import hashlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, server_context
from tests.http_stand_in import RunningServer
from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.downloads import Received, download
from udfs.models.places import AllowedPlaces

MODEL = bytes(range(256)) * 10_000
Answer = Callable[[BaseHTTPRequestHandler], object]


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


class ModelServer(RunningServer):
    """An http server on loopback whose answers a test gives by path."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        """Path and Host of each."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers["Host"]))
                outer.answers.get(self.path, not_found)(self)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(Handler, context)


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
