"""rest remotes: where inputs go, where outputs are, and what each answer means for its records."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.http_stand_in import Answer, HttpStandIn, http_stand_in, json_answer
from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.remotes import Surroundings, connect
from udfs.remotes.base import Remote


@pytest.fixture
def server() -> Iterator[HttpStandIn]:
    with http_stand_in(lambda _: json_answer({"score": 0.5})) as server:
        yield server


def rest(server: HttpStandIn | None, options: Mapping[str, JsonValue]) -> Remote:
    url = server.url if server else "http://127.0.0.1:1"
    return connect("rest", {"url": f"{url}/score", **options}, Surroundings(AllowedPlaces([url])))


def score(
    server: HttpStandIn, inputs: Sequence[JsonValue], /, **options: JsonValue
) -> Sequence[JsonValue | ScoreError]:
    async def run() -> Sequence[JsonValue | ScoreError]:
        remote = rest(server, options)
        try:
            await remote.open(60)
            return await remote.score(inputs, 60, ())
        finally:
            await remote.close()

    return asyncio.run(run())


def failure(server: HttpStandIn, inputs: Sequence[JsonValue], /, **options: JsonValue) -> str:
    with pytest.raises(OffloadError) as caught:
        score(server, inputs, **options)
    assert caught.value.fault is Fault.LASTING
    return str(caught.value)


def refused(**options: JsonValue) -> str:
    with pytest.raises(ModelLoadError) as caught:
        rest(None, options)
    return str(caught.value)


def sent(server: HttpStandIn) -> list[JsonValue]:
    return [json.loads(asked.body) for asked in server.asked]


class TestOneByOne:
    def test_the_input_is_the_body_and_the_answer_the_output(self, server: HttpStandIn) -> None:
        assert score(server, [{"amount": 7}]) == [{"score": 0.5}]
        assert sent(server) == [{"amount": 7}]
        assert server.asked[0][:2] == ("POST", "/score")

    def test_one_record_is_the_most(self) -> None:
        assert rest(None, {}).max_batch == 1

    @pytest.mark.parametrize(
        ("options", "body"),
        [
            ({"inputs": "payload.input"}, {"payload": {"input": 7}}),
            ({"inputs": "x", "body": {"model": "fraud"}}, {"model": "fraud", "x": 7}),
            ({"inputs": "x", "body": '{"model": "fraud"}'}, {"model": "fraud", "x": 7}),
            ({"inputs": "p.x", "body": {"p": {"k": 'é"'}}}, {"p": {"k": 'é"', "x": 7}}),
            ({"inputs": "x", "body": {"x": "here"}}, {"x": 7}),
        ],
    )
    def test_the_input_is_put_where_options_say(
        self, server: HttpStandIn, options: dict[str, JsonValue], body: JsonValue
    ) -> None:
        score(server, [7], **options)
        assert sent(server) == [body]

    @pytest.mark.parametrize(("output", "found"), [("a.score", 1), ("b.0", 2), ("a", {"score": 1})])
    def test_the_output_is_where_options_say(
        self, server: HttpStandIn, output: str, found: JsonValue
    ) -> None:
        server.answer = lambda _: json_answer({"a": {"score": 1}, "b": [2]})
        assert score(server, [7], output=output) == [found]

    def test_an_answer_without_it_lasts_and_is_shown(self, server: HttpStandIn) -> None:
        assert failure(server, [7], output="a.b") == (f'{server.url}: the answer has no a: {{"score": 0.5}}')

    def test_what_the_server_says_against_the_record_is_its_error(self, server: HttpStandIn) -> None:
        server.answer = lambda _: json_answer({"error": {"text": "no such\ncountry"}})
        (error,) = score(server, [7], error="error.text", output="score")
        assert isinstance(error, ScoreError)
        assert str(error) == f"{server.url} says: no such country"

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_the_method_is_as_options_say(self, server: HttpStandIn, method: str) -> None:
        score(server, [7], method=method)
        assert server.asked[0].method == method


class TestList:
    @staticmethod
    def echo(asked: Any) -> Answer:
        return json_answer({"outputs": [{"got": one} for one in json.loads(asked.body)]})

    def test_the_inputs_are_an_array_and_so_are_the_outputs(self, server: HttpStandIn) -> None:
        server.answer = self.echo
        assert score(server, [1, None, {"a": []}], batch="list", output="outputs") == [
            {"got": 1},
            {"got": None},
            {"got": {"a": []}},
        ]
        assert len(server.asked) == 1

    def test_there_is_no_most(self) -> None:
        assert rest(None, {"batch": "list"}).max_batch is None

    def test_the_array_is_put_where_options_say(self, server: HttpStandIn) -> None:
        server.answer = lambda _: json_answer([1, 2])
        score(server, ["a", "b"], batch="list", inputs="payload.instances")
        assert sent(server) == [{"payload": {"instances": ["a", "b"]}}]

    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            ({"outputs": [1]}, "has 1 items at outputs for 2 records"),
            ({"outputs": [1, 2, 3]}, "has 3 items at outputs for 2 records"),
            ({"outputs": {"0": 1, "1": 2}}, "has no array at outputs"),
            ({"outputs": None}, "has no array at outputs"),
            ([1, 2], "has no outputs"),
        ],
    )
    def test_an_answer_of_another_length_lasts(self, server: HttpStandIn, answer: object, cause: str) -> None:
        server.answer = lambda _: json_answer(answer)
        assert f"the answer {cause}: " in failure(server, [1, 2], batch="list", output="outputs")

    def test_records_that_the_server_names_fail_alone(self, server: HttpStandIn) -> None:
        items = [{"y": 1}, {"error": "too large"}, {"error": None, "y": 2}, {"error": False}, {"error": ""}]
        server.answer = lambda _: json_answer(items)
        results = score(server, list(range(5)), batch="list", error="error")
        errors = [str(one) for one in results if isinstance(one, ScoreError)]
        assert errors == [f"{server.url} says: too large"]
        assert [one for one in results if not isinstance(one, ScoreError)] == [items[0], *items[2:]]

    def test_an_error_that_is_no_text_is_shown_as_json(self, server: HttpStandIn) -> None:
        server.answer = lambda _: json_answer([{"error": {"code": 7}}])
        (error,) = score(server, [0], batch="list", error="error")
        assert str(error) == f'{server.url} says: {{"code": 7}}'

    def test_a_record_that_is_no_json_fails_alone(self, server: HttpStandIn) -> None:
        server.answer = self.echo
        results = score(server, [1, 2**70, 3], batch="list", output="outputs")
        assert [type(one) for one in results] == [dict, ScoreError, dict]
        assert sent(server) == [[1, 3]]

    def test_nothing_is_asked_where_all_records_are_none(self, server: HttpStandIn) -> None:
        results = score(server, [2**70, {"a": 2**70}], batch="list")
        assert [type(one) for one in results] == [ScoreError, ScoreError]
        assert server.asked == []

    def test_numbers_that_json_can_t_say_are_null(self, server: HttpStandIn) -> None:
        server.answer = self.echo
        score(server, [float("nan")], batch="list", output="outputs")
        assert sent(server) == [[None]]


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"{", b"\xff"])
def test_an_answer_that_is_no_json_lasts(server: HttpStandIn, body: bytes) -> None:
    server.answer = lambda _: Answer(body)
    assert f"{server.url}: the answer is no JSON: " in failure(server, [1])


def test_headers_go_with_the_request(server: HttpStandIn) -> None:
    score(server, [1], headers={"X-Team": "fraud", "Content-Type": "application/vnd.x+json"})
    headers = server.asked[0].headers
    assert (headers["x-team"], headers["content-type"]) == ("fraud", "application/vnd.x+json")


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "X-API-Key"])
def test_headers_for_secrets_are_refused(name: str) -> None:
    text = refused(headers={name: "secret"})
    assert "use credentials" in text
    assert "secret" not in text.replace("secrets", "")


@pytest.mark.parametrize("name", ["Host", "Content-Length", "transfer-encoding", "x y", "", "a:b", "é"])
def test_headers_that_can_t_be_set_are_refused(name: str) -> None:
    assert "is no header that can be set" in refused(headers={name: "x"})


@pytest.mark.parametrize("value", [1, None, "", "a\r\nb: c", "é"])
def test_values_that_no_header_has_are_refused(value: JsonValue) -> None:
    assert "expected a text of visible ASCII characters" in refused(headers={"x-team": value})


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"method": "GET"}, "option method: expected POST or PUT"),
        ({"batch": "all"}, "option batch: expected single or list"),
        ({"body": [1]}, "option body: expected a JSON object"),
        ({"body": {"a": 1}}, "option body: say with the option inputs where in it the inputs go"),
        ({"body": {"a": 1}, "inputs": "a.b"}, "option inputs: a.b: the body has no object that b could be"),
        ({"body": {"a": 2**70}, "inputs": "b"}, "option body: can't be written as JSON"),
        ({"inputs": "a..b"}, "option inputs: expected names"),
        ({"output": "."}, "option output: expected names"),
        ({"error": "a."}, "option error: expected names"),
        ({"repeatable": "perhaps"}, "option repeatable: expected true or false"),
        ({"headers": "x-a: b"}, "option headers: expected a JSON object"),
        ({"credentials": 1}, "option credentials: expected a text"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, JsonValue], cause: str) -> None:
    assert cause in refused(**options)


@pytest.mark.parametrize(("given", "repeatable"), [({}, False), ({"repeatable": "true"}, True)])
def test_a_request_is_sent_again_only_where_options_allow_it(
    given: dict[str, JsonValue], repeatable: bool
) -> None:
    assert rest(None, given).is_repeatable is repeatable
