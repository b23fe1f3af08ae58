"""What an inference server is asked, over gRPC, and what the options say. The servers are stand-ins."""

import asyncio

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import (
    InferTensorContents,
    ModelMetadataResponse,
)

from tests.inference_servers import (
    InferOutput,
    StandIn,
    TensorMetadata,
    answer_of,
    connected,
    score,
    stand_in,
)
from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options


class TestRequests:
    def test_a_batch_is_one_request_of_raw_tensors(self) -> None:
        with stand_in() as server:
            assert score(server.url, [1, 2], [3, 4.5]) == [{"sum": 3.0}, {"sum": 7.5}]
            (request,) = server.requests
        (x,) = request.inputs
        assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [2, 2])
        assert not x.HasField("contents")
        assert list(request.raw_input_contents) == [np.array([1, 2, 3, 4.5], "<f4").tobytes()]

    def test_the_model_is_asked_for_by_name(self) -> None:
        with stand_in() as server:
            score(server.url, [1, 2])
            for name, version in (
                (server.metadata_request.name, server.metadata_request.version),
                (server.requests[0].model_name, server.requests[0].model_version),
            ):
                assert (name, version) == ("adder", "")

    def test_and_by_version_where_one_is_given(self) -> None:
        with stand_in() as server:
            score(server.url, [1, 2], version="3")
            assert server.metadata_request.version == "3"
            assert server.requests[0].model_version == "3"

    def test_wanted_outputs_and_parameters_go_with_the_request(self) -> None:
        parameters: JsonValue = {"content_type": "np", "top": 3, "deep": True, "share": 0.5}
        with stand_in() as server:
            score(server.url, [1, 2], outputs="sum", parameters=parameters)
            (request,) = server.requests
        assert [one.name for one in request.outputs] == ["sum"]
        sent = request.parameters
        assert sent["content_type"].string_param == "np"
        assert sent["top"].int64_param == 3
        assert sent["deep"].bool_param is True
        assert sent["share"].double_param == 0.5

    def test_fields_name_the_elements(self) -> None:
        with stand_in() as server:
            assert score(server.url, {"b": 2, "a": 40, "c": 1}, fields="a,b") == [{"sum": 42.0}]
            assert server.requests[0].raw_input_contents[0] == np.array([40, 2], "<f4").tobytes()

    @pytest.mark.parametrize(("axes", "shape"), [([-1], [2]), ([-1, 1], [2, 1])])
    def test_a_record_may_be_a_scalar(self, axes: list[int], shape: list[int]) -> None:
        scalar = TensorMetadata(name="n", datatype="INT64", shape=axes)
        output = InferOutput(
            name="p", datatype="INT64", shape=[2], contents=InferTensorContents(int64_contents=[7, 8])
        )
        with stand_in(lambda request: answer_of(output), ModelMetadataResponse(inputs=[scalar])) as server:
            assert score(server.url, 1, 2) == [{"p": 7}, {"p": 8}]
            assert list(server.requests[0].inputs[0].shape) == shape

    def test_several_inputs_come_by_name(self) -> None:
        inputs = [
            TensorMetadata(name="word", datatype="BYTES", shape=[-1, 1]),
            TensorMetadata(name="known", datatype="BOOL", shape=[-1]),
        ]
        output = InferOutput(
            name="p", datatype="BYTES", shape=[1], contents=InferTensorContents(bytes_contents=["ü".encode()])
        )
        with stand_in(lambda request: answer_of(output), ModelMetadataResponse(inputs=inputs)) as server:
            assert score(server.url, {"known": True, "word": "a"}) == [{"p": "ü"}]
            assert list(server.requests[0].raw_input_contents) == [b"\1\0\0\0a", b"\1"]

    def test_a_bad_record_fails_alone_and_is_not_sent(self) -> None:
        with stand_in() as server:
            results = score(server.url, [1, 2], ["one", 2], [3, 4])
            (request,) = server.requests
        assert results[::2] == [{"sum": 3.0}, {"sum": 7.0}]
        assert isinstance(results[1], ScoreError)
        assert 'expected a number, got "one"' in str(results[1])
        assert list(request.inputs[0].shape) == [2, 2]

    def test_bad_records_alone_are_no_request(self) -> None:
        with stand_in() as server:
            results = score(server.url, None, {}, [1], [1, 2, 3], [True, 1])
            assert server.requests == []
        assert [type(result) for result in results] == [ScoreError] * 5

    def test_records_of_different_shapes_go_in_a_request_for_each(self) -> None:
        rows = TensorMetadata(name="x", datatype="FP32", shape=[-1, -1])
        with stand_in(metadata=ModelMetadataResponse(inputs=[rows])) as server:
            results = score(server.url, [1], [1, 2], [3], [1, 2, 3])
            shapes = [list(request.inputs[0].shape) for request in server.requests]
        assert results == [{"sum": 1.0}, {"sum": 3.0}, {"sum": 3.0}, {"sum": 6.0}]
        assert shapes == [[2, 1], [1, 2], [1, 3]]

    def test_trace_context_goes_with_the_request(self) -> None:
        async def run(server: StandIn) -> None:
            remote = connected(server.url)
            try:
                await remote.open(60)
                await remote.score([[1, 2]], 60, [("traceparent", "00-1-2-01")])
            finally:
                await remote.close()

        with stand_in() as server:
            asyncio.run(run(server))
            assert server.seen.metadata["traceparent"] == "00-1-2-01"


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"no_such": "1"}, "no_such"),
            ({"model": None}, "model"),
            ({"url": "127.0.0.1:1"}, "url"),
            ({"url": "ftp://127.0.0.1:1"}, "url"),
            ({"url": "grpc://127.0.0.1:2"}, "allow"),
            ({"version": 3}, "version"),
            ({"parameters": "np"}, "parameters"),
            ({"parameters": {"a": [1]}}, "parameters"),
            ({"parameters": {"a": None}}, "parameters"),
            ({"parameters": {"a": 1 << 63}}, "parameters"),
            ({"inputs": "x"}, "inputs"),
            ({"inputs": {"name": "x"}}, "inputs"),
            ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "inputs"),
            ({"inputs": [{"name": "x", "datatype": "FP32", "shape": ["n"]}]}, "inputs"),
            ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1], "colour": 1}]}, "colour"),
        ],
        ids=str,
    )
    def test_a_wrong_option_is_a_load_error_that_names_it(self, options: Options, said: str) -> None:
        with pytest.raises(ModelLoadError, match=said):
            connected("grpc://127.0.0.1:1", **options)

    @pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1"])
    def test_connecting_asks_nobody(self, url: str) -> None:
        remote = connected(url)
        assert remote.endpoint == url
        assert remote.is_repeatable
        asyncio.run(remote.close())
