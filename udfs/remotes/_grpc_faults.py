"""What a failed gRPC call means: the one place where its status becomes an OffloadError.

Source: https://grpc.io/docs/guides/status-codes/
"""

from collections.abc import Iterable

import grpc

from udfs.errors import Fault, OffloadError

_MAX_DETAILS = 300
_FAULTS = {
    grpc.StatusCode.INVALID_ARGUMENT: Fault.RECORD,
    grpc.StatusCode.OUT_OF_RANGE: Fault.RECORD,
    grpc.StatusCode.FAILED_PRECONDITION: Fault.RECORD,
    grpc.StatusCode.INTERNAL: Fault.RECORD,
    grpc.StatusCode.UNKNOWN: Fault.RECORD,
    grpc.StatusCode.UNAVAILABLE: Fault.PASSING,
    grpc.StatusCode.DEADLINE_EXCEEDED: Fault.PASSING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Fault.PASSING,
    grpc.StatusCode.ABORTED: Fault.PASSING,
    grpc.StatusCode.CANCELLED: Fault.PASSING,
}
"""All others are lasting."""
_BROKEN_OFF = ("rst_stream", "stream removed", "received http2 header", "goaway", "connection reset")
"""INTERNAL or UNKNOWN that the library itself says where a connection broke, or a proxy answered."""
_TOO_LARGE = ("larger than max", "exceeds maximum size")
_OWN_WORD = "CLIENT:"
_PUSHBACK = "grpc-retry-pushback-ms"


def error_of(
    what: str, code: grpc.StatusCode, details: str | None, trailers: Iterable[tuple[str, str | bytes]] = ()
) -> OffloadError:
    """The error of a call that ended with a status other than OK.

    Args:
        what: the method and the endpoint.
        code: the status.
        details: what the server, or the library, says.
        trailers: the call's trailing metadata; only the server's wish to be left alone is read of it.
    """
    said = one_line(details)
    fault = _fault(code, details or "")
    return OffloadError(f"{what}: {code.name}{said and f': {said}'}", fault, _retry_after(trailers))


def one_line(text: str | None) -> str:
    """Foreign text, short enough for an error and in one line."""
    printable = "".join(one if one.isprintable() else " " for one in (text or "")[: 4 * _MAX_DETAILS])
    line = " ".join(printable.split())
    return line if len(line) <= _MAX_DETAILS else line[:_MAX_DETAILS] + "…"


def _fault(code: grpc.StatusCode, details: str) -> Fault:
    lower = details.lower()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and any(text in lower for text in _TOO_LARGE):
        # An answer that this side refuses would be too large again; a request may be halved.
        return Fault.LASTING if details.startswith(_OWN_WORD) else Fault.RECORD
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and any(
        text in lower for text in _BROKEN_OFF
    ):
        return Fault.PASSING
    return _FAULTS.get(code, Fault.LASTING)


def _retry_after(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    for key, value in trailers:
        if key == _PUSHBACK and isinstance(value, str) and value.isascii() and value.isdigit():
            return min(int(value[:10]), 3_600_000) / 1000
    return None
