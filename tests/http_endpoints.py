"""HTTP endpoints in use: what one gives, and what it fails with, for tests."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import pytest

from tests.http_stand_in import HttpStandIn, http_stand_in
from udfs.errors import OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes._http import HttpEndpoint
from udfs.remotes.base import Surroundings, Trace
from udfs.remotes.credentials import Credentials

T = TypeVar("T")


@pytest.fixture
def http_server() -> Iterator[HttpStandIn]:
    with http_stand_in() as server:
        yield server


def with_endpoint(
    url: str,
    use: Callable[[HttpEndpoint], Coroutine[Any, Any, T]],
    credentials: Credentials | None = None,
    headers: Mapping[str, str] = {},
) -> T:
    known = {} if credentials is None else {"them": credentials}
    surroundings = Surroundings(AllowedPlaces([url.partition("?")[0]]), known)

    async def run() -> T:
        endpoint = HttpEndpoint(url, surroundings, "them" if credentials else None, headers)
        try:
            return await use(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def post(
    url: str,
    body: bytes = b"{}",
    *,
    path: str = "/score",
    seconds: float = 60.0,
    trace: Trace = (),
    credentials: Credentials | None = None,
    headers: Mapping[str, str] = {},
) -> bytes:
    async def use(endpoint: HttpEndpoint) -> bytes:
        return (await endpoint.post(path, body, seconds, trace)).body

    return with_endpoint(url, use, credentials, headers)


def failure(url: str, **more: Any) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        post(url, **more)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value
