"""A proxy on loopback that does to its clients what networks and dying servers do.

It passes bytes, so it stands before any server: HTTP/1.1, HTTP/2, gRPC, with TLS or without::

    with FaultyProxy(server_port) as proxy:
        ask(proxy.url)
        proxy.fault = Reset(after_bytes=10)
        ask(proxy.url)

A fault holds for new connections and, from their next bytes on, for those that exist. The server is connected
to when a client has sent something that is to pass.
"""

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.faults import Cut, Delay, Fault, Garbage, Hang, Pass, Refuse, Reset, Storm

_CHUNK = 1 << 16
_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r\n")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class FaultyProxy:
    """A proxy before a loopback port, in a thread of its own; a context manager.

    Attributes:
        port: its own port.
        connections: how many were made to it.
        requests: how many HTTP/1.1 requests came, whatever became of them; requests within TLS, HTTP/2 and
            gRPC aren't counted.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._fault: Fault = Pass()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        # It never listens: it keeps the port from others while connections are refused.
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self.connections = 0
        self.requests = 0
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="faulty proxy")

    @property
    def url(self) -> str:
        """Its address as that of an HTTP server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> Fault:
        """What it does now; set it to change that. It is in force when the assignment returns."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._call(self._become(fault))

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._holder.close()

    def _call(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        try:
            await self._listen()
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        await self._ended.wait()
        await self._deafen()

    async def _become(self, fault: Fault) -> None:
        self._fault = fault
        if isinstance(fault, Refuse):
            await self._deafen()
        elif self._listening is None:
            await self._listen()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._accept, sock=_bound(self.port))

    async def _deafen(self) -> None:
        """Stop listening, and reset the connections that exist."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        await _Connection(self, self._target, reader, writer).serve()


class _Connection:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(
        self, proxy: FaultyProxy, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._target = target
        self._reader = reader
        self._writer = writer
        self._server: asyncio.StreamWriter | None = None
        self._answering: list[asyncio.Task[None]] = []
        # Chunks of answers, and when they are due; an empty one is the end, None a reset.
        self._answers: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(64)
        self._silent = False
        self._counted: Fault = Pass()
        self._passed = 0

    async def serve(self) -> None:
        """Converse until one of both ends it, or a fault does."""
        try:
            if self._proxy.fault == Reset():
                raise ConnectionResetError
            await self._take_requests()
            self._writer.close()
            await self._writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            _reset(self._writer)
        finally:
            for task in self._answering:
                task.cancel()
            # Nothing is awaited here: a second cancellation would leave the rest open.
            if self._server is not None:
                self._server.transport.abort()

    async def _take_requests(self) -> None:
        while chunk := await self._reader.read(_CHUNK):
            self._proxy.requests += bool(_REQUEST_LINE.match(chunk))
            match self._proxy.fault:
                case Refuse() | Reset(after_bytes=0):
                    raise ConnectionResetError
                case Hang():
                    self._silent = True
                    await self._ignore_requests()
                case Garbage() as garbage:
                    await self._say_and_end(garbage.answer)
                case Storm() as storm:
                    await self._take_whole_request(chunk)
                    await self._say_and_end(storm.answer())
                case _:
                    server = self._server or await self._connect()
                    server.write(chunk)
                    await server.drain()
        if self._server is not None and not self._silent:
            self._server.write_eof()
            await asyncio.gather(*self._answering)

    async def _connect(self) -> asyncio.StreamWriter:
        reader, self._server = await asyncio.open_connection("127.0.0.1", self._target)
        self._answering = [
            asyncio.create_task(self._take_answers(reader)),
            asyncio.create_task(self._pass_answers()),
        ]
        return self._server

    async def _take_whole_request(self, request: bytes) -> None:
        """Read to the end of an HTTP request: who closes before that resets the connection."""
        while not _is_whole(request):
            more = await self._reader.read(_CHUNK)
            if not more:
                return
            request += more

    async def _say_and_end(self, answer: bytes) -> None:
        self._silent = True
        self._writer.write(answer)
        self._writer.write_eof()
        await self._ignore_requests()

    async def _ignore_requests(self) -> None:
        while await self._reader.read(_CHUNK):
            pass

    async def _take_answers(self, reader: asyncio.StreamReader) -> None:
        now = asyncio.get_running_loop().time
        chunk: bytes | None = b" "
        while chunk:
            try:
                chunk = await reader.read(_CHUNK)
            except OSError:
                chunk = None
            fault = self._proxy.fault
            await self._answers.put((now() + (fault.seconds if isinstance(fault, Delay) else 0), chunk))

    async def _pass_answers(self) -> None:
        now = asyncio.get_running_loop().time
        chunk: bytes | None = b" "
        while chunk:
            due, chunk = await self._answers.get()
            await asyncio.sleep(due - now())
            if self._silent:
                continue
            if chunk is None:
                _reset(self._writer)
            elif not chunk:
                self._writer.write_eof()
            else:
                with suppress(OSError):
                    await self._pass(chunk)

    async def _pass(self, chunk: bytes) -> None:
        """Pass some bytes of an answer to the client, or do to them what the fault says."""
        fault = self._proxy.fault
        if fault is not self._counted:
            self._counted, self._passed = fault, 0
        if isinstance(fault, Hang):
            self._silent = True
            return
        end = len(chunk) + 1
        if isinstance(fault, Reset | Cut):
            after = len(chunk) // 2 if fault.after_bytes is None else fault.after_bytes
            end = after - self._passed
        self._passed += len(chunk)
        self._writer.write(chunk[:end])
        await self._writer.drain()
        if end <= len(chunk):
            self._silent = True
            if isinstance(fault, Reset):
                _reset(self._writer)
            else:
                self._writer.write_eof()


def _is_whole(request: bytes) -> bool:
    """Whether an HTTP/1.1 request is here to its end, if its body has a length."""
    head, blank, body = request.partition(b"\r\n\r\n")
    length = _CONTENT_LENGTH.search(head)
    return bool(blank) and len(body) >= (int(length[1]) if length else 0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a RST rather than a FIN."""
    if not writer.transport.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _bound(port: int) -> socket.socket:
    """A socket of a loopback port that others may be bound to as well, as long as they don't listen."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
    return one
