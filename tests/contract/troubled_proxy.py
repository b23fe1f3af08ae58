"""A proxy between a remote and a real server, on a test's event loop: it listens in, and makes trouble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events

GARBAGE = bytes(range(256)) * 4
_TURNS = 10
"""Of the loop, in which a connection that was just accepted comes to its first step: a task that is cancelled
before that would never close it."""


class Trouble(Enum):
    """What becomes of the server's answers."""

    NONE = "they are passed on"
    SILENCE = "they are not"
    GARBAGE = "others are sent"
    HALF = "a half of one is passed on, then the connection is closed"
    RESET = "the connection is reset in their place"


class TroubledProxy:
    """Passes bytes to a server and back.

    Args:
        port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.trouble = Trouble.NONE
        self._server_port = port
        self._heard: list[bytearray] = []
        self._connections: set[asyncio.Task[None]] = set()

    def headers(self) -> list[tuple[str, str]]:
        """The headers of all requests, of HTTP/1.1 or HTTP/2; names in lower case."""
        return [
            header
            for heard in self._heard
            for header in (_headers_2 if heard.startswith(b"PRI * HTTP/2.0") else _headers_1)(bytes(heard))
        ]

    @property
    def connections(self) -> int:
        """How many there were."""
        return len(self._heard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TroubledProxy"]:
        """Listen on a port of 127.0.0.1; connections end with it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        heard = bytearray()
        self._heard.append(heard)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._server_port)
            asked = asyncio.create_task(_pass_on(reader, there[1], heard))
            try:
                await self._answer(there[0], writer)
            finally:
                asked.cancel()
                there[1].close()  # now: a second cancellation would skip what is waited for
                await asyncio.gather(asked, return_exceptions=True)
                await _close(there[1])
        except (OSError, asyncio.CancelledError):
            pass  # one side has hung up, or the test has ended
        finally:
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            match self.trouble:
                case Trouble.NONE:
                    writer.write(chunk)
                case Trouble.GARBAGE:
                    writer.write(GARBAGE)
                    await writer.drain()
                    return
                case Trouble.HALF:
                    writer.write(chunk[: len(chunk) // 2])
                    await writer.drain()
                    return
                case Trouble.RESET:
                    writer.transport.abort()
                    return
                case Trouble.SILENCE:
                    pass
            await writer.drain()


def elsewhere(url: str, port: int) -> str:
    """The URL of the same at another port of 127.0.0.1."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
    while chunk := await reader.read(65536):
        heard += chunk
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def _headers_1(heard: bytes) -> list[tuple[str, str]]:
    lines = heard.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return [(name.lower(), value) for name, colon, value in pairs if colon]


def _headers_2(heard: bytes) -> list[tuple[str, str]]:
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    )
    connection.initiate_connection()
    return [
        (str(name), str(value))
        for event in connection.receive_data(heard)
        if isinstance(event, h2.events.RequestReceived)
        for name, value in event.headers
    ]
