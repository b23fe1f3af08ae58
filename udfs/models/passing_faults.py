"""Which faults of a fetch may pass, so that fetching again can help."""

import ssl
import sys
from collections.abc import Iterator

import httpx

PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP statuses of a server that may do better later."""
_PASSING_S3_CODES = frozenset(
    {
        "InternalError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)


def may_pass(error: BaseException) -> bool:
    """Whether a fault of httpx, or of s3fs and what it stands on, may pass.

    A connection that is refused, cut (also while TLS is agreed on) or too slow may; a certificate that is not
    trusted, an object that is not there and credentials that are not enough may not.
    """
    causes = list(_chain(error))
    stays, passes = _kinds()
    lasts = any(isinstance(cause, stays) and not isinstance(cause, ssl.SSLEOFError) for cause in causes)
    return not lasts and any(isinstance(cause, passes) or _says_that_it_passes(cause) for cause in causes)


_Kinds = tuple[type[BaseException], ...]


def _kinds() -> tuple[_Kinds, _Kinds]:
    """Exceptions of faults that stay, and of those that may pass."""
    stays: _Kinds = (ssl.SSLError, FileNotFoundError, PermissionError)
    passes: _Kinds = (
        httpx.NetworkError,
        httpx.TimeoutException,
        httpx.RemoteProtocolError,
        ConnectionError,
        TimeoutError,
    )
    if "s3fs" not in sys.modules:
        return stays, passes
    import aiohttp
    from botocore import exceptions as boto  # type: ignore[import-untyped]  # it has no types

    return (*stays, boto.SSLError), (
        *passes,
        aiohttp.ClientConnectionError,
        aiohttp.ClientPayloadError,
        boto.ConnectionError,
        boto.HTTPClientError,
    )


def _says_that_it_passes(error: BaseException) -> bool:
    """Whether it is botocore's ClientError, the answer of a server, and that says so."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in PASSING_STATUSES or response.get("Error", {}).get("Code") in _PASSING_S3_CODES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
