"""Bodies of HTTP answers, read within bounds: of what is sent, and of what it unpacks to."""

import zlib
from contextlib import suppress

import httpx

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_READ_OF_REFUSAL = 16 * 1024
_GZIP = 31
"""zlib's ``wbits`` for the format of gzip."""


class UnreadableBodyError(Exception):
    """A body that is too large, or not what it says."""


async def read_body(response: httpx.Response) -> bytes:
    """The whole body of an answer.

    Raises:
        UnreadableBodyError: it is larger than MAX_ANSWER_BYTES, sent or unpacked, or encoded in another way
            than gzip.
        httpx.HTTPError: it breaks off.
    """
    unzipping = _unzipping(response)
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_ANSWER_BYTES:
        raise _too_large()
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unzipping.unpack(chunk, MAX_ANSWER_BYTES + 1 - len(body)) if unzipping else chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_large()
    if unzipping and not unzipping.is_whole():
        raise UnreadableBodyError("the answer's gzip breaks off")
    return bytes(body)


async def read_beginning(response: httpx.Response) -> bytes:
    """The first bytes of a refusal's body; what can't be read is left out: the status says enough."""
    body = b""
    with suppress(UnreadableBodyError, httpx.HTTPError):
        unzipping = _unzipping(response)
        async for chunk in response.aiter_raw():
            body += unzipping.unpack(chunk, _MAX_READ_OF_REFUSAL) if unzipping else chunk
            if len(body) >= _MAX_READ_OF_REFUSAL:
                break
    return body[:_MAX_READ_OF_REFUSAL]


class _Unzipping:
    """Unpacks gzip, never to more bytes than asked for."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP)

    def unpack(self, chunk: bytes, most: int) -> bytes:
        try:
            unpacked = self._zlib.decompress(chunk, most)
        except zlib.error as error:
            raise UnreadableBodyError("the answer is not the gzip that it says it is") from error
        if self._zlib.unused_data:
            raise UnreadableBodyError("the answer goes on after its gzip has ended")
        return unpacked

    def is_whole(self) -> bool:
        return self._zlib.eof


def _unzipping(response: httpx.Response) -> _Unzipping | None:
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return None
    if coding in ("gzip", "x-gzip"):
        return _Unzipping()
    raise UnreadableBodyError(f"the answer is encoded as {coding[:40]!r}, which nobody asked for")


def _too_large() -> UnreadableBodyError:
    return UnreadableBodyError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
