"""A stand-in for HTTP/2 servers, on the event loop of a test."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded


class Http2StandIn:
    """Answers each request with its body, except on paths that end in ``/silent``.

    Attributes:
        port: its own, on 127.0.0.1.
        requests: how many came over each connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[int] = []
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext) -> AsyncIterator["Http2StandIn"]:
        """Serve meanwhile."""
        context.set_alpn_protocols(["h2"])
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*(one.wait_closed() for one in self._writers), return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        at = len(self.requests)
        self.requests.append(0)
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        paths: dict[int, str] = {}
        bodies: dict[int, bytes] = {}
        writer.write(connection.data_to_send())
        try:
            while chunk := await reader.read(65536):
                for event in connection.receive_data(chunk):
                    if isinstance(event, RequestReceived):
                        self.requests[at] += 1
                        paths[event.stream_id] = {str(name): str(value) for name, value in event.headers}[
                            ":path"
                        ]
                        bodies[event.stream_id] = b""
                    elif isinstance(event, DataReceived):
                        bodies[event.stream_id] += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, StreamEnded) and not paths[event.stream_id].endswith("/silent"):
                        connection.send_headers(event.stream_id, [(":status", "200")])
                        connection.send_data(event.stream_id, bodies[event.stream_id], end_stream=True)
                writer.write(connection.data_to_send())
                await writer.drain()
        except OSError:
            pass  # the client has hung up
