"""One gRPC server, for every protocol that speaks gRPC.

`grpc.aio` shares one poller among all event loops of a process. With more than one (several subtasks in a
process) each answer wakes all of them, and all but one find nothing to read: no error, and not logged.

A bearer token goes over ``grpc://`` in clear text; `open_endpoint` refuses that where the configuration does
not allow it, but on loopback.

Source: https://grpc.github.io/grpc/core/group__grpc__arg__keys.html,
https://github.com/grpc/grpc/issues/25364 (the poller)
"""

import asyncio
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import certifi

# The library's default waits for edges alone, and misses a reset that comes with bytes it has not read yet:
# the call hangs until its deadline. It looks at its first use in the process, not when it is imported. Where
# something else used it before, as Beam does in a process beside the TaskManager, the variable has to be in
# the environment that the process is started with.
os.environ.setdefault("GRPC_POLL_STRATEGY", "poll")
import grpc
import grpc.aio

from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.remotes._grpc_faults import error_of
from udfs.remotes.base import Surroundings, Trace
from udfs.remotes.endpoints import open_endpoint

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
SCHEMES = ("grpc", "grpcs")

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Who calls retries, and knows whether it may.
    ("grpc.enable_retries", 0),
    # A proxy would resolve names again.
    ("grpc.enable_http_proxy", 0),
    # Identity only: the bound on an answer counts what arrives, not what it unpacks to.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Endpoints share no connection: closing one ends its own alone.
    ("grpc.use_local_subchannel_pool", 1),
    # How long a try to connect, with its TLS handshake, may hang before the next.
    ("grpc.min_reconnect_backoff_ms", 5000),
    # A server that vanished without a word is noticed while calls wait for it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
_METADATA_NAME = re.compile("[0-9a-z_.-]+")
_MAY_BE_GONE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
_FAILED = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""What servers answer where the model fails of a record, and where they are broken."""


class GrpcEndpoint:
    """One gRPC server, asked over one channel, from one event loop.

    The channel is made at first use, to the addresses that the host has then and that are allowed; after a
    fault that a move would explain they are looked up again, and the certificates read again.

    Args:
        url: ``grpc://HOST:PORT``, or ``grpcs://HOST:PORT`` for TLS.
        surroundings: says which endpoints may be asked, and has the credentials.
        credentials: the name of those to show; None: none.

    Raises:
        ModelLoadError: not such a URL, an endpoint that is not allowed, or credentials that are not there.
    """

    def __init__(self, url: str, surroundings: Surroundings, credentials: str | None = None) -> None:
        self._endpoint = open_endpoint(url, SCHEMES, surroundings, credentials)
        self._line: _Line | None = None
        self._may_be_gone = False
        self._connecting = asyncio.Lock()
        self._is_closed = False
        if self._endpoint.has_tls:
            self._tls_files()

    @property
    def name(self) -> str:
        """As people write it: ``grpc://127.0.0.1:8081``."""
        return self._endpoint.name

    async def unary(self, method: str, request: bytes, seconds: float, trace: Trace = ()) -> bytes:
        """Call a unary method.

        Args:
            method: ``/package.Service/Method``.
            request: the serialized request.
            seconds: how long all of it may take, a lookup of the host and the connecting too.
            trace: metadata of trace context; what no metadata can hold is left out.

        Returns:
            The serialized answer.

        Raises:
            OffloadError: no answer; see `udfs.remotes._grpc_faults` for its fault.
        """
        what = f"{method.strip('/')} at {self.name}"
        if len(request) > MAX_MESSAGE_BYTES:
            raise OffloadError(f"{what}: a request of over {MAX_MESSAGE_BYTES >> 20} MiB", Fault.RECORD)
        try:
            async with asyncio.timeout(seconds) as limit:
                line = await self._connect()
                remaining = (limit.when() or 0.0) - asyncio.get_running_loop().time()
                metadata = self._metadata(trace, what)
                async with line as channel:
                    return await self._call(channel, method, request, max(remaining, 0.001), metadata, what)
        except TimeoutError as error:
            self._may_be_gone = True
            raise OffloadError(f"{what}: no answer in {seconds:g} s", Fault.PASSING) from error
        except asyncio.CancelledError:
            # Who waits longer than it may gives up so: nothing else tells of a server that vanished.
            self._may_be_gone = True
            raise

    async def close(self) -> None:
        """Close the channel; calls in flight end with an OffloadError."""
        self._is_closed = True
        if self._line is not None:
            line, self._line = self._line, None
            await line.channel.close()

    async def _connect(self) -> "_Line":
        async with self._connecting:
            if self._is_closed:
                raise OffloadError(f"{self.name}: closed")
            if self._line is None or self._may_be_gone:
                before, self._line = self._line, await self._connect_anew()
                if before is not None:
                    await before.leave()
            return self._line

    async def _connect_anew(self) -> "_Line":
        """Make a channel.

        One whose server was away is not kept: it would try to connect again only while it is waited for, and
        until then answer every call with the fault that it met.
        """
        _ignore_wakes_of_others(asyncio.get_running_loop())
        addresses = await self._endpoint.addresses()
        if self._is_closed:
            raise OffloadError(f"{self.name}: closed")
        self._may_be_gone = False
        try:
            files = self._tls_files() if self._endpoint.has_tls else ()
        except ModelLoadError as error:
            raise OffloadError(str(error), Fault.PASSING) from error
        target = _target(addresses, self._endpoint.location.port)
        options = (*_CHANNEL_OPTIONS, ("grpc.default_authority", self._endpoint.authority))
        if files:
            ca, cert, key = files
            tls = grpc.ssl_channel_credentials(ca, key, cert)
            return _Line(grpc.aio.secure_channel(target, tls, options))
        return _Line(grpc.aio.insecure_channel(target, options))

    def _tls_files(self) -> tuple[bytes, bytes | None, bytes | None]:
        ca, cert, key = self._endpoint.secrets.tls_files()
        if ca is None:
            # Those that HTTP trusts.
            path = os.environ.get("SSL_CERT_FILE") or certifi.where()
            try:
                ca = Path(path).read_bytes()
            except OSError as error:
                raise ModelLoadError(f"SSL_CERT_FILE: {path}: {error.strerror}") from error
        return ca, cert, key

    def _metadata(self, trace: Trace, what: str) -> list[tuple[str, str]]:
        headers = list(self._endpoint.secrets.headers().items())
        if not all(map(_can_be_sent, headers)):
            # What can't be sent may be a secret.
            raise OffloadError(f"{what}: its metadata can't be sent")
        return [*headers, *filter(_can_be_sent, trace)]

    async def _call(
        self,
        channel: grpc.aio.Channel,
        method: str,
        request: bytes,
        seconds: float,
        metadata: list[tuple[str, str]],
        what: str,
    ) -> bytes:
        try:
            answer = await channel.unary_unary(method)(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise self._error_of(what, error) from None
        except grpc.aio.UsageError as error:
            raise OffloadError(f"{what}: closed") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                raise OffloadError(f"{what}: closed", Fault.PASSING) from None
            raise
        return bytes(answer)

    def _error_of(self, what: str, error: grpc.aio.AioRpcError) -> OffloadError:
        code = error.code()
        if code in _MAY_BE_GONE:
            self._may_be_gone = True
        details = self._endpoint.secrets.hide(error.details() or "")
        status = error_of(what, code, details, tuple(error.trailing_metadata() or ()))
        fault = Fault.UNCLEAR if code in _FAILED and status.fault is Fault.RECORD else status.fault
        return OffloadError(str(status), fault, status.retry_after, is_answer=True)


class _Line:
    """A channel, which is closed once it was left and no call uses it any more."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._calls = 0
        self._is_left = False

    async def __aenter__(self) -> grpc.aio.Channel:
        self._calls += 1
        return self.channel

    async def __aexit__(self, *_: object) -> None:
        self._calls -= 1
        await self._close_if_unused()

    async def leave(self) -> None:
        """No call uses it from now on but those that do now."""
        self._is_left = True
        await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._is_left and not self._calls:
            await self.channel.close()


def _can_be_sent(header: tuple[str, str]) -> bool:
    name, value = header
    return bool(_METADATA_NAME.fullmatch(name)) and value.isascii() and value.isprintable()


def _ignore_wakes_of_others(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop say nothing of being woken for an answer that is another loop's, open or closed by now."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        is_wake = isinstance(context.get("exception"), BlockingIOError | RuntimeError)
        if not (is_wake and "PollerCompletionQueue" in repr(context.get("handle"))):
            loop.default_exception_handler(context)

    if loop.get_exception_handler() is None:
        loop.set_exception_handler(handle)


def _target(addresses: Sequence[str], port: int | None) -> str:
    """Addresses as gRPC takes them, so that it looks up no name."""
    parsed = [ipaddress.ip_address(address) for address in addresses]
    if all(address.version == 4 for address in parsed):
        return "ipv4:" + ",".join(f"{address}:{port}" for address in parsed)
    # Of one family only; IPv4 goes into IPv6.
    texts = [f"::ffff:{address}" if address.version == 4 else f"{address}" for address in parsed]
    return "ipv6:" + ",".join(f"[{text}]:{port}" for text in texts)
