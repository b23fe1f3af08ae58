"""Pools of connections to one server."""

import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from udfs.models.checked_transport import CheckedAddresses, CheckedTransport
from udfs.models.places import AllowedPlaces

_LIMITS = httpx.Limits(
    max_connections=None,  # a lane says how many requests there are at a time
    max_keepalive_connections=None,
    keepalive_expiry=4.0,  # uvicorn and Node.js close a connection that was idle for 5 s
)


class Pool:
    """Connections that may be given up while requests are under way on them.

    Over HTTP/1.1 each request that is under way has a client of its own: with every request httpx compares a
    client's connections with each other, which is slow for many.
    """

    def __init__(self, places: AllowedPlaces, context: ssl.SSLContext) -> None:
        self._addresses = CheckedAddresses(places)
        self._context = context
        self._clients: list[httpx.AsyncClient] = []
        self._requests: Counter[httpx.AsyncClient] = Counter()
        """How many are under way on each."""
        self._http_version = ""
        """Of the last answer."""
        self._is_given_up = False

    @property
    def is_over_http2(self) -> bool:
        """Whether all requests share a connection."""
        return self._http_version == "HTTP/2"

    @asynccontextmanager
    async def ask(
        self, method: str, url: httpx.URL, body: bytes | None, headers: dict[str, str], seconds: float
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; the answer's body is read from what this gives."""
        client = self._client(url)
        request = client.build_request(
            method, url, content=body, headers=headers, timeout=httpx.Timeout(None, connect=seconds)
        )
        self._requests[client] += 1
        try:
            response = await client.send(request, stream=True)
            try:
                self._http_version = response.http_version
                yield response
            finally:
                await response.aclose()
        finally:
            self._requests[client] -= 1
            if self._is_given_up:
                await self._close_if_idle()

    async def give_up(self) -> None:
        """Close the connections once no request is under way on them."""
        self._is_given_up = True
        await self._close_if_idle()

    async def close(self) -> None:
        """Close the connections now."""
        for client in self._clients:
            await client.aclose()

    async def _close_if_idle(self) -> None:
        if not self._requests.total():
            await self.close()

    def _client(self, url: httpx.URL) -> httpx.AsyncClient:
        """The client for the next request."""
        # What https speaks is known from the first answer on, and may be HTTP/2, which shares a connection.
        may_share = url.scheme == "https" and self._http_version != "HTTP/1.1"
        for client in self._clients:
            if may_share or not self._requests[client]:
                return client
        client = httpx.AsyncClient(
            transport=CheckedTransport(self._addresses, self._context, _LIMITS),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        self._clients.append(client)
        return client
