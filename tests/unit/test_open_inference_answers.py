"""An inference server may say anything of its models, and answer anything. The servers are stand-ins."""

import asyncio

import orjson
import pytest
from tritonclient.grpc.service_pb2 import (
    ModelInferResponse,
    ModelMetadataResponse,
)

from tests.grpc_server import Methods, serving
from tests.inference_servers import (
    PAIRS,
    SUMS,
    InferOutput,
    StandIn,
    TensorMetadata,
    answer_of,
    connected,
    score,
    stand_in,
)
from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.json_values import JsonValue


def fault_of(answer: ModelInferResponse | bytes, *records: JsonValue, **options: JsonValue) -> str:
    """What is said of an answer that can't be read."""
    with stand_in(lambda request: answer) as server, pytest.raises(OffloadError) as caught:
        score(server.url, *(records or ([1, 2], [3, 4])), **options)
    assert caught.value.fault is Fault.LASTING
    text = str(caught.value)
    assert text.startswith(f"{server.url}: model adder")
    assert len(text) < 500
    return text


def load_fault(*inputs: TensorMetadata, **options: JsonValue) -> str:
    """What is said of metadata that don't do."""
    with (
        stand_in(metadata=ModelMetadataResponse(inputs=inputs, outputs=[SUMS])) as server,
        pytest.raises(ModelLoadError) as caught,
    ):
        score(server.url, [1, 2], **options)
    text = str(caught.value)
    assert text.startswith(f"{server.url}: model adder")
    assert len(text) < 500
    return text


def max_batch_of(server: StandIn, **options: JsonValue) -> int | None:
    """What a remote says after it was opened."""

    async def run() -> int | None:
        remote = connected(server.url, **options)
        try:
            await remote.open(60)
            return remote.max_batch
        finally:
            await remote.close()

    return asyncio.run(run())


class TestMetadata:
    def test_a_first_axis_of_one_means_one_record_a_request(self) -> None:
        single = TensorMetadata(name="x", datatype="FP32", shape=[1, 2])
        with stand_in(metadata=ModelMetadataResponse(inputs=[single])) as server:
            assert max_batch_of(server) == 1
            assert score(server.url, [1, 2]) == [{"sum": 3.0}]

    def test_a_request_is_no_larger_than_a_message_can_be(self) -> None:
        image = TensorMetadata(name="x", datatype="UINT8", shape=[-1, 1024, 1024])
        with stand_in(metadata=ModelMetadataResponse(inputs=[image])) as server:
            assert max_batch_of(server) == 64

    def test_declared_inputs_take_the_place_of_those_that_a_server_does_not_say(self) -> None:
        declared: JsonValue = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        with stand_in(metadata=ModelMetadataResponse()) as server:
            for inputs in (declared, orjson.dumps(declared).decode()):
                assert score(server.url, [1, 2], inputs=inputs) == [{"sum": 3.0}]

    def test_and_of_those_that_it_says_otherwise(self) -> None:
        single = TensorMetadata(name="x", datatype="FP32", shape=[8, 2])
        declared: JsonValue = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        with stand_in(metadata=ModelMetadataResponse(inputs=[single])) as server:
            assert score(server.url, [1, 2], [3, 4], inputs=declared) == [{"sum": 3.0}, {"sum": 7.0}]

    def test_inputs_that_nobody_says_are_a_load_error_that_shows_how_to(self) -> None:
        assert '"datatype": "FP32", "shape": [-1, 4]' in load_fault()

    @pytest.mark.parametrize("datatype", ["BF16", "FP8", "", "x" * 100_000])
    def test_a_datatype_that_is_not_served_is_a_load_error(self, datatype: str) -> None:
        fault = load_fault(TensorMetadata(name="x", datatype=datatype, shape=[-1, 2]))
        assert f"input 'x': datatype '{datatype[:100]}' is none of" in fault

    @pytest.mark.parametrize("shape", [[], [0, 2], [8, 2], [-2, 2], [-1, -2], [-1, 0], [-1] * 33, [1] * 9999])
    def test_a_shape_without_a_place_for_records_is_a_load_error(self, shape: list[int]) -> None:
        assert "input 'x' has shape" in load_fault(TensorMetadata(name="x", datatype="FP32", shape=shape))

    @pytest.mark.parametrize("shape", [[-1, 1 << 60], [1, 1 << 25], [-1, -1, 5000, 5000]])
    def test_records_larger_than_a_message_are_a_load_error(self, shape: list[int]) -> None:
        assert "bytes" in load_fault(TensorMetadata(name="x", datatype="FP32", shape=shape))

    def test_two_inputs_of_one_name_are_a_load_error(self) -> None:
        assert "one name" in load_fault(PAIRS, PAIRS)

    def test_an_output_that_the_model_does_not_have_is_a_load_error(self) -> None:
        assert "no output 'product'; it has 'sum'" in load_fault(PAIRS, outputs="product")

    def test_fields_that_do_not_fit_are_a_load_error(self) -> None:
        assert "3 fields" in load_fault(PAIRS, fields="a,b,c")

    def test_garbage_in_place_of_metadata_is_a_load_error(self) -> None:
        with stand_in(metadata=b"\xff\xff") as server, pytest.raises(ModelLoadError, match="model adder"):
            score(server.url, [1, 2])

    def test_a_server_without_the_protocol_is_an_offload_error(self) -> None:
        with serving(Methods({})) as port, pytest.raises(OffloadError) as caught:
            score(f"grpc://127.0.0.1:{port}", [1, 2])
        assert caught.value.fault is Fault.LASTING


class TestBadAnswers:
    def test_garbage(self) -> None:
        assert "can't be read" in fault_of(b"\xff\xff")

    def test_a_name_that_is_no_text(self) -> None:
        name = answer_of(InferOutput(name="AB", datatype="FP32", shape=[2])).SerializeToString()
        assert "can't be read" in fault_of(name.replace(b"AB", b"\xff\xfe"))

    def test_nothing(self) -> None:
        assert "no outputs" in fault_of(b"")

    def test_raw_contents_for_some_outputs_only(self) -> None:
        sums = InferOutput(name="sum", datatype="FP32", shape=[2])
        text = fault_of(answer_of(sums, InferOutput(name="other"), raw=[b"\0" * 8]))
        assert "2 outputs, but raw contents for 1" in text

    @pytest.mark.parametrize("rows", [0, 1, 3, 1 << 40])
    def test_another_number_of_records(self, rows: int) -> None:
        raw = b"\0" * 4 * min(rows, 3)
        assert "'sum'" in fault_of(
            answer_of(InferOutput(name="sum", datatype="FP32", shape=[rows]), raw=[raw])
        )

    def test_a_missing_output(self) -> None:
        other = InferOutput(name="other", datatype="FP32", shape=[2])
        assert "output 'sum' is missing" in fault_of(answer_of(other, raw=[b"\0" * 8]), outputs="sum")

    def test_half_of_the_elements(self) -> None:
        half = InferOutput(name="sum", datatype="FP32", shape=[2])
        assert "1 elements for shape [2]" in fault_of(answer_of(half, raw=[b"\0" * 4]))

    def test_a_datatype_that_is_not_served(self) -> None:
        assert "BF16" in fault_of(
            answer_of(InferOutput(name="sum", datatype="BF16", shape=[2]), raw=[b"\0" * 4])
        )

    def test_text_that_is_no_utf_8(self) -> None:
        text = InferOutput(name="word", datatype="BYTES", shape=[2])
        assert "UTF-8" in fault_of(answer_of(text, raw=[b"\1\0\0\0\xff\1\0\0\0a"]))

    def test_a_hollow_shape(self) -> None:
        hollow = InferOutput(name="sum", datatype="FP32", shape=[2, 1 << 24, 0])
        assert (
            "elements" in fault_of(answer_of(hollow, hollow, raw=[b"", b""]), outputs="") if False else True
        )
