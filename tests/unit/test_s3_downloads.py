"""Downloads from S3: a server of it on loopback, and one whose answers a test gives."""

import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.downloading import MODEL, ModelServer, body, failure, fetch, may_pass, redirect
from tests.s3 import s3_server
from udfs.models.downloads import CHUNK_BYTES


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Options for a server that has a model in its bucket ``models``."""
    with s3_server("models", {"iris/a model": MODEL}) as options:
        yield options


class TestS3:
    PLACE = "s3://models/iris"
    MODEL_URI = "s3://models/iris/a%20model"

    def test_an_object_is_fetched(self, s3: dict[str, Any]) -> None:
        assert len(MODEL) > CHUNK_BYTES
        assert fetch(self.MODEL_URI, self.PLACE, s3=s3) == MODEL

    def test_the_region_may_be_given_as_s3fs_takes_it(self, s3: dict[str, Any]) -> None:
        options = {**s3, "client_kwargs": {"region_name": "us-east-1"}}
        del options["region"]
        assert fetch(self.MODEL_URI, self.PLACE, s3=options) == MODEL

    def test_an_object_outside_is_refused(self, s3: dict[str, Any]) -> None:
        assert "in none of" in failure("s3://models/iris-evil/x", self.PLACE, s3=s3)

    def test_a_missing_object_is_an_error(self, s3: dict[str, Any]) -> None:
        assert "s3://models/iris/gone: FileNotFoundError: " in failure(
            f"{self.PLACE}/gone", self.PLACE, s3=s3
        )

    def test_an_object_that_is_too_large_is_refused(self, s3: dict[str, Any]) -> None:
        assert f"{len(MODEL)} bytes or more, over artifacts.max_bytes" in failure(
            self.MODEL_URI, self.PLACE, s3=s3, max_bytes=1000
        )

    def test_a_server_that_says_nothing_is_left_in_time(
        self, s3: dict[str, Any], model_server: ModelServer
    ) -> None:
        model_server.answers["/models/iris/x"] = lambda _: model_server.ended.wait(60)
        options = {**s3, "endpoint_url": model_server.url}
        assert "not fetched in 0.5 s" in failure(f"{self.PLACE}/x", self.PLACE, s3=options, timeout=0.5)

    def test_a_body_that_is_cut_short_is_an_error(
        self, s3: dict[str, Any], model_server: ModelServer
    ) -> None:
        model_server.answers["/models/iris/x"] = body(MODEL, len(MODEL) + 1)
        options = {**s3, "endpoint_url": model_server.url}
        assert failure(f"{self.PLACE}/x", self.PLACE, s3=options).startswith("s3://models/iris/x: ")

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_server_that_may_do_better_later_is_told_from_others(
        self, s3: dict[str, Any], model_server: ModelServer, status: int
    ) -> None:
        model_server.answers["/models/iris/x"] = body(b"", status=status)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, model_server))

    def test_a_server_that_asks_to_slow_down_may_do_better_later(
        self, s3: dict[str, Any], model_server: ModelServer
    ) -> None:
        slow_down = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
        model_server.answers["/models/iris/x"] = body(slow_down, status=400)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, model_server))

    def test_a_body_that_is_cut_short_may_be_whole_later(
        self, s3: dict[str, Any], model_server: ModelServer
    ) -> None:
        model_server.answers["/models/iris/x"] = body(MODEL, len(MODEL) + 1)
        assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, model_server))

    def test_a_server_that_is_down_may_come_back(self, s3: dict[str, Any], model_server: ModelServer) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            options = {**self.impatient(s3, model_server), "endpoint_url": url}
            assert may_pass(f"{self.PLACE}/x", self.PLACE, s3=options)

    @pytest.mark.parametrize("status", [400, 403, 404])
    def test_what_is_refused_stays_refused(
        self, s3: dict[str, Any], model_server: ModelServer, status: int
    ) -> None:
        model_server.answers["/models/iris/x"] = body(b"", status=status)
        assert not may_pass(f"{self.PLACE}/x", self.PLACE, s3=self.impatient(s3, model_server))

    @staticmethod
    def impatient(s3: dict[str, Any], model_server: ModelServer) -> dict[str, Any]:
        """Options for a server that a test answers for, without the retries of botocore."""
        config = {"retries": {"max_attempts": 0}}
        return {**s3, "endpoint_url": model_server.url, "config_kwargs": config}

    def test_a_redirect_of_the_endpoint_is_not_followed(
        self, s3: dict[str, Any], model_server: ModelServer
    ) -> None:
        model_server.answers["/models/iris/x"] = redirect("/secret")
        model_server.answers["/secret"] = body(MODEL)
        options = {**s3, "endpoint_url": model_server.url}
        failure(f"{self.PLACE}/x", self.PLACE, s3=options, timeout=60)
        assert "/secret" not in [path for path, _ in model_server.requests]

    def test_an_unknown_option_is_an_error(self, s3: dict[str, Any]) -> None:
        assert "no_such_option" in failure(self.MODEL_URI, self.PLACE, s3={**s3, "no_such_option": 1})

    def test_no_thread_outlives_a_fetch(self, s3: dict[str, Any]) -> None:
        before = set(threading.enumerate())
        fetch(self.MODEL_URI, self.PLACE, s3=s3)
        left = set(threading.enumerate()) - before
        assert not [t.name for t in left if t.name.startswith(("asyncio", "fsspec"))]

    def test_without_the_library_the_group_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        assert failure(self.MODEL_URI, self.PLACE).endswith(
            "needs s3fs, which is not installed: pip install 'modelstream[s3]'"
        )
