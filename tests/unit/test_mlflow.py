"""mlflow remotes: the forms that records go in, and the shapes that predictions come in."""

import asyncio
import json
from collections.abc import Iterator, Sequence

import pytest

from tests.http_stand_in import Answer, HttpStandIn, http_stand_in, json_answer
from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.remotes import Surroundings, connect

RECORDS: list[JsonValue] = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@pytest.fixture
def server() -> Iterator[HttpStandIn]:
    with http_stand_in(lambda _: json_answer({"predictions": ["x", "y"]})) as server:
        yield server


def score(
    server: HttpStandIn, inputs: Sequence[JsonValue] = RECORDS, /, **options: JsonValue
) -> Sequence[JsonValue | ScoreError]:
    async def run() -> Sequence[JsonValue | ScoreError]:
        remote = connect("mlflow", {"url": server.url, **options}, Surroundings(AllowedPlaces([server.url])))
        try:
            return await remote.score(inputs, 60, ())
        finally:
            await remote.close()

    return asyncio.run(run())


def failure(
    server: HttpStandIn, inputs: Sequence[JsonValue] = RECORDS, /, **options: JsonValue
) -> OffloadError:
    with pytest.raises(OffloadError) as caught:
        score(server, inputs, **options)
    return caught.value


def sent(server: HttpStandIn) -> JsonValue:
    (asked,) = server.asked
    assert asked[:2] == ("POST", "/invocations")
    body: JsonValue = json.loads(asked.body)
    return body


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}),
        ({"fields": "b,a"}, {"dataframe_split": {"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}}),
        ({"fields": ["a"]}, {"dataframe_split": {"columns": ["a"], "data": [[1], [3]]}}),
        ({"input": "instances"}, {"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}),
        ({"input": "instances", "fields": "b"}, {"instances": [{"b": 2}, {"b": 4}]}),
        ({"input": "inputs"}, {"inputs": {"a": [1, 3], "b": [2, 4]}}),
    ],
)
def test_objects_go_in_the_form_that_options_say(
    server: HttpStandIn, options: dict[str, JsonValue], body: JsonValue
) -> None:
    assert score(server, **options) == ["x", "y"]
    assert sent(server) == body


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {"dataframe_split": {"data": [[1, 2], [3, 4]]}}),
        ({"fields": "a,b"}, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}),
        ({"input": "instances"}, {"instances": [[1, 2], [3, 4]]}),
        ({"input": "inputs"}, {"inputs": [[1, 2], [3, 4]]}),
        ({"input": "inputs", "fields": "a,b"}, {"inputs": {"a": [1, 3], "b": [2, 4]}}),
    ],
)
def test_arrays_do_too(server: HttpStandIn, options: dict[str, JsonValue], body: JsonValue) -> None:
    score(server, [[1, 2], [3, 4]], **options)
    assert sent(server) == body


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_scalars_go_where_the_form_has_them(server: HttpStandIn, form: str) -> None:
    score(server, ["a text", "another"], input=form)
    assert sent(server) == {form: ["a text", "another"]}


class TestBadRecords:
    def test_a_record_without_a_field_fails_alone(self, server: HttpStandIn) -> None:
        results = score(server, [RECORDS[0], {"a": 1, "c": 3}, RECORDS[1]], fields="a,b")
        assert [str(one) for one in results] == ["x", "has no b", "y"]

    @pytest.mark.parametrize(
        ("value", "cause"),
        [
            ([1], "expected 2 elements (a, b), got 1"),
            (7, "expected an object of named fields or an array, got a int"),
            (None, "expected an object of named fields or an array, got null"),
            ({"a": 1, "b": 2**70}, "can't be written as JSON"),
        ],
    )
    def test_a_record_of_another_kind_fails_alone(
        self, server: HttpStandIn, value: JsonValue, cause: str
    ) -> None:
        results = score(server, [value, *RECORDS], fields="a,b")
        assert isinstance(results[0], ScoreError)
        assert cause in str(results[0])
        assert results[1:] == ["x", "y"]

    @pytest.mark.parametrize("value", [None, 7, "text", {}, []])
    def test_what_is_no_row_of_a_table_fails_alone(self, server: HttpStandIn, value: JsonValue) -> None:
        results = score(server, [*RECORDS, value])
        assert isinstance(results[2], ScoreError)

    @pytest.mark.parametrize("form", ["dataframe_split", "instances", "inputs"])
    @pytest.mark.parametrize("other", [{"a": 1}, {"a": 1, "c": 2}, {"b": 1, "a": 2}, [1, 2]], ids=repr)
    def test_records_of_different_fields_are_not_sent_together(
        self, server: HttpStandIn, form: str, other: JsonValue
    ) -> None:
        error = failure(server, [*RECORDS, other], input=form)
        assert error.fault is Fault.RECORD
        assert "see option fields" in str(error)
        assert server.asked == []

    def test_nothing_is_asked_where_all_are_bad(self, server: HttpStandIn) -> None:
        score(server, [1, None])
        assert server.asked == []


class TestPredictions:
    @pytest.mark.parametrize(
        ("predictions", "outputs"),
        [
            ([1, 2], [1, 2]),
            ([{"p": 1}, {"p": 2}], [{"p": 1}, {"p": 2}]),
            ({"p": [1, 2], "q": [[3], [4]]}, [{"p": 1, "q": [3]}, {"p": 2, "q": [4]}]),
        ],
    )
    def test_predictions_of_records_and_of_outputs_are_read(
        self, server: HttpStandIn, predictions: object, outputs: list[JsonValue]
    ) -> None:
        server.answer = lambda _: json_answer({"predictions": predictions})
        assert score(server) == outputs

    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            ({"predictions": [1]}, "has 1 predictions for 2 records"),
            ({"predictions": {"p": [1, 2], "q": [3]}}, "has 1 predictions for 2 records"),
            ({"predictions": {"p": 1}}, "has a int for 2 records"),
            ({"predictions": {}}, "has an object for 2 records"),
            ({"predictions": "many"}, "has a str for 2 records"),
            ({"outputs": [1, 2]}, "has no predictions"),
            ([1, 2], "has no predictions"),
        ],
    )
    def test_an_answer_of_another_shape_lasts(self, server: HttpStandIn, answer: object, cause: str) -> None:
        server.answer = lambda _: json_answer(answer)
        error = failure(server)
        assert error.fault is Fault.LASTING
        assert f"{server.url}: the answer {cause}: " in str(error)

    def test_an_answer_that_is_no_json_lasts(self, server: HttpStandIn) -> None:
        server.answer = lambda _: Answer(b"pong")
        assert "the answer is no JSON: pong" in str(failure(server))


def test_a_server_that_is_not_ready_is_an_error_of_opening(server: HttpStandIn) -> None:
    async def run() -> None:
        remote = connect("mlflow", {"url": server.url}, Surroundings(AllowedPlaces([server.url])))
        try:
            await remote.open(60)
        finally:
            await remote.close()

    server.answer = lambda asked: Answer(b"loading", 503 if asked.path == "/ping" else 200)
    with pytest.raises(OffloadError, match=r"GET .*/ping: 503 Service Unavailable: loading") as caught:
        asyncio.run(run())
    assert caught.value.fault is Fault.PASSING


def test_scoring_may_be_repeated() -> None:
    url = "http://127.0.0.1:1"
    assert connect("mlflow", {"url": url}, Surroundings(AllowedPlaces([url]))).is_repeatable


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"input": "csv"}, "option input: expected dataframe_split or instances or inputs"),
        ({"fields": [1]}, "option fields: expected names"),
        ({"columns": "a"}, "unknown option 'columns'"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, JsonValue], cause: str) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(ModelLoadError, match=cause):
        connect("mlflow", {"url": url, **options}, Surroundings(AllowedPlaces([url])))
