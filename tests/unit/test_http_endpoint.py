"""HTTP endpoints: what is sent, with which credentials, and where it may go."""

import asyncio
import threading
from typing import Any

import pytest

from tests.http_endpoints import failure, post, with_endpoint
from tests.http_stand_in import Answer, HttpStandIn
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.models.places import AllowedPlaces
from udfs.remotes._http import HttpEndpoint
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials


class TestRequests:
    def test_a_body_is_posted_and_the_answers_body_given(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda asked: Answer(asked.body * 2)
        assert post(f"{http_server.url}/v1", b"abc") == b"abcabc"
        (asked,) = http_server.asked
        assert asked[:2] == ("POST", "/v1/score")
        assert asked.headers["content-type"] == "application/json"
        assert asked.headers["host"] == f"127.0.0.1:{http_server.port}"

    def test_headers_of_an_answer_are_found_in_any_case(self, http_server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> str:
            return (await endpoint.post("", b"", 10, ())).headers["X-Length"]

        http_server.answer = lambda _: Answer(headers={"x-LENGTH": "7"})
        assert with_endpoint(http_server.url, use) == "7"

    def test_what_is_at_a_path_can_be_got(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda asked: Answer(f"{asked.method} {asked.path}".encode())
        assert with_endpoint(http_server.url, lambda endpoint: endpoint.get("/ping", 10)) == b"GET /ping"

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
        self, http_server: HttpStandIn, base: str, path: str, asked: str
    ) -> None:
        post(http_server.url + base, path=path)
        assert http_server.asked[0].path == asked

    def test_connections_are_used_again(self, http_server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            for _ in range(5):
                await endpoint.post("", b"", 10, ())

        with_endpoint(http_server.url, use)
        assert len({asked.connection for asked in http_server.asked}) == 1

    def test_trace_headers_go_with_a_request_and_broken_ones_do_not(self, http_server: HttpStandIn) -> None:
        post(http_server.url, trace=[("traceparent", "00-ab-cd-01"), ("tracestate", "a=1\r\nx-evil: 1")])
        headers = http_server.asked[0].headers
        assert headers["traceparent"] == "00-ab-cd-01"
        assert not {"tracestate", "x-evil"} & headers.keys()

    def test_headers_that_are_given_go_with_every_request(self, http_server: HttpStandIn) -> None:
        post(http_server.url, headers={"X-Team": "fraud"})
        assert http_server.asked[0].headers["x-team"] == "fraud"

    def test_no_cookie_is_kept(self, http_server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.post("", b"", 10, ())
            await endpoint.post("", b"", 10, ())

        http_server.answer = lambda _: Answer(headers={"set-cookie": "session=1; Path=/"})
        with_endpoint(http_server.url, use)
        assert "cookie" not in http_server.asked[1].headers

    def test_proxies_of_the_environment_are_not_used(
        self, http_server: HttpStandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "")
        post(http_server.url)
        assert len(http_server.asked) == 1

    def test_as_many_requests_go_side_by_side_as_there_are(self, http_server: HttpStandIn) -> None:
        count = 120

        async def use(endpoint: HttpEndpoint) -> None:
            await asyncio.gather(*(endpoint.post("", b"", 90, ()) for _ in range(count)))

        together = threading.Barrier(count)

        def answer(_: Any) -> Answer:
            together.wait(60)
            return Answer()

        http_server.answer = answer
        with_endpoint(http_server.url, use)


class TestCredentials:
    @pytest.fixture
    def token(self, monkeypatch: pytest.MonkeyPatch) -> Credentials:
        monkeypatch.setenv("TOKEN", "xyzzy-4711")
        return Credentials(bearer_env="TOKEN")

    def test_a_token_goes_with_every_request(self, http_server: HttpStandIn, token: Credentials) -> None:
        post(http_server.url, credentials=token)
        assert http_server.asked[0].headers["authorization"] == "Bearer xyzzy-4711"

    def test_neither_headers_nor_trace_change_them(
        self, http_server: HttpStandIn, token: Credentials
    ) -> None:
        other = {"Authorization": "Bearer other"}
        post(http_server.url, credentials=token, headers=other, trace=[("authorization", "Bearer a third")])
        assert http_server.asked[0].headers["authorization"] == "Bearer xyzzy-4711"

    def test_a_server_that_repeats_a_secret_is_not_quoted(
        self, http_server: HttpStandIn, token: Credentials
    ) -> None:
        def repeat(asked: Any) -> Answer:
            return Answer(b"x" * 293 + b" wrong: " + asked.headers["authorization"].encode(), 401)

        http_server.answer = repeat
        assert "xyz" not in str(failure(http_server.url, credentials=token))

    def test_a_token_file_that_changes_is_read_again(self, http_server: HttpStandIn, tmp_path: Any) -> None:
        file = tmp_path / "token"
        file.write_text("first\n")

        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.get("", 10)
            file.write_text("second\n")
            await endpoint.get("", 10)
            file.unlink()
            await endpoint.get("", 10)

        with pytest.raises(OffloadError, match=r"token: No such file") as caught:
            with_endpoint(http_server.url, use, Credentials(bearer_file=str(file)))
        assert caught.value.fault is Fault.PASSING
        sent = [asked.headers["authorization"] for asked in http_server.asked]
        assert sent == ["Bearer first", "Bearer second"]


class TestPlaces:
    def test_the_name_is_the_server_without_the_path(self) -> None:
        endpoint = HttpEndpoint("HTTPS://Models.Example.com:443/v1", _allowing("https://models.example.com"))
        assert endpoint.name == "https://models.example.com"

    @pytest.mark.parametrize("path", ["/../other", "/%2e%2e/other", "//x", "/a\\b", "/a b"])
    def test_a_path_can_t_lead_out_of_the_allowed_place(self, http_server: HttpStandIn, path: str) -> None:
        with pytest.raises(ModelLoadError, match="option url"):
            post(f"{http_server.url}/models", path=path)
        assert http_server.asked == []

    def test_a_place_that_is_not_allowed_is_refused(self) -> None:
        with pytest.raises(ModelLoadError, match="in none of the allowed places"):
            HttpEndpoint("http://127.0.0.1/v2", _allowing("http://127.0.0.1/v1"))

    @pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "file:///x", "x", "http://0177.0.0.1:x/"])
    def test_a_url_of_another_kind_is_refused(self, url: str) -> None:
        with pytest.raises(ModelLoadError, match="option url"):
            HttpEndpoint(url, _allowing("grpc://127.0.0.1:1"))


def _allowing(place: str) -> Surroundings:
    return Surroundings(AllowedPlaces([place]))
