"""Requests to checked addresses only: a name may have another address a moment after it was checked."""

import asyncio
import ssl
import time
from typing import NamedTuple

import httpx

from udfs.errors import ArtifactUnavailableError
from udfs.models.places import DEFAULT_PORTS, AllowedPlaces, Location

_FRESH_S = 10.0
"""How long addresses are taken for a host's before they are asked for, and checked, again."""


class _Found(NamedTuple):
    addresses: list[str]
    until: float
    """On the monotonic clock."""


class CheckedAddresses:
    """Addresses of hosts, checked as `AllowedPlaces.resolve` does, and asked for again every few seconds."""

    def __init__(self, places: AllowedPlaces) -> None:
        self._places = places
        self._found: dict[Location, _Found] = {}
        self._resolving = asyncio.Lock()

    async def of(self, location: Location) -> list[str]:
        """The addresses of a location's host.

        Raises:
            ArtifactUnavailableError: there are none now.
            ArtifactError: there is one that is not allowed.
        """
        location = location._replace(segments=())
        async with self._resolving:
            found = self._found.get(location)
            if found is None or found.until < time.monotonic():
                addresses = await self._places.resolve(location)
                found = self._found[location] = _Found(addresses, time.monotonic() + _FRESH_S)
            return found.addresses


class CheckedTransport(httpx.AsyncBaseTransport):
    """A transport of httpx that connects to checked addresses.

    TLS and ``Host`` have the host's name. The URLs are those of locations that were checked already. Proxies
    of the environment are not used: they would resolve names again. Besides what httpx raises, it raises what
    `CheckedAddresses.of` does.
    """

    def __init__(
        self, addresses: CheckedAddresses, context: ssl.SSLContext, limits: httpx.Limits | None = None
    ) -> None:
        self._addresses = addresses
        self._inner = httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, http2=True, limits=limits or httpx.Limits()
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first of the host's addresses that can be connected to."""
        name = request.url.raw_host.decode("ascii")
        scheme = request.url.scheme
        location = Location(scheme, name, request.url.port or DEFAULT_PORTS[scheme], ())
        addresses = await self._addresses.of(location)
        timeout = dict(request.extensions.get("timeout", {}))
        if timeout.get("connect") is not None:
            timeout["connect"] /= max(len(addresses), 1)
        failure: httpx.TransportError | None = None
        for address in addresses:
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # Host is among them
                stream=request.stream,
                extensions={**request.extensions, "timeout": timeout, "sni_hostname": name},
            )
            try:
                return await self._inner.handle_async_request(there)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        if failure is None:
            raise ArtifactUnavailableError(f"{name}: no address")
        raise failure

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
