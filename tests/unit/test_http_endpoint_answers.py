"""HTTP endpoints: how each fault is read, and what is taken of an answer."""

import gzip
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tests.http_endpoints import failure, post, with_endpoint
from tests.http_stand_in import Answer, HttpStandIn
from udfs.errors import Fault, OffloadError
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._http_bodies import MAX_ANSWER_BYTES


class TestFaults:
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_a_refusal_of_the_content_is_the_records_fault(
        self, http_server: HttpStandIn, status: int
    ) -> None:
        http_server.answer = lambda _: Answer(b"x", status)
        assert failure(http_server.url).fault is Fault.RECORD

    def test_a_server_that_fails_may_do_so_of_the_content_or_of_any(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(b"x", 500)
        assert failure(http_server.url).fault is Fault.UNCLEAR

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_a_refusal_is_an_answer(self, http_server: HttpStandIn, status: int) -> None:
        http_server.answer = lambda _: Answer(b"x", status)
        assert failure(http_server.url).is_answer

    @pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
    def test_an_overloaded_server_may_be_better_later(self, http_server: HttpStandIn, status: int) -> None:
        http_server.answer = lambda _: Answer(b"x", status)
        assert failure(http_server.url).fault is Fault.PASSING

    @pytest.mark.parametrize("status", [304, 401, 403, 404, 405, 501, 505])
    def test_any_other_refusal_lasts(self, http_server: HttpStandIn, status: int) -> None:
        http_server.answer = lambda _: Answer(b"", status)
        assert failure(http_server.url).fault is Fault.LASTING

    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_any_success_is_one(self, http_server: HttpStandIn, status: int) -> None:
        http_server.answer = lambda _: Answer(b"x", status)
        assert post(http_server.url) == b"x"

    def test_an_error_says_who_was_asked_for_what_and_what_the_server_said(
        self, http_server: HttpStandIn
    ) -> None:
        http_server.answer = lambda _: Answer(b'{"detail":\n  "no such \x07 field"}', 422)
        url = f"{http_server.url}/score"
        assert str(failure(f"{http_server.url}?key=hidden")) == (
            f'POST {url}: 422 Unprocessable Entity: {{"detail": "no such \ufffd field"}}'
        )

    def test_an_error_shows_little_of_a_long_answer(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(b"blah " * 1_000_000, 500)
        assert str(failure(http_server.url)).endswith("blah blah …")

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed_and_said(self, http_server: HttpStandIn, status: int) -> None:
        target = f"{http_server.url}/other?signature=hidden"
        http_server.answer = lambda _: Answer(b"", status, {"location": target})
        error = failure(http_server.url)
        assert error.fault is Fault.LASTING
        assert f"redirects to {http_server.url}/other, which is not followed" in str(error)
        assert "hidden" not in str(error)
        assert len(http_server.asked) == 1

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
        self, http_server: HttpStandIn, text: str, seconds: float | None
    ) -> None:
        http_server.answer = lambda _: Answer(b"", 503, {"retry-after": text})
        assert failure(http_server.url).retry_after == seconds

    def test_retry_after_as_a_date_is_read(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(
            b"", 429, {"retry-after": formatdate(time.time() + 3600, usegmt=True)}
        )
        seconds = failure(http_server.url).retry_after
        assert seconds is not None
        assert 3000 < seconds < 3601

    def test_a_date_that_is_over_is_no_wait(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(b"", 429, {"retry-after": formatdate(0, usegmt=True)})
        assert failure(http_server.url).retry_after == 0

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
    def test_an_answer_that_is_none_may_pass(self, http_server: HttpStandIn, answer: bytes) -> None:
        http_server.answer = lambda _: answer
        assert failure(http_server.url).fault is Fault.PASSING

    def test_a_server_that_says_nothing_is_left_in_time(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: None
        start = time.monotonic()
        error = failure(http_server.url, seconds=0.3)
        assert time.monotonic() - start < 30
        assert (error.fault, str(error)) == (
            Fault.PASSING,
            f"POST {http_server.url}/score: no whole answer in 0.3 s",
        )

    def test_a_body_that_does_not_end_is_left_in_time(self, http_server: HttpStandIn) -> None:
        def drip() -> Iterator[bytes]:
            while not http_server.ended.wait(0.02):
                yield b"x"

        http_server.answer = lambda _: Answer(drip(), length=None)
        assert "no whole answer" in str(failure(http_server.url, seconds=0.3))

    def test_an_unknown_host_may_be_known_later(self) -> None:
        error = failure("http://nowhere.invalid")
        assert (error.fault, "nowhere.invalid: no address" in str(error)) == (Fault.PASSING, True)

    def test_nothing_is_asked_after_closing(self, http_server: HttpStandIn) -> None:
        async def use(endpoint: HttpEndpoint) -> None:
            await endpoint.close()
            await endpoint.get("", 1.0)

        with pytest.raises(OffloadError, match="closed"):
            with_endpoint(http_server.url, use)


class TestBounds:
    def test_an_answer_of_exactly_the_bound_is_taken(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(bytes(MAX_ANSWER_BYTES), length=None)
        assert len(post(http_server.url)) == MAX_ANSWER_BYTES

    def test_what_says_that_it_is_too_large_is_not_read(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(b"x", length=MAX_ANSWER_BYTES + 1)
        error = failure(http_server.url)
        assert error.fault is Fault.LASTING
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(error)

    def test_what_does_not_say_its_size_is_left_once_it_is_too_large(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(bytes(MAX_ANSWER_BYTES + 1), length=None)
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(failure(http_server.url))

    def test_an_answer_in_gzip_is_unpacked(self, http_server: HttpStandIn) -> None:
        http_server.answer = lambda _: Answer(
            gzip.compress(b"x" * 100_000), headers={"content-encoding": "gzip"}
        )
        assert post(http_server.url) == b"x" * 100_000

    def test_an_answer_that_unpacks_to_too_much_is_left(self, http_server: HttpStandIn) -> None:
        packed = gzip.compress(bytes(4 * MAX_ANSWER_BYTES), 1)
        http_server.answer = lambda _: Answer(packed, headers={"content-encoding": "gzip"})
        assert f"more than {MAX_ANSWER_BYTES} bytes" in str(failure(http_server.url))

    @pytest.mark.parametrize(
        ("body", "coding", "cause"),
        [
            (b"plain", "gzip", "not the gzip"),
            (gzip.compress(b"x" * 1000)[:-9], "gzip", "gzip breaks off"),
            (gzip.compress(b"x") + b"y", "gzip", "goes on after"),
            (b"x", "br", "encoded as 'br'"),
            (gzip.compress(gzip.compress(b"x")), "gzip, gzip", "encoded as 'gzip, gzip'"),
        ],
        ids=["none", "broken off", "with more after it", "another", "twice"],
    )
    def test_an_answer_in_another_coding_lasts(
        self, http_server: HttpStandIn, body: bytes, coding: str, cause: str
    ) -> None:
        http_server.answer = lambda _: Answer(body, headers={"content-encoding": coding})
        error = failure(http_server.url)
        assert (error.fault, cause in str(error)) == (Fault.LASTING, True)
