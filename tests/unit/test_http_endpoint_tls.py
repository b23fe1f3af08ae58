"""HTTP endpoints over TLS: whom they trust, what they show, and HTTP/2."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.certificates import Authority, server_context
from tests.http2_stand_in import Http2StandIn
from tests.http_stand_in import Answer, http_stand_in
from tests.virtual_time import VirtualLoop
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes._http import HttpEndpoint
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials

T = TypeVar("T")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusting(authority: Authority) -> Credentials:
    return Credentials(ca_file=str(authority.file))


def endpoint_of(url: str, credentials: Credentials | None) -> HttpEndpoint:
    known = {} if credentials is None else {"them": credentials}
    places = AllowedPlaces([url], ["localhost"])
    return HttpEndpoint(url, Surroundings(places, known), "them" if credentials else None)


def get(url: str, credentials: Credentials | None) -> bytes:
    return asyncio.run(use(url, credentials, lambda endpoint: endpoint.get("", 60)))


async def use(
    url: str, credentials: Credentials | None, what: Callable[[HttpEndpoint], Coroutine[Any, Any, T]]
) -> T:
    endpoint = endpoint_of(url, credentials)
    try:
        return await what(endpoint)
    finally:
        await endpoint.close()


def failure(url: str, credentials: Credentials | None) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        get(url, credentials)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_of_a_trusted_authority_is_asked(
    authority: Authority, trusting: Credentials, host: str
) -> None:
    with http_stand_in(lambda _: Answer(b"yes"), server_context(authority, host)) as server:
        assert get(f"https://{host}:{server.port}", trusting) == b"yes"


def test_a_server_of_another_authority_is_not_trusted(authority: Authority) -> None:
    with http_stand_in(context=server_context(authority)) as server:
        error = failure(server.url, None)
        assert (error.fault, "CERTIFICATE_VERIFY_FAILED" in str(error)) == (Fault.LASTING, True)
        assert server.asked == []


def test_a_certificate_of_another_host_is_not_trusted(authority: Authority, trusting: Credentials) -> None:
    with http_stand_in(context=server_context(authority, "127.0.0.1")) as server:
        error = failure(f"https://localhost:{server.port}", trusting)
        assert (error.fault, "CERTIFICATE_VERIFY_FAILED" in str(error)) == (Fault.LASTING, True)


def test_a_client_with_a_certificate_is_let_in(authority: Authority) -> None:
    client = authority.sign("client", ("client",))
    known = Credentials(
        ca_file=str(authority.file), client_cert_file=str(client.cert), client_key_file=str(client.key)
    )
    with http_stand_in(lambda _: Answer(b"yes"), server_context(authority, clients=True)) as server:
        assert get(server.url, known) == b"yes"


def test_a_client_without_a_certificate_is_not(authority: Authority, trusting: Credentials) -> None:
    with http_stand_in(context=server_context(authority, clients=True)) as server:
        failure(server.url, trusting)  # what of depends on whose packet is faster
        assert server.asked == []


def test_a_server_that_hangs_up_before_it_shows_a_certificate_may_be_better_later(
    trusting: Credentials,
) -> None:
    async def check() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(OffloadError) as caught:
                await use(url, trusting, lambda endpoint: endpoint.get("", 60))
            assert caught.value.fault is Fault.PASSING

    asyncio.run(check())


def test_a_server_that_has_no_tls_is_not_asked(trusting: Credentials) -> None:
    with http_stand_in() as server:
        failure(server.url.replace("http:", "https:"), trusting)
        assert server.asked == []


def test_certificates_are_refused_where_there_is_no_tls(trusting: Credentials) -> None:
    with pytest.raises(ModelLoadError, match=r"'them' has certificates, which http does not use"):
        endpoint_of("http://127.0.0.1:1", trusting)


async def come(server: Http2StandIn, count: int) -> None:
    """Wait until so many requests have come over the first connection."""
    while server.requests[0] < count:
        await asyncio.sleep(0)


def advance(seconds: float) -> None:
    """Let time pass on a loop where else it stands still."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.advance(seconds)


class TestHttp2:
    @staticmethod
    def run(
        authority: Authority,
        trusting: Credentials,
        check: Callable[[HttpEndpoint, Http2StandIn], Coroutine[Any, Any, None]],
    ) -> None:
        async def run() -> None:
            async with Http2StandIn().running(server_context(authority)) as server:
                url = f"https://127.0.0.1:{server.port}"
                await use(url, trusting, lambda endpoint: check(endpoint, server))

        with asyncio.Runner(loop_factory=lambda: VirtualLoop(stands_still=True)) as runner:
            runner.run(run())

    def test_requests_share_a_connection(self, authority: Authority, trusting: Credentials) -> None:
        async def check(endpoint: HttpEndpoint, server: Http2StandIn) -> None:
            answers = await asyncio.gather(*(endpoint.post("", b"%d" % i, 10, ()) for i in range(50)))
            assert [answer.body for answer in answers] == [b"%d" % i for i in range(50)]
            assert server.requests == [50]

        self.run(authority, trusting, check)

    def test_a_connection_that_a_deadline_passed_on_is_given_up(
        self, authority: Authority, trusting: Credentials
    ) -> None:
        async def check(endpoint: HttpEndpoint, server: Http2StandIn) -> None:
            await endpoint.post("", b"", 10, ())
            silent = asyncio.create_task(endpoint.post("/silent", b"", 0.2, ()))
            await come(server, 2)
            advance(0.2)
            with pytest.raises(OffloadError):
                await silent
            await endpoint.post("", b"", 10, ())
            assert server.requests == [2, 1]

        self.run(authority, trusting, check)

    def test_requests_that_are_under_way_on_it_are_answered(
        self, authority: Authority, trusting: Credentials
    ) -> None:
        async def check(endpoint: HttpEndpoint, server: Http2StandIn) -> None:
            await endpoint.post("", b"", 10, ())
            waiting = asyncio.create_task(endpoint.post("/silent", b"", 0.6, ()))
            silent = asyncio.create_task(endpoint.post("/silent", b"", 0.2, ()))
            await come(server, 3)
            advance(0.2)
            with pytest.raises(OffloadError):
                await silent
            assert not waiting.done()
            advance(0.4)
            with pytest.raises(OffloadError, match=r"no whole answer in 0\.6 s"):
                await waiting

        self.run(authority, trusting, check)
