"""The transport to checked addresses: whom it asks for them, how often, and which it connects to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.http_stand_in import HttpStandIn
from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.checked_transport import CheckedAddresses, CheckedTransport
from udfs.models.places import AllowedPlaces, Location


class Places(AllowedPlaces):
    """Places whose hosts have the addresses that a test says."""

    def __init__(self, *answers: list[str] | ArtifactError) -> None:
        super().__init__(["http://models.test"])
        self._answers = answers
        self.asked: list[Location] = []

    async def resolve(self, location: Location) -> list[str]:
        self.asked.append(location)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, ArtifactError):
            raise answer
        return answer


@asynccontextmanager
async def client_of(places: AllowedPlaces) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = CheckedTransport(CheckedAddresses(places), context)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=60) as client:
        yield client


def run(places: Places, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def inner() -> None:
        async with client_of(places) as client:
            await use(client)

    asyncio.run(inner())


def test_a_host_is_asked_for_once_for_many_requests(http_server: HttpStandIn) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        url = f"http://models.test:{http_server.port}/a"
        await asyncio.gather(*(client.get(url) for _ in range(10)))
        await client.get(url)

    places = Places(["127.0.0.1"])
    run(places, use)
    assert places.asked == [("http", "models.test", http_server.port, ())]
    assert {asked.headers["host"] for asked in http_server.asked} == {f"models.test:{http_server.port}"}


def test_addresses_are_asked_for_again_after_a_while(
    http_server: HttpStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        url = f"http://models.test:{http_server.port}/a"
        await client.get(url)
        with pytest.raises(ArtifactError, match="has become private"):
            await client.get(url)

    monkeypatch.setattr("udfs.models.checked_transport._FRESH_S", -1.0)
    run(Places(["127.0.0.1"], ArtifactError("has become private")), use)
    assert len(http_server.asked) == 1


def test_the_next_address_is_tried_where_one_is_unreachable(http_server: HttpStandIn) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        await client.get(f"http://models.test:{http_server.port}/a")

    run(Places(["127.0.0.2", "127.0.0.1"]), use)
    assert len(http_server.asked) == 1


def test_where_none_can_be_reached_the_last_failure_is_told(http_server: HttpStandIn) -> None:
    async def use(client: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://models.test:{http_server.port}/a")

    run(Places(["127.0.0.2", "127.0.0.3"]), use)


def test_a_host_without_addresses_may_have_some_later() -> None:
    async def use(client: httpx.AsyncClient) -> None:
        with pytest.raises(ArtifactUnavailableError, match=r"models\.test: no address"):
            await client.get("http://models.test/a")

    run(Places([]), use)
