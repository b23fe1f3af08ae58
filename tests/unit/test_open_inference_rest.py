"""An inference server over REST: what it is asked, and what it may answer. The servers are stand-ins."""

from typing import Any

import pytest

from tests.inference_servers import connected, json_stand_in, score
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.json_values import JsonValue

SUM_JSON = {"name": "sum", "datatype": "FP32", "shape": [2], "data": [3.0, 7.0]}
METADATA_JSON = {"name": "adder", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}


class TestRest:
    def test_a_batch_is_one_request_of_flat_tensors(self) -> None:
        with json_stand_in({"outputs": [SUM_JSON]}, METADATA_JSON) as (url, asked):
            assert score(url, [1, 2], [3, 4.5]) == [{"sum": 3.0}, {"sum": 7.0}]
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.5]}]}
        assert asked == [("/v2/models/adder", None), ("/v2/models/adder/infer", body)]

    def test_version_outputs_and_parameters_go_with_the_request(self) -> None:
        options: dict[str, JsonValue] = {"version": "3", "outputs": "sum", "parameters": '{"top": 3}'}
        with json_stand_in({"outputs": [SUM_JSON]}, METADATA_JSON) as (url, asked):
            score(url, [1, 2], [3, 4], **options)
        (metadata_path, _), (path, body) = asked
        assert metadata_path == "/v2/models/adder/versions/3"
        assert path == "/v2/models/adder/versions/3/infer"
        assert body["outputs"] == [{"name": "sum"}]
        assert body["parameters"] == {"top": 3}

    def test_texts_are_texts(self) -> None:
        metadata = {"inputs": [{"name": "word", "datatype": "BYTES", "shape": [-1]}], "outputs": None}
        answer = {"outputs": [{"name": "p", "datatype": "BYTES", "shape": [1], "data": ["ü"]}]}
        with json_stand_in(answer, metadata) as (url, asked):
            assert score(url, "ä") == [{"p": "ü"}]
        assert asked[1][1]["inputs"][0]["data"] == ["ä"]

    def test_a_name_is_one_segment_of_the_path(self) -> None:
        with json_stand_in({"outputs": [SUM_JSON]}, METADATA_JSON) as (url, asked):
            score(url, [1, 2], [3, 4], model="a b?c")
        assert asked[0][0] == "/v2/models/a%20b%3Fc"

    @pytest.mark.parametrize("model", ["..", "a/../b", "a\\b"])
    def test_a_name_that_leads_elsewhere_is_a_load_error(self, model: str) -> None:
        with pytest.raises(ModelLoadError):
            connected("http://127.0.0.1:1", model=model)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"outputs": [{"name": "sum", "datatype": "FP32", "shape": [2], "data": [3.0,',
            b"[" * 100_000,
            b"\xff",
            {"outputs": {}},
            {"outputs": []},
            {"outputs": [{}]},
            {"outputs": [{**SUM_JSON, "data": None}]},
            {"outputs": [{**SUM_JSON, "data": "37"}]},
            {"outputs": [{**SUM_JSON, "data": [3.0]}]},
            {"outputs": [{**SUM_JSON, "data": ["3", "7"]}]},
            {"outputs": [{**SUM_JSON, "data": [[3.0, 7.0]]}]},
            {"outputs": [{**SUM_JSON, "shape": [2.5]}]},
            {"outputs": [{**SUM_JSON, "shape": "2"}]},
            {"outputs": [{**SUM_JSON, "shape": [1, 2]}]},
            {"outputs": [{**SUM_JSON, "shape": [1 << 63]}]},
            {"outputs": [{**SUM_JSON, "datatype": "FP8"}]},
            {"outputs": [{**SUM_JSON, "name": 5}]},
            {"outputs": [SUM_JSON, SUM_JSON]},
        ],
    )
    def test_an_answer_that_is_none_is_lasting(self, answer: Any) -> None:
        with json_stand_in(answer, METADATA_JSON) as (url, _), pytest.raises(OffloadError) as caught:
            score(url, [1, 2], [3, 4])
        assert caught.value.fault is Fault.LASTING
        assert f"{url}: model adder" in str(caught.value)

    @pytest.mark.parametrize(
        "metadata",
        [
            b"",
            b"<html>",
            b"[]",
            {"inputs": 5},
            {"inputs": [5]},
            {"inputs": [{"name": "x"}]},
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1.5]}]},
            {"inputs": None},
            {},
        ],
    )
    def test_metadata_that_are_none_are_a_load_error(self, metadata: Any) -> None:
        with (
            json_stand_in({}, metadata) as (url, _),
            pytest.raises(ModelLoadError, match=f"{url}: model adder"),
        ):
            score(url, [1, 2])

    def test_nan_comes_back_as_null_or_as_nan(self) -> None:
        answer = b'{"outputs": [{"name": "p", "datatype": "FP64", "shape": [3], "data": [NaN, Infinity, 1]}]}'
        with json_stand_in(answer, METADATA_JSON) as (url, _):
            assert repr(score(url, *[[1, 2]] * 3)) == "[{'p': nan}, {'p': inf}, {'p': 1.0}]"
