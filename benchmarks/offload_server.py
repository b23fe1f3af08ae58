"""A REST server that does nothing but take its time: ``python -m benchmarks.offload_server PORT``.

POST /MS        answers after MS milliseconds: to one record ``{"score": 0.0}``, to a list one for each of it
GET /most       the most requests that were under way at a time since this was asked before

It keeps so little to itself (HTTP/1.1 on asyncio, no framework) that what asks it has the machine.
"""

import asyncio
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from devtools import ROOT
from devtools.processes import free_ports
from devtools.server_process import ServerProcess

_HEAD = re.compile(rb"(?:GET|POST) /(\w+) HTTP/1\.1\r\n(?:[^\r]*\r\n)*?\r\n")
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SCORE = b'{"score":0.0}'
_records = msgspec.json.Decoder(list[msgspec.Raw])


class Death(StrEnum):
    """What a dead server does."""

    REFUSES = "refuses connections"
    SILENT = "is silent"


@dataclass(frozen=True)
class NoOpServer:
    """The server, as who started it sees it."""

    url: str
    """``http://127.0.0.1:PORT``"""
    process: ServerProcess

    def after(self, milliseconds: int) -> str:
        """The URL that answers so much later."""
        return f"{self.url}/{milliseconds}"

    def most_under_way(self) -> int:
        """The most requests that were under way at a time, since this was asked before."""
        with urllib.request.urlopen(f"{self.url}/most", timeout=10) as answer:
            return int(answer.read())

    def die(self, death: Death) -> None:
        """Serve no more."""
        if death is Death.SILENT:
            # The system goes on to accept connections for it.
            os.kill(self.process.pid, signal.SIGSTOP)
        else:
            self.process.kill()


@contextmanager
def running(folder: Path) -> Iterator[NoOpServer]:
    """The server in a process of its own, from its start to its end.

    Args:
        folder: where its log goes.

    Raises:
        ProcessError: it does not start.
    """
    [port] = free_ports(1)
    process = ServerProcess(
        "the no-op server",
        [sys.executable, "-m", "benchmarks.offload_server", str(port)],
        [port],
        folder / f"no-op-server-{port}.log",
        {"PYTHONPATH": str(ROOT)},
    )
    try:
        process.start()
        yield NoOpServer(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()  # one that was stopped by a signal does not end in order


class _UnderWay:
    """How many requests there are at a time."""

    def __init__(self) -> None:
        self._now = self._most = 0

    def begin(self) -> None:
        self._now += 1
        self._most = max(self._most, self._now)

    def end(self) -> None:
        self._now -= 1

    def take_most(self) -> int:
        most, self._most = self._most, self._now
        return most


class _Connection(asyncio.Protocol):
    def __init__(self, under_way: _UnderWay) -> None:
        self._under_way = under_way
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while head := _HEAD.match(self._received):
            length = _CONTENT_LENGTH.search(head[0])
            end = head.end() + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            body, self._received = self._received[head.end() : end], self._received[end:]
            self._take(head[1], body)

    def _take(self, path: bytes, body: bytes) -> None:
        if path == b"most":
            self._answer(b"%d" % self._under_way.take_most())
            return
        self._under_way.begin()
        answer = _SCORE
        if body.startswith(b"["):
            answer = b"[" + b",".join([_SCORE] * len(_records.decode(body))) + b"]"
        asyncio.get_running_loop().call_later(int(path) / 1000, self._end, answer)

    def _end(self, answer: bytes) -> None:
        self._under_way.end()
        if not self._transport.is_closing():
            self._answer(answer)

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


async def _serve(port: int) -> None:
    under_way = _UnderWay()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(under_way), "127.0.0.1", port, backlog=1024)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
