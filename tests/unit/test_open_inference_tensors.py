"""Tensors of the Open Inference Protocol come back as they went in; what does not add up is refused."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import InferTensorContents

from udfs.remotes._inference_tensors import (
    Output,
    datatype_of,
    dtype_of,
    read_contents,
    read_data,
    read_raw,
    read_records,
    write_raw,
)

NUMBERS = {
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
HUGE = 1 << 60


@st.composite
def columns(draw: st.DrawFn) -> NDArray[Any]:
    """A column of any datatype, of 0 to 4 records."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    datatype = draw(st.sampled_from([*NUMBERS, "BYTES"]))
    if datatype == "BYTES":
        return draw(arrays.arrays(object, shape, elements=st.text(st.characters(codec="utf-8"), max_size=5)))
    return draw(arrays.arrays(NUMBERS[datatype], shape))


def assert_same(output: Output, column: NDArray[Any]) -> None:
    assert output.values.dtype == column.dtype
    assert output.values.shape == column.shape
    np.testing.assert_array_equal(output.values, column)


class TestRoundTrips:
    @given(columns())
    def test_raw(self, column: NDArray[Any]) -> None:
        assert_same(read_raw("x", datatype_of(column.dtype), column.shape, write_raw(column)), column)

    @given(columns().filter(lambda column: column.dtype != np.float16))
    def test_contents(self, column: NDArray[Any]) -> None:
        flat = column.reshape(-1).tolist()
        if column.dtype == object:
            contents = InferTensorContents(bytes_contents=[text.encode() for text in flat])
        else:
            contents = InferTensorContents(**{FIELDS[datatype_of(column.dtype)]: flat})
        sent = InferTensorContents.FromString(contents.SerializeToString())
        assert_same(read_contents("x", datatype_of(column.dtype), column.shape, sent), column)

    @given(columns(), st.booleans())
    def test_json(self, column: NDArray[Any], is_nested: bool) -> None:
        if column.dtype.kind == "f":
            column = np.where(np.isfinite(column), column, np.nan).astype(column.dtype)
        sent = (column if is_nested else column.reshape(-1)).tolist()
        assert_same(
            read_data("x", datatype_of(column.dtype), column.shape, orjson.loads(orjson.dumps(sent))), column
        )

    @pytest.mark.parametrize("datatype", [*NUMBERS, "BYTES"])
    def test_a_datatype_is_that_of_its_element_type(self, datatype: str) -> None:
        assert datatype_of(dtype_of(datatype)) == datatype

    def test_raw_numbers_are_little_endian(self) -> None:
        assert write_raw(np.array([1, 256], ">u2")) == b"\x01\x00\x00\x01"

    def test_raw_texts_follow_their_lengths(self) -> None:
        assert write_raw(np.array(["a", "ü"], object)) == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xbc"


class TestUnreadableOutputs:
    @pytest.mark.parametrize("datatype", ["BF16", "FP8", "", "fp32", "x" * 10_000])
    def test_a_datatype_that_is_not_served_is_refused_by_name(self, datatype: str) -> None:
        with pytest.raises(ValueError, match=f"output 'p': datatype '{datatype[:99]}") as caught:
            read_raw("p", datatype, [1], b"\0\0")
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        ("datatype", "shape", "raw"),
        [
            ("FP32", [2], b"\0" * 4),
            ("FP32", [1], b"\0" * 5),
            ("FP32", [1], b""),
            ("FP32", [-1], b"\0" * 4),
            ("FP32", [-2, -2], b"\0" * 16),
            ("FP32", [HUGE], b"\0" * 4),
            ("FP32", [HUGE, HUGE, 0], b""),
            ("INT8", [1] * 33, b"\0"),
            ("BOOL", [2], b"\0\2"),
            ("BYTES", [1], b""),
            ("BYTES", [1], b"\1\0\0"),
            ("BYTES", [1], b"\2\0\0\0a"),
            ("BYTES", [1], b"\xff\xff\xff\xffa"),
            ("BYTES", [1], b"\1\0\0\0a\0\0\0\0"),
            ("BYTES", [1], b"\1\0\0\0\xff"),
        ],
    )
    def test_raw_elements_that_are_not_what_they_should_be(
        self, datatype: str, shape: list[int], raw: bytes
    ) -> None:
        with pytest.raises(ValueError, match=r"^output 'p': "):
            read_raw("p", datatype, shape, raw)

    @pytest.mark.parametrize(
        ("datatype", "shape", "contents"),
        [
            ("FP32", [2], InferTensorContents(fp32_contents=[1])),
            ("FP32", [1], InferTensorContents(fp64_contents=[1])),
            ("FP32", [1], InferTensorContents()),
            ("FP16", [1], InferTensorContents(bytes_contents=[b"\0\0"])),
            ("INT8", [1], InferTensorContents(int_contents=[128])),
            ("UINT16", [1], InferTensorContents(uint_contents=[1 << 16])),
            ("BYTES", [1], InferTensorContents(bytes_contents=[b"\xff"])),
        ],
    )
    def test_contents_that_are_not_what_they_should_be(
        self, datatype: str, shape: list[int], contents: InferTensorContents
    ) -> None:
        with pytest.raises(ValueError, match=r"^output 'p': "):
            read_contents("p", datatype, shape, contents)

    @pytest.mark.parametrize(
        ("datatype", "shape", "data"),
        [
            ("FP32", [2], [1.0]),
            ("FP32", [1], ["1.0"]),
            ("FP32", [1], [True]),
            ("FP32", [1], [{}]),
            ("FP32", [1], [1e39]),
            ("FP32", [2, 2], [[1, 2], [3]]),
            ("FP32", [2, 2], [[1, 2], 3]),
            ("FP32", [2, 1], [[1, 2]]),
            ("FP32", [1], [[1]]),
            ("INT8", [1], [128]),
            ("INT64", [1], [1.5]),
            ("INT64", [1], [None]),
            ("UINT8", [1], [-1]),
            ("BOOL", [1], [1]),
            ("BYTES", [1], [1]),
            ("BYTES", [1], [None]),
        ],
    )
    def test_json_that_is_not_what_it_should_be(
        self, datatype: str, shape: list[int], data: list[Any]
    ) -> None:
        with pytest.raises(ValueError, match=r"^output 'p': "):
            read_data("p", datatype, shape, data)

    @given(st.sampled_from([*NUMBERS, "BYTES"]), st.lists(st.integers(-2, 3), max_size=3), st.binary())
    def test_any_bytes_are_an_output_or_a_value_error(
        self, datatype: str, shape: list[int], raw: bytes
    ) -> None:
        try:
            output = read_raw("p", datatype, shape, raw)
        except ValueError:
            return
        assert output.values.shape == tuple(shape)


def output(name: str, *shape: int) -> Output:
    return Output(name, np.arange(np.prod(shape), dtype="int64").reshape(shape))


class TestRecords:
    def test_each_record_has_its_part_of_each_output(self) -> None:
        assert read_records([output("label", 2), output("scores", 2, 2)], (), 2) == [
            {"label": 0, "scores": [0, 1]},
            {"label": 1, "scores": [2, 3]},
        ]

    def test_wanted_outputs_come_in_the_order_wanted_and_the_others_not(self) -> None:
        (record,) = read_records([output("a", 7), output("b", 1), output("c", 1)], ("c", "b"), 1)
        assert isinstance(record, dict)
        assert list(record) == ["c", "b"]

    def test_numbers_are_python_numbers(self) -> None:
        (record,) = read_records([Output("p", np.array([0.5], "<f4"))], (), 1)
        assert isinstance(record, dict)
        assert type(record["p"]) is float

    @pytest.mark.parametrize("shape", [(), (1,), (3,), (0,), (1, 2)])
    def test_an_output_without_a_value_for_each_record_is_refused_by_name(
        self, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(ValueError, match="output 'b' has shape"):
            read_records([output("a", 2), output("b", *shape)], (), 2)

    def test_a_missing_output_is_refused_by_name(self) -> None:
        with pytest.raises(ValueError, match="output 'b' is missing; there are 'a', 'c'"):
            read_records([output("a", 1), output("c", 1)], ("a", "b"), 1)

    def test_no_output_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no outputs"):
            read_records([], (), 1)

    def test_two_outputs_of_one_name_are_refused(self) -> None:
        with pytest.raises(ValueError, match="one name"):
            read_records([output("a", 1), output("a", 1)], (), 1)

    def test_a_shape_that_would_become_millions_of_empty_lists_is_refused(self) -> None:
        hollow = read_raw("p", "FP32", [3, 1 << 24, 0], b"")
        with pytest.raises(ValueError, match="elements"):
            read_records([hollow], (), 3)

    def test_empty_values_are_values(self) -> None:
        assert read_records([read_raw("boxes", "FP32", [2, 0, 4], b"")], (), 2) == [{"boxes": []}] * 2
