"""Downloads from real servers on loopback: what is fetched, and each thing that must be refused."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.downloading import MODEL, ModelServer, body, failure, fetch, redirect, trusted_model_server


class TestHttp:
    @pytest.mark.parametrize("length", [-1, None], ids=["with its length", "without"])
    def test_a_body_is_fetched_whole(self, model_server: ModelServer, length: int | None) -> None:
        model_server.answers["/m/iris"] = body(MODEL, length)
        assert fetch(f"{model_server.url}/m/iris", f"{model_server.url}/m") == MODEL

    def test_an_empty_body_is_fetched(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(b"")
        assert fetch(f"{model_server.url}/m", model_server.url) == b""

    def test_path_and_query_reach_the_server_as_written(self, model_server: ModelServer) -> None:
        path = "/m/iris%20v2%2Bb?sig=a%2Fb&c=d%20e"
        model_server.answers[path] = body(MODEL)
        assert fetch(model_server.url + path, model_server.url) == MODEL

    def test_a_place_that_is_not_allowed_is_never_asked(self, model_server: ModelServer) -> None:
        assert "in none of the allowed places" in failure(
            f"{model_server.url}/other", f"{model_server.url}/m"
        )
        assert model_server.requests == []

    @pytest.mark.parametrize("status", [404, 403, 500, 304, 206])
    def test_a_status_other_than_200_is_an_error(self, model_server: ModelServer, status: int) -> None:
        model_server.answers["/m"] = body(b"", status=status)
        assert f"/m: the server said {status}" in failure(f"{model_server.url}/m", model_server.url)

    def test_a_body_that_is_cut_short_is_an_error(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(MODEL, len(MODEL) + 1)
        assert "without sending complete message body" in failure(f"{model_server.url}/m", model_server.url)

    def test_an_answer_that_is_no_http_is_an_error(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = lambda handler: handler.wfile.write(b"220 mail.example.com\r\n\r\n")
        assert failure(f"{model_server.url}/m", model_server.url).startswith(f"{model_server.url}/m: ")

    def test_what_says_that_it_is_too_large_is_refused_before_it_is_read(
        self, model_server: ModelServer
    ) -> None:
        model_server.answers["/m"] = body(b"", 10**12)
        assert f"{10**12} bytes or more, over artifacts.max_bytes (1000)" in failure(
            f"{model_server.url}/m", model_server.url, max_bytes=1000
        )

    def test_what_does_not_say_its_size_is_refused_once_it_is_too_large(
        self, model_server: ModelServer
    ) -> None:
        def endless(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while not model_server.ended.is_set():
                handler.wfile.write(MODEL)

        model_server.answers["/m"] = endless
        assert "over artifacts.max_bytes (1000)" in failure(
            f"{model_server.url}/m", model_server.url, max_bytes=1000
        )

    def test_exactly_the_largest_size_is_allowed(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(MODEL, None)
        assert fetch(f"{model_server.url}/m", model_server.url, max_bytes=len(MODEL)) == MODEL

    def test_an_unreachable_server_is_an_error(self) -> None:
        with socket.socket() as unused:  # bound and not listening: nobody answers here
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            assert failure(f"{url}/m?sig=secret", url).startswith(f"{url}/m: ")

    def test_an_unknown_host_is_an_error(self) -> None:
        assert "nowhere.invalid: no address" in failure("http://nowhere.invalid/m", "http://nowhere.invalid")

    def test_a_server_that_says_nothing_is_left_in_time(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = lambda _: model_server.ended.wait(60)
        start = time.monotonic()
        assert "not fetched in 0.3 s (artifacts.timeout)" in failure(
            f"{model_server.url}/m", model_server.url, timeout=0.3
        )
        assert time.monotonic() - start < 30

    def test_a_server_that_drips_is_left_in_time(self, model_server: ModelServer) -> None:
        def drip(handler: BaseHTTPRequestHandler) -> None:
            body(b"", 10**6)(handler)
            while not model_server.ended.wait(0.02):
                handler.wfile.write(b"x")

        model_server.answers["/m"] = drip
        start = time.monotonic()
        assert "not fetched in 0.3 s" in failure(f"{model_server.url}/m", model_server.url, timeout=0.3)
        assert time.monotonic() - start < 30

    def test_errors_do_not_show_the_query(self, model_server: ModelServer) -> None:
        assert "secret" not in failure(f"{model_server.url}/gone?sig=secret", model_server.url)

    def test_no_thread_outlives_a_fetch(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(MODEL)
        before = set(threading.enumerate())
        fetch(
            f"http://localhost:{model_server.port}/m",
            f"http://localhost:{model_server.port}",
            private=("localhost",),
        )
        assert {t for t in threading.enumerate() if "asyncio" in t.name} <= before

    def test_proxies_of_the_environment_are_not_used(
        self, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "")
        model_server.answers["/m"] = body(MODEL)
        assert fetch(f"{model_server.url}/m", model_server.url) == MODEL


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("target", ["/m/b", "b", "{url}/m/b"])
    def test_a_redirect_inside_the_places_is_followed(
        self, model_server: ModelServer, target: str, status: int
    ) -> None:
        model_server.answers["/m/a"] = redirect(target.format(url=model_server.url), status)
        model_server.answers["/m/b"] = body(MODEL)
        assert fetch(f"{model_server.url}/m/a", f"{model_server.url}/m") == MODEL

    @pytest.mark.parametrize(
        ("target", "cause"),
        [
            pytest.param("/secret", "in none of the allowed places", id="another folder"),
            pytest.param("../secret", "in none of the allowed places", id="out by dots"),
            pytest.param("/m/%2e%2e/secret", ". and .. in a path", id="out by encoded dots"),
            pytest.param("/m-evil/x", "in none of the allowed places", id="the same beginning"),
            pytest.param("http://169.254.169.254/m/x", "in none of the allowed places", id="another address"),
            pytest.param("//evil.test/m/x", "in none of the allowed places", id="another host"),
            pytest.param("http://user@127.0.0.1/m/x", "user info", id="user info"),
            pytest.param("file:///etc/hostname", "in none of the allowed places", id="a file"),
            pytest.param("http://[", "not a URI", id="no URI"),
        ],
    )
    def test_a_redirect_out_of_the_places_is_refused(
        self, model_server: ModelServer, target: str, cause: str
    ) -> None:
        model_server.answers["/m/a"] = redirect(target)
        text = failure(f"{model_server.url}/m/a", f"{model_server.url}/m")
        assert text.startswith(f"{model_server.url}/m/a redirects: ")
        assert cause in text
        assert [path for path, _ in model_server.requests] == ["/m/a"]

    def test_a_redirect_to_a_file_is_refused_though_its_folder_is_allowed(
        self, model_server: ModelServer, tmp_path: Path
    ) -> None:
        (tmp_path / "x").write_bytes(MODEL)
        model_server.answers["/a"] = redirect(f"{tmp_path.as_uri()}/x")
        assert "a redirect to file is refused" in failure(
            f"{model_server.url}/a", model_server.url, tmp_path.as_uri()
        )

    def test_a_redirect_to_a_private_address_is_refused_though_its_host_is_allowed(
        self, model_server: ModelServer
    ) -> None:
        inside = f"http://localhost:{model_server.port}"
        model_server.answers["/a"] = redirect(f"{inside}/b")
        assert "is not a public address" in failure(f"{model_server.url}/a", model_server.url, inside)
        assert [path for path, _ in model_server.requests] == ["/a"]

    def test_an_endless_redirect_is_left(self, model_server: ModelServer) -> None:
        model_server.answers["/a"] = redirect("/a")
        assert "more than 5 redirects" in failure(f"{model_server.url}/a", model_server.url)


class TestNames:
    """The name is asked for once, and the connection goes to the address that was checked."""

    @staticmethod
    def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
        asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host != "models.test":
                return real(host, port, *rest, **more)
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    def test_the_server_is_told_the_name(
        self, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.answer_with(monkeypatch, ["127.0.0.1"])
        model_server.answers["/m"] = body(MODEL)
        place = f"http://models.test:{model_server.port}"
        assert fetch(f"{place}/m", place, private=("models.test",)) == MODEL
        assert (model_server.requests, asked) == (
            [("/m", f"models.test:{model_server.port}")],
            ["models.test"],
        )

    def test_a_name_that_has_become_private_is_refused(
        self, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer_with(monkeypatch, ["127.0.0.1"])
        place = f"http://models.test:{model_server.port}"
        assert "models.test: 127.0.0.1 is not a public address" in failure(f"{place}/m", place)
        assert model_server.requests == []

    def test_the_next_address_is_tried_where_one_is_unreachable(
        self, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer_with(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        model_server.answers["/m"] = body(MODEL)
        place = f"http://models.test:{model_server.port}"
        assert fetch(f"{place}/m", place, private=("models.test",)) == MODEL


class TestTls:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_certificate_for_the_host_is_trusted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        with trusted_model_server(tmp_path, host, monkeypatch) as server:
            place = f"https://{host}:{server.port}"
            assert fetch(f"{place}/m", place, private=(host,)) == MODEL

    def test_a_certificate_for_the_address_alone_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with trusted_model_server(tmp_path, "127.0.0.1", monkeypatch) as server:
            place = f"https://localhost:{server.port}"
            assert "CERTIFICATE_VERIFY_FAILED" in failure(f"{place}/m", place, private=("localhost",))
