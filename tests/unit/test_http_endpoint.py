"""HTTP endpoints: what is sent, what is taken, and how each fault is read."""

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from email.utils import formatdate
from typing import Any, TypeVar

import pytest

from tests.http_stand_in import Answer, HttpStandIn, http_stand_in
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._http_bodies import MAX_ANSWER_BYTES
from udfs.remotes.base import Surroundings, Trace
from udfs.remotes.credentials import Credentials

T = TypeVar("T")


@pytest.fixture
def server() -> Iterator[HttpStandIn]:
    with http_stand_in() as server:
        yield server


def with_endpoint(
    url: str,
    use: Callable[[HttpEndpoint], Coroutine[Any, Any, T]],
    credentials: Credentials | None = None,
    headers: Mapping[str, str] = {},
    allow: str | None = None,
) -> T:
    known = {} if credentials is None else {"them": credentials}
    surroundings = Surroundings(AllowedPlaces([allow or url.partition("?")[0]]), known)

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


class TestRequests:
    def test_a_body_is_posted_and_the_answers_body_given(self, server: HttpStandIn) -> None:
        server.answer = lambda asked: Answer(asked.body * 2)
        assert post(f"{server.url}/v1", b"abc") == b"abcabc"
        (asked,) = server.asked
        assert asked[:2] == ("POST", "/v1/score")
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["host"] == f"127.0.0.1:{server.port}"

    def test_headers_of_an_answer_are_found_in_any_case(self, server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> str:
            return (await endpoint.post("", b"", 10, ())).headers["X-Length"]

        server.answer = lambda _: Answer(headers={"x-LENGTH": "7"})
        assert with_endpoint(server.url, use) == "7"

    def test_what_is_at_a_path_can_be_got(self, server: HttpStandIn) -> None:
        server.answer = lambda asked: Answer(f"{asked.method} {asked.path}".encode())
        assert with_endpoint(server.url, lambda endpoint: endpoint.get("/ping", 10)) == b"GET /ping"

    @pytest.mark.parametrize(
        ("base", "path", "asked"),
        [
            ("", "", "/"),
            ("/", "", "/"),
            ("/", "/a", "/a"),
            ("/v1/", "/a/b", "/v1/a/b"),
            ("/v1/", "", "/v1/"),
            ("/v1?k=a%20b", "/a", "/v1/a?k=a%20b"),
        ],
    )
    def test_a_path_is_put_after_the_urls(
        self, server: HttpStandIn, base: str, path: str, asked: str
    ) -> None:
        post(server.url + base, path=path)
        assert server.asked[0].path == asked

    def test_connections_are_used_again(self, server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            for _ in range(5):
                await endpoint.post("", b"", 10, ())

        with_endpoint(server.url, use)
        assert len({asked.connection for asked in server.asked}) == 1

    def test_trace_headers_go_with_a_request_and_broken_ones_do_not(self, server: HttpStandIn) -> None:
        post(server.url, trace=[("traceparent", "00-ab-cd-01"), ("tracestate", "a=1\r\nx-evil: 1")])
        headers = server.asked[0].headers
        assert headers["traceparent"] == "00-ab-cd-01"
        assert not {"tracestate", "x-evil"} & headers.keys()

    def test_headers_that_are_given_go_with_every_request(self, server: HttpStandIn) -> None:
        post(server.url, headers={"X-Team": "fraud"})
        assert server.asked[0].headers["x-team"] == "fraud"

    def test_no_cookie_is_kept(self, server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.post("", b"", 10, ())
            await endpoint.post("", b"", 10, ())

        server.answer = lambda _: Answer(headers={"set-cookie": "session=1; Path=/"})
        with_endpoint(server.url, use)
        assert "cookie" not in server.asked[1].headers

    def test_proxies_of_the_environment_are_not_used(
        self, server: HttpStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "")
        post(server.url)
        assert len(server.asked) == 1

    def test_as_many_requests_go_side_by_side_as_there_are(self, server: HttpStandIn) -> None:
        count = 120

        async def use(endpoint: HttpEndpoint) -> None:
            await asyncio.gather(*(endpoint.post("", b"", 90, ()) for _ in range(count)))

        together = threading.Barrier(count)

        def answer(_: Any) -> Answer:
            together.wait(60)
            return Answer()

        server.answer = answer
        with_endpoint(server.url, use)


class TestFaults:
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refusal_of_the_content_is_the_records_fault(self, server: HttpStandIn, status: int) -> None:
        server.answer = lambda _: Answer(b"x", status)
        assert failure(server.url).fault is Fault.RECORD

    def test_a_server_that_fails_may_do_so_of_the_content_or_of_any(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b"x", 500)
        assert failure(server.url).fault is Fault.UNCLEAR

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_a_refusal_is_an_answer(self, server: HttpStandIn, status: int) -> None:
        server.answer = lambda _: Answer(b"x", status)
        assert failure(server.url).is_answer

    @pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
    def test_an_overloaded_server_may_be_better_later(self, server: HttpStandIn, status: int) -> None:
        server.answer = lambda _: Answer(b"x", status)
        assert failure(server.url).fault is Fault.PASSING

    @pytest.mark.parametrize("status", [304, 401, 403, 404, 405, 501, 505])
    def test_any_other_refusal_lasts(self, server: HttpStandIn, status: int) -> None:
        server.answer = lambda _: Answer(b"", status)
        assert failure(server.url).fault is Fault.LASTING

    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_any_success_is_one(self, server: HttpStandIn, status: int) -> None:
        server.answer = lambda _: Answer(b"x", status)
        assert post(server.url) == b"x"

    def test_an_error_says_who_was_asked_for_what_and_what_the_server_said(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b'{"detail":\n  "no such \x07 field"}', 422)
        url = f"{server.url}/score"
        assert str(failure(f"{server.url}?key=hidden")) == (
            f'POST {url}: 422 Unprocessable Entity: {{"detail": "no such \ufffd field"}}'
        )

    def test_an_error_shows_little_of_a_long_answer(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b"blah " * 1_000_000, 500)
        assert str(failure(server.url)).endswith("blah blah …")

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed_and_said(self, server: HttpStandIn, status: int) -> None:
        target = f"{server.url}/other?signature=hidden"
        server.answer = lambda _: Answer(b"", status, {"location": target})
        error = failure(server.url)
        assert error.fault is Fault.LASTING
        assert f"redirects to {server.url}/other, which is not followed" in str(error)
        assert "hidden" not in str(error)
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("7", 7.0),
            ("0", 0.0),
            (" 12 ", 12.0),
            ("-1", None),
            ("soon", None),
            ("9" * 400, None),
            ("²", None),
        ],
    )
    def test_retry_after_in_seconds_is_read(
        self, server: HttpStandIn, text: str, seconds: float | None
    ) -> None:
        server.answer = lambda _: Answer(b"", 503, {"retry-after": text})
        assert failure(server.url).retry_after == seconds

    def test_retry_after_as_a_date_is_read(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(
            b"", 429, {"retry-after": formatdate(time.time() + 3600, usegmt=True)}
        )
        seconds = failure(server.url).retry_after
        assert seconds is not None
        assert 3000 < seconds < 3601

    def test_a_date_that_is_over_is_no_wait(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b"", 429, {"retry-after": formatdate(0, usegmt=True)})
        assert failure(server.url).retry_after == 0

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"220 mail.example.com ESMTP\r\n\r\n", id="another protocol"),
            pytest.param(bytes(range(256)) * 300, id="garbage"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a header"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", id="half a body"),
            pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", id="half a chunk"),
        ],
    )
    def test_an_answer_that_is_none_may_pass(self, server: HttpStandIn, answer: bytes) -> None:
        server.answer = lambda _: answer
        assert failure(server.url).fault is Fault.PASSING

    def test_a_server_that_says_nothing_is_left_in_time(self, server: HttpStandIn) -> None:
        server.answer = lambda _: None
        start = time.monotonic()
        error = failure(server.url, seconds=0.3)
        assert time.monotonic() - start < 30
        assert (error.fault, str(error)) == (
            Fault.PASSING,
            f"POST {server.url}/score: no whole answer in 0.3 s",
        )

    def test_a_body_that_does_not_end_is_left_in_time(self, server: HttpStandIn) -> None:
        def drip() -> Iterator[bytes]:
            while not server.ended.wait(0.02):
                yield b"x"

        server.answer = lambda _: Answer(drip(), length=None)
        assert "no whole answer" in str(failure(server.url, seconds=0.3))

    def test_an_unknown_host_may_be_known_later(self) -> None:
        error = failure("http://nowhere.invalid")
        assert (error.fault, "nowhere.invalid: no address" in str(error)) == (Fault.PASSING, True)

    def test_nothing_is_asked_after_closing(self, server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.close()
            await endpoint.get("", 1.0)

        with pytest.raises(OffloadError, match="closed"):
            with_endpoint(server.url, use)


class TestBounds:
    def test_an_answer_of_exactly_the_bound_is_taken(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(bytes(MAX_ANSWER_BYTES), length=None)
        assert len(post(server.url)) == MAX_ANSWER_BYTES

    def test_what_says_that_it_is_too_large_is_not_read(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b"x", length=MAX_ANSWER_BYTES + 1)
        error = failure(server.url)
        assert error.fault is Fault.LASTING
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(error)

    def test_what_does_not_say_its_size_is_left_once_it_is_too_large(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(bytes(MAX_ANSWER_BYTES + 1), length=None)
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(failure(server.url))

    def test_an_answer_in_gzip_is_unpacked(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(gzip.compress(b"x" * 100_000), headers={"content-encoding": "gzip"})
        assert post(server.url) == b"x" * 100_000

    def test_an_answer_that_unpacks_to_too_much_is_left(self, server: HttpStandIn) -> None:
        packed = gzip.compress(bytes(4 * MAX_ANSWER_BYTES), 1)
        server.answer = lambda _: Answer(packed, headers={"content-encoding": "gzip"})
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(failure(server.url))

    @pytest.mark.parametrize(
        ("body", "coding", "cause"),
        [
            (b"plain", "gzip", "not the gzip"),
            (gzip.compress(b"x" * 1000)[:-9], "gzip", "gzip breaks off"),
            (gzip.compress(b"x") + b"y", "gzip", "goes on after"),
            (b"x", "br", "encoded as 'br'"),
            (gzip.compress(gzip.compress(b"x")), "gzip, gzip", "encoded as 'gzip, gzip'"),
        ],
    )
    def test_an_answer_in_another_coding_lasts(
        self, server: HttpStandIn, body: bytes, coding: str, cause: str
    ) -> None:
        server.answer = lambda _: Answer(body, headers={"content-encoding": coding})
        error = failure(server.url)
        assert (error.fault, cause in str(error)) == (Fault.LASTING, True)


class TestCredentials:
    @pytest.fixture
    def token(self, monkeypatch: pytest.MonkeyPatch) -> Credentials:
        monkeypatch.setenv("TOKEN", "xyzzy-4711")
        return Credentials(bearer_env="TOKEN")

    def test_a_token_goes_with_every_request(self, server: HttpStandIn, token: Credentials) -> None:
        post(server.url, credentials=token)
        assert server.asked[0].headers["authorization"] == "Bearer xyzzy-4711"

    def test_neither_headers_nor_trace_change_them(self, server: HttpStandIn, token: Credentials) -> None:
        other = {"Authorization": "Bearer other"}
        post(server.url, credentials=token, headers=other, trace=[("authorization", "Bearer a third")])
        assert server.asked[0].headers["authorization"] == "Bearer xyzzy-4711"

    def test_a_server_that_repeats_a_secret_is_not_quoted(
        self, server: HttpStandIn, token: Credentials
    ) -> None:
        def repeat(asked: Any) -> Answer:
            return Answer(b"x" * 293 + b" wrong: " + asked.headers["authorization"].encode(), 401)

        server.answer = repeat
        assert "xyz" not in str(failure(server.url, credentials=token))

    def test_a_token_file_that_changes_is_read_again(self, server: HttpStandIn, tmp_path: Any) -> None:
        file = tmp_path / "token"
        file.write_text("first\n")

        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.get("", 10)
            file.write_text("second\n")
            await endpoint.get("", 10)
            file.unlink()
            await endpoint.get("", 10)

        with pytest.raises(OffloadError, match=r"token: No such file") as caught:
            with_endpoint(server.url, use, Credentials(bearer_file=str(file)))
        assert caught.value.fault is Fault.PASSING
        sent = [asked.headers["authorization"] for asked in server.asked]
        assert sent == ["Bearer first", "Bearer second"]


class TestPlaces:
    def test_the_name_is_the_server_without_the_path(self) -> None:
        endpoint = HttpEndpoint("HTTPS://Models.Example.com:443/v1", _allowing("https://models.example.com"))
        assert endpoint.name == "https://models.example.com"

    @pytest.mark.parametrize("path", ["/../other", "/%2e%2e/other", "//x", "/a\\b", "/a b"])
    def test_a_path_can_t_lead_out_of_the_allowed_place(self, server: HttpStandIn, path: str) -> None:
        with pytest.raises(ModelLoadError, match="option url"):
            post(f"{server.url}/models", path=path)
        assert server.asked == []

    def test_a_place_that_is_not_allowed_is_refused(self) -> None:
        with pytest.raises(ModelLoadError, match="in none of the allowed places"):
            HttpEndpoint("http://127.0.0.1/v2", _allowing("http://127.0.0.1/v1"))

    @pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "file:///x", "x", "http://0177.0.0.1:x/"])
    def test_a_url_of_another_kind_is_refused(self, url: str) -> None:
        with pytest.raises(ModelLoadError, match="option url"):
            HttpEndpoint(url, _allowing("grpc://127.0.0.1:1"))


def _allowing(place: str) -> Surroundings:
    return Surroundings(AllowedPlaces([place]))
