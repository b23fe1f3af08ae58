"""A stand-in for HTTP servers, on loopback: it answers as a test says, and keeps what it was asked."""

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes
    connection: int
    """The port of the client, which tells connections apart."""


class Answer(NamedTuple):
    """What a request is answered with."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    length: int | None = -1
    """What Content-Length says; -1: the truth, None: nothing, and the end of the connection says it."""


Answers = Callable[[Asked], Answer | bytes | None]
"""Bytes are sent as they are and the connection is closed; nothing is sent for None, until the test ends."""


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON; underscores in headers' names stand for dashes."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(json.dumps(value).encode(), status, {"content-type": "application/json", **named})


class RunningServer:
    """An HTTP server on loopback, each request in a thread of its own.

    Attributes:
        ended: set when it is to end.
        port: its port.
        url: its own.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> None:
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """End it, and what it has not answered."""
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class HttpStandIn(RunningServer):
    """A running server that answers as a test says.

    Attributes:
        answer: what it answers with; a test may change it.
        asked: the requests so far.
        url: its own.
    """

    def __init__(self, answer: Answers, context: ssl.SSLContext | None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        super().__init__(_handler(self), context)


@contextmanager
def http_stand_in(
    answer: Answers = lambda _: Answer(), context: ssl.SSLContext | None = None
) -> Iterator[HttpStandIn]:
    """A server that runs meanwhile."""
    server = HttpStandIn(answer, context)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients that hang up are part of the tests
            raise


def _handler(server: HttpStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60.0  # connections that are kept open must not outlive the tests

        def _do(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            asked = Asked(self.command, self.path, headers, body, self.client_address[1])
            server.asked.append(asked)
            answer = server.answer(asked)
            if answer is None:
                self.close_connection = True
                server.ended.wait(60)
            elif isinstance(answer, bytes):
                self.close_connection = True
                self.wfile.write(answer)
            else:
                self._send(answer)

        do_GET = do_POST = do_PUT = _do  # noqa: N815

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            chunks = [answer.body] if isinstance(answer.body, bytes) else answer.body
            if answer.length is None:
                self.send_header("connection", "close")
            else:
                length = sum(map(len, chunks)) if answer.length < 0 else answer.length
                self.send_header("content-length", str(length))
            self.end_headers()
            for chunk in chunks:
                self.wfile.write(chunk)
            self.close_connection = answer.length != -1

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
