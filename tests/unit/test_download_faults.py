"""Downloads that fail: which faults may pass, and which stay."""

import socket
from pathlib import Path

import pytest

from tests.downloading import MODEL, ModelServer, body, may_pass, redirect, trusted_model_server


class TestFaultsThatMayPass:
    """They are told from those that stay, because fetching again can help."""

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_a_server_that_may_do_better_later(self, model_server: ModelServer, status: int) -> None:
        model_server.answers["/m"] = body(b"", status=status)
        assert may_pass(f"{model_server.url}/m", model_server.url)

    @pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416])
    def test_a_server_that_will_say_the_same_again(self, model_server: ModelServer, status: int) -> None:
        model_server.answers["/m"] = body(b"", None, status=status)
        assert not may_pass(f"{model_server.url}/m", model_server.url)

    def test_a_server_that_is_down(self) -> None:
        with socket.socket() as unused:  # bound and not listening: nobody answers here
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            assert may_pass(f"{url}/m", url)

    def test_a_server_that_hangs_up(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
        assert may_pass(f"{model_server.url}/m", model_server.url)

    def test_a_body_that_is_cut_short(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(MODEL, len(MODEL) + 1)
        assert may_pass(f"{model_server.url}/m", model_server.url)

    def test_a_server_that_is_too_slow(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = lambda _: model_server.ended.wait(60)
        assert may_pass(f"{model_server.url}/m", model_server.url, timeout=0.3)

    def test_a_host_without_an_address(self) -> None:
        assert may_pass("http://nowhere.invalid/m", "http://nowhere.invalid")

    def test_a_name_that_no_host_can_have(self) -> None:
        name = "http://" + "a" * 64 + ".test"
        assert not may_pass(f"{name}/m", name)

    def test_a_server_that_may_do_better_later_after_a_redirect(self, model_server: ModelServer) -> None:
        model_server.answers["/a"] = redirect("/b")
        model_server.answers["/b"] = body(b"", status=503)
        assert may_pass(f"{model_server.url}/a", model_server.url)

    def test_a_redirect_out_of_the_places(self, model_server: ModelServer) -> None:
        model_server.answers["/m/a"] = redirect("/secret")
        assert not may_pass(f"{model_server.url}/m/a", f"{model_server.url}/m")

    def test_a_certificate_that_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with trusted_model_server(tmp_path, "127.0.0.1", monkeypatch) as server:
            place = f"https://localhost:{server.port}"
            assert not may_pass(f"{place}/m", place, private=("localhost",))

    def test_what_is_too_large(self, model_server: ModelServer) -> None:
        model_server.answers["/m"] = body(MODEL)
        assert not may_pass(f"{model_server.url}/m", model_server.url, max_bytes=1000)

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        assert not may_pass(f"{tmp_path.as_uri()}/x", tmp_path.as_uri())
