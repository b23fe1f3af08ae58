"""What every remote promises, whatever its protocol. A protocol's tests inherit these.

    class TestRest(RemoteContract):
        format = "rest"

        @pytest.fixture(scope="class")
        @classmethod
        def options(cls): ...  # of a real server on 127.0.0.1, with its url

A proxy stands before the real server where trouble is made, or where a test listens in.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import pytest

from tests.contract.remote_checks import (
    SECONDS,
    SECRET,
    TRACE,
    assert_same,
    fault_of,
    offload_error,
    raise_score_error,
    record_fault,
    score_all,
    score_when_back,
    traces,
    unused_port,
    with_credentials,
)
from tests.contract.troubled_proxy import Trouble, TroubledProxy, elsewhere
from tests.waiting import wait_until
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.options import Options
from udfs.remotes import Remote, Surroundings, connect

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine, on a loop of its own."""
    return asyncio.run(coroutine)


class RemoteContract:
    """The suite. A subclass names a format and gives a server of it."""

    format: ClassVar[str]
    """The format's name in the registry."""

    # --- what a subclass gives -------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Options:
        """What connects to a model of a real server; the ``url`` has 127.0.0.1 and a port."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        """Ten inputs or more that the model scores, not all of them alike."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls) -> list[JsonValue]:
        """What the model says of each."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        """An input that the model can't score."""
        raise NotImplementedError

    # --- what follows from it --------------------------------------------------------------------------

    def connect(self, options: Options, surroundings: Surroundings | None = None) -> Remote:
        """A remote of options, whose endpoint is allowed."""
        url = options["url"]
        assert isinstance(url, str)
        return connect(self.format, options, surroundings or Surroundings(AllowedPlaces([url])))

    @asynccontextmanager
    async def opened(
        self, options: Options, surroundings: Surroundings | None = None
    ) -> AsyncIterator[Remote]:
        """A remote that is ready; closed at the end."""
        remote = self.connect(options, surroundings)
        try:
            await remote.open(SECONDS)
            yield remote
        finally:
            await remote.close()

    @asynccontextmanager
    async def proxied(self, options: Options) -> AsyncIterator[tuple[TroubledProxy, Options]]:
        """A proxy before the server, and options to go through it."""
        url = str(options["url"])
        port = urlsplit(url).port
        assert port is not None
        async with TroubledProxy(port).running() as proxy:
            yield proxy, {**options, "url": elsewhere(url, proxy.port)}

    # --- scoring ---------------------------------------------------------------------------------------

    def test_each_input_has_its_outputs_in_order(
        self, options: Options, inputs: list[JsonValue], expected: list[JsonValue]
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                assert_same(await score_all(remote, inputs), expected)

        run(check())

    def test_outputs_are_the_same_alone_as_in_a_batch(
        self, options: Options, inputs: list[JsonValue], expected: list[JsonValue]
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                alone = [(await remote.score([value], SECONDS, ()))[0] for value in inputs[:10]]
                assert_same(alone, expected[:10])

        run(check())

    def test_requests_go_side_by_side(
        self, options: Options, inputs: list[JsonValue], expected: list[JsonValue]
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                answers = await asyncio.gather(
                    *(remote.score([value], SECONDS, TRACE) for value in inputs[:10] * 3)
                )
                assert_same([answer[0] for answer in answers], expected[:10] * 3)

        run(check())

    def test_inputs_are_left_as_they_were(self, options: Options, inputs: list[JsonValue]) -> None:
        async def check() -> None:
            before = repr(inputs)
            async with self.opened(options) as remote:
                await score_all(remote, inputs)
            assert repr(inputs) == before

        run(check())

    # --- bad records -----------------------------------------------------------------------------------

    def test_a_bad_record_is_at_fault_itself(
        self, options: Options, inputs: list[JsonValue], expected: list[JsonValue], bad_input: JsonValue
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                with record_fault():
                    (result,) = await remote.score([bad_input], SECONDS, ())
                    raise_score_error(result)
                # A server may close the connection behind an error, under the next request.
                await score_when_back(remote, inputs[0])
                assert_same(await score_all(remote, inputs[:3]), expected[:3])

        run(check())

    @pytest.mark.parametrize("position", [0, 1, 4])
    def test_a_bad_record_in_a_batch_fails_alone_or_is_said_to_be_in_it(
        self,
        options: Options,
        inputs: list[JsonValue],
        expected: list[JsonValue],
        bad_input: JsonValue,
        position: int,
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                if remote.max_batch == 1:
                    pytest.skip("one record a request")
                batch = [*inputs[:position], bad_input, *inputs[position:4]]
                with record_fault():
                    results = list(await remote.score(batch, SECONDS, ()))
                    assert len(results) == 5
                    error = results.pop(position)
                    assert_same(results, expected[:4])
                    raise_score_error(error)

        run(check())

    @pytest.mark.parametrize("junk", [None, True, 7, "iris", [], {}, [[]], {"": None}], ids=repr)
    def test_junk_is_the_records_fault_or_scored(self, options: Options, junk: JsonValue) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                assert await fault_of(remote, junk) in (None, Fault.RECORD, Fault.UNCLEAR)

        run(check())

    # --- trouble ---------------------------------------------------------------------------------------

    def test_a_server_that_is_not_there_may_be_there_later(
        self, options: Options, inputs: list[JsonValue]
    ) -> None:
        async def check(port: int) -> None:
            remote = self.connect({**options, "url": elsewhere(str(options["url"]), port)})
            try:
                with offload_error(Fault.PASSING) as said:
                    await remote.open(SECONDS)
                    await remote.score(inputs[:1], SECONDS, ())
                assert f":{port}" in said[0]
            finally:
                await remote.close()

        with unused_port() as port:
            run(check(port))

    def test_a_deadline_holds(
        self, options: Options, inputs: list[JsonValue], expected: list[JsonValue]
    ) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through), self.opened(through) as remote:
                proxy.trouble = Trouble.SILENCE
                start = time.monotonic()
                with offload_error(Fault.PASSING):
                    await remote.score(inputs[:1], 0.3, ())
                assert 0.25 < time.monotonic() - start < 30

        run(check())

    def test_a_deadline_holds_for_getting_ready_too(self, options: Options, inputs: list[JsonValue]) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through):
                proxy.trouble = Trouble.SILENCE
                remote = self.connect(through)
                try:
                    with offload_error(Fault.PASSING):
                        await remote.open(0.3)
                        await remote.score(inputs[:1], 0.3, ())
                finally:
                    await remote.close()

        run(check())

    @pytest.mark.parametrize(
        ("trouble", "faults"),
        [
            (Trouble.GARBAGE, (Fault.PASSING, Fault.LASTING)),
            (Trouble.HALF, (Fault.PASSING, Fault.LASTING)),
            (Trouble.RESET, (Fault.PASSING,)),
        ],
        ids=lambda value: value.name.lower() if isinstance(value, Trouble) else "",
    )
    def test_trouble_is_an_offload_error_and_the_remote_goes_on_after_it(
        self,
        options: Options,
        inputs: list[JsonValue],
        expected: list[JsonValue],
        trouble: Trouble,
        faults: tuple[Fault, ...],
    ) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through), self.opened(through) as remote:
                proxy.trouble = trouble
                with offload_error(*faults):
                    await remote.score(inputs[:1], 5.0, ())
                proxy.trouble = Trouble.NONE
                assert_same(await score_when_back(remote, inputs[0]), expected[:1])

        run(check())

    # --- what goes with a request ----------------------------------------------------------------------

    def test_trace_headers_arrive(self, options: Options, inputs: list[JsonValue]) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through), self.opened(through) as remote:
                await remote.score(inputs[:1], SECONDS, TRACE)
                assert TRACE[0] in proxy.headers()

        run(check())

    def test_credentials_arrive(
        self, options: Options, inputs: list[JsonValue], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through):
                shown = with_credentials(through, monkeypatch)
                async with self.opened(*shown) as remote:
                    await remote.score(inputs[:1], SECONDS, ())
                assert ("authorization", f"Bearer {SECRET}") in proxy.headers()

        run(check())

    @pytest.mark.parametrize("trouble", [Trouble.SILENCE, Trouble.GARBAGE, Trouble.RESET])
    def test_credentials_are_in_no_error_and_no_repr(
        self,
        options: Options,
        inputs: list[JsonValue],
        bad_input: JsonValue,
        monkeypatch: pytest.MonkeyPatch,
        trouble: Trouble,
    ) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through):
                shown = with_credentials(through, monkeypatch)
                async with self.opened(*shown) as remote:
                    assert SECRET not in repr(remote) + remote.endpoint
                    with record_fault() as said:
                        raise_score_error((await remote.score([bad_input], SECONDS, ()))[0])
                    assert SECRET not in said[0]
                    proxy.trouble = trouble
                    with offload_error(*Fault) as said:
                        await remote.score(inputs[:1], 0.5, ())
                    assert SECRET not in said[0]

        run(check())

    # --- connecting and closing ------------------------------------------------------------------------

    def test_connecting_asks_nobody(self, options: Options) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through):
                await self.connect(through).close()
                assert proxy.connections == 0

        run(check())

    def test_opening_says_whether_it_asked_anybody(self, options: Options) -> None:
        async def check() -> None:
            async with self.proxied(options) as (proxy, through):
                remote = self.connect(through)
                try:
                    has_answered = await remote.open(SECONDS)
                finally:
                    await remote.close()
                assert has_answered is (proxy.connections > 0)

        run(check())

    def test_opening_does_not_say_of_a_server_that_is_not_there_that_it_answered(
        self, options: Options
    ) -> None:
        async def check(port: int) -> None:
            remote = self.connect({**options, "url": elsewhere(str(options["url"]), port)})
            try:
                with suppress(OffloadError):
                    assert not await remote.open(SECONDS)
            finally:
                await remote.close()

        with unused_port() as port:
            run(check(port))

    def test_the_endpoint_is_the_servers_url_without_a_path(self, options: Options) -> None:
        parts = urlsplit(str(options["url"]))
        assert self.connect(options).endpoint == f"{parts.scheme}://{parts.netloc}"

    def test_an_unknown_option_is_a_load_error_that_names_it(self, options: Options) -> None:
        with pytest.raises(ModelLoadError, match="no_such_option"):
            self.connect({**options, "no_such_option": "1"})

    def test_a_missing_url_is_a_load_error_that_names_it(self, options: Options) -> None:
        with pytest.raises(ModelLoadError, match="url"):
            connect(self.format, {key: options[key] for key in options if key != "url"}, Surroundings())

    @pytest.mark.parametrize("url", ["", "127.0.0.1", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/x", 7])
    def test_a_wrong_url_is_a_load_error_that_names_it(self, options: Options, url: JsonValue) -> None:
        with pytest.raises(ModelLoadError, match="url"):
            connect(self.format, {**options, "url": url}, Surroundings())

    def test_an_endpoint_that_is_not_allowed_is_refused(self, options: Options) -> None:
        with pytest.raises(ModelLoadError, match=r"artifacts\.allow"):
            self.connect(options, Surroundings(AllowedPlaces(["http://127.0.0.1:1/x"])))

    def test_a_host_of_a_private_address_is_refused_unless_a_setting_names_it(
        self, options: Options, inputs: list[JsonValue]
    ) -> None:
        async def check() -> None:
            url = str(options["url"]).replace("127.0.0.1", "localhost")
            remote = self.connect({**options, "url": url})
            try:
                with offload_error(Fault.LASTING) as said:
                    await remote.open(SECONDS)
                    await remote.score(inputs[:1], SECONDS, ())
                assert "not a public address" in said[0]
            finally:
                await remote.close()

        run(check())

    def test_unknown_credentials_are_a_load_error_that_names_them(self, options: Options) -> None:
        with pytest.raises(ModelLoadError, match="nobodys"):
            self.connect({**options, "credentials": "nobodys"})

    def test_closing_is_final(self, options: Options, inputs: list[JsonValue]) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                await remote.score(inputs[:1], SECONDS, ())
            with offload_error(*Fault):
                await remote.score(inputs[:1], SECONDS, ())

        run(check())

    def test_nothing_is_left_behind_when_it_is_closed(
        self, options: Options, inputs: list[JsonValue]
    ) -> None:
        async def check() -> None:
            async with self.opened(options) as remote:
                await score_all(remote, inputs[:10])

        run(check())  # a library's own threads start here
        before = traces()
        run(check())
        wait_until(lambda: all(now <= then for now, then in zip(traces(), before, strict=True)))
