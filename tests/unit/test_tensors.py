"""JSON records become tensors strictly, and one by one as in a batch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.tensors.reader import Columns, TensorReader, TensorSpec, UnevenBatchError, score_tensors

FIELDS = ("length", "width", "height")
Shape = tuple[int | None, ...]


def spec(dtype: Any = "float32", shape: Shape | None = (3,), name: str = "x") -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), shape)


def read(value: JsonValue, *specs: TensorSpec, **options: Any) -> Any:
    """The first tensor of one record."""
    return next(iter(TensorReader(specs or [spec()], **options).read_whole(value).values())).tolist()


def error_of(value: JsonValue, *specs: TensorSpec, **options: Any) -> str:
    with pytest.raises(ScoreError) as caught:
        TensorReader(specs or [spec()], **options).read_whole(value)
    return str(caught.value)


class TestForms:
    def test_the_only_tensor_may_come_bare(self) -> None:
        assert read([1.5, 2, 3]) == [1.5, 2.0, 3.0]

    def test_a_tensor_may_come_under_its_own_name(self) -> None:
        assert read({"x": [1, 2, 3], "id": "e-1"}) == [1.0, 2.0, 3.0]

    def test_named_fields_come_in_the_order_of_the_fields(self) -> None:
        record: JsonValue = {"height": 3.0, "length": 1.0, "note": "tall", "width": 2}
        assert read(record, fields=FIELDS) == [1.0, 2.0, 3.0]

    def test_fields_leave_the_other_forms_as_they_are(self) -> None:
        batch: list[JsonValue] = [[1, 2, 3], {"x": [1, 2, 3]}, {"length": 1, "width": 2, "height": 3}]
        groups, errors = TensorReader([spec()], fields=FIELDS).sort_out(batch)
        assert errors == {}
        assert [group.columns["x"].tolist() for group in groups] == [[[1, 2, 3]] * 3]

    def test_a_single_field_is_a_tensor_of_one(self) -> None:
        reader = TensorReader([spec(shape=(1,))], fields=["length"])
        assert reader.stack([{"length": 1}, {"length": 2}])["x"].tolist() == [[1.0], [2.0]]

    def test_several_tensors_come_by_name(self) -> None:
        columns = TensorReader([spec("int64", (), "n"), spec("O", (1,), "word")]).stack(
            [{"n": 1, "word": "a"}, {"n": 2, "word": "b"}]
        )
        assert {name: column.tolist() for name, column in columns.items()} == {
            "n": [1, 2],
            "word": [["a"], ["b"]],
        }

    @pytest.mark.parametrize("shape", [(1,), (1, 1)])
    def test_a_tensor_of_one_element_may_come_as_a_scalar(self, shape: Shape) -> None:
        column = TensorReader([spec(shape=shape)]).stack([5, 6.5])["x"]
        assert column.shape == (2, *shape)
        assert column.reshape(-1).tolist() == [5.0, 6.5]

    def test_higher_ranks_keep_their_shape(self) -> None:
        image = np.arange(24.0).reshape(2, 3, 4).tolist()
        assert read(image, spec(shape=(2, 3, 4))) == image

    def test_a_record_larger_than_a_chunk_is_read_whole(self) -> None:
        rows = np.random.default_rng(0).normal(size=(3, 70, 70)).astype("float32")
        assert (TensorReader([spec(shape=(70, 70))]).stack(rows.tolist())["x"] == rows).all()

    @pytest.mark.parametrize("value", [[], [1], [1, 2, 3, 4]])
    def test_a_free_axis_takes_any_length(self, value: list[int]) -> None:
        assert read(value, spec("int64", (None,))) == value

    def test_an_unknown_rank_takes_any_shape(self) -> None:
        assert read([[1, 2]], spec("int64", None)) == [[1, 2]]

    def test_an_optional_tensor_may_be_left_out(self) -> None:
        reader = TensorReader([spec(), TensorSpec("scale", np.dtype("f4"), (), optional=True)])
        assert list(reader.stack([[1, 2, 3]])) == ["x"]
        assert list(reader.stack([{"x": [1, 2, 3], "scale": 2}])) == ["x", "scale"]

    def test_a_batch_is_padded_with_its_first_record(self) -> None:
        column = TensorReader([spec(shape=())], pad_to=4).stack([1, 2, 3, 4, 5])["x"]
        assert column.tolist() == [1, 2, 3, 4, 5, 1, 1, 1]

    @pytest.mark.parametrize("fields", [["a", "b"], ["a", "b", "c", "d"]])
    def test_fields_must_fit_the_tensor(self, fields: list[str]) -> None:
        with pytest.raises(ValueError, match=r"shape \[3\]"):
            TensorReader([spec()], fields=fields)

    def test_fields_are_for_one_tensor(self) -> None:
        with pytest.raises(ValueError, match="x, y"):
            TensorReader([spec(), spec(name="y")], fields=FIELDS)

    def test_an_element_type_that_json_lacks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="complex64"):
            spec("complex64")


class TestElements:
    @pytest.mark.parametrize(
        ("dtype", "value"),
        [
            ("float16", [1.5, -math.inf, 65504]),
            ("float32", [0.1, math.inf, 2**60]),
            ("float64", [0.1, 1e300, 7]),
            ("int8", [-128, 127, 3.0]),
            ("int64", [-(2**63), 2**63 - 1, 0]),
            ("uint8", [0, 255, 2.0]),
            ("uint64", [0, 2**64 - 1, 1]),
            ("bool", [True, False, True]),
            ("O", ["", "ß", "5.1"]),
        ],
    )
    def test_what_fits_is_read(self, dtype: str, value: list[JsonValue]) -> None:
        assert read(value, spec(dtype)) == np.array(value, dtype).tolist()

    @pytest.mark.parametrize(
        ("dtype", "element", "message"),
        [
            ("float32", "5.1", 'input[1]: expected a number, got "5.1"'),
            ("float32", True, "input[1]: expected a number, got true"),
            ("float32", None, "input[1]: expected a number, got null"),
            ("float32", {}, "input[1]: expected a number, got an object"),
            ("float32", 1e39, "input[1]: 1e+39 does not fit float32"),
            ("float32", -(10**39), "input[1]: a number beyond 64 bits does not fit float32"),
            ("float16", 1e6, "input[1]: 1000000.0 does not fit float16"),
            ("float64", 10**400, "input[1]: a number beyond 64 bits does not fit float64"),
            ("int64", 1.5, "input[1]: 1.5 does not fit int64"),
            ("int64", math.nan, "input[1]: nan does not fit int64"),
            ("int64", math.inf, "input[1]: inf does not fit int64"),
            ("int64", 2**63, "input[1]: 9223372036854775808 does not fit int64"),
            ("int64", None, "input[1]: expected an integer, got null"),
            ("int64", "7", 'input[1]: expected an integer, got "7"'),
            ("int64", False, "input[1]: expected an integer, got false"),
            ("int8", 128, "input[1]: 128 does not fit int8"),
            ("uint8", -1, "input[1]: -1 does not fit uint8"),
            ("uint64", -1, "input[1]: -1 does not fit uint64"),
            ("bool", 1, "input[1]: expected true or false, got 1"),
            ("bool", "true", 'input[1]: expected true or false, got "true"'),
            ("O", 7, "input[1]: expected a string, got 7"),
            ("O", None, "input[1]: expected a string, got null"),
            ("O", "x" * 99, None),
        ],
    )
    def test_what_does_not_fit_is_an_error(self, dtype: str, element: JsonValue, message: str | None) -> None:
        good: Any = {"O": "a", "bool": True}.get(dtype, 1)
        if message is None:
            assert read([good, element, good], spec(dtype)) == [good, element, good]
        else:
            assert error_of([good, element, good], spec(dtype)) == message

    def test_nan_is_a_float(self) -> None:
        assert math.isnan(read([1, math.nan, 2])[1])

    def test_null_is_nan_where_asked_for(self) -> None:
        assert math.isnan(read([1, None, 2], null_is_nan=True)[1])

    @pytest.mark.parametrize("dtype", ["int64", "bool", "O"])
    def test_null_is_nan_for_floats_alone(self, dtype: str) -> None:
        assert "got null" in error_of([None, None, None], spec(dtype), null_is_nan=True)

    def test_an_infinity_beside_an_overflow_does_not_hide_it(self) -> None:
        assert error_of([math.inf, 1e39, 0]) == "input[1]: 1e+39 does not fit float32"


class TestShapes:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([1, 2], "input: expected shape [3], got [2]"),
            ([[1], [2], [3]], "input: expected shape [3], got [3, 1]"),
            ([1, [2], 3], "input[1]: expected a number, got an array of shape [1]"),
            (7, "input: expected shape [3], got 7"),
            (None, "input: expected shape [3], got null"),
            ("abc", 'input: expected shape [3], got "abc"'),
            ({"x": [1]}, 'field "x": expected shape [3], got [1]'),
            ({"x": {"0": 1}}, 'field "x": expected shape [3], got an object'),
        ],
    )
    def test_a_wrong_shape_is_an_error_that_names_both(self, value: JsonValue, message: str) -> None:
        assert error_of(value) == message

    @pytest.mark.parametrize("value", [[[1, 2], [3]], [[1, 2], 3], [[1, 2], "ab"]])
    def test_arrays_of_different_lengths_are_an_error(self, value: JsonValue) -> None:
        assert "differ in length" in error_of(value, spec("int64", (2, 2)))

    def test_an_array_for_a_scalar_is_an_error(self) -> None:
        assert error_of([5], spec(shape=())) == "input: expected a number, got an array of shape [1]"

    def test_a_string_is_no_array_of_characters(self) -> None:
        assert "got" in error_of("abc", spec("O", (3,)))

    def test_an_object_is_no_array_of_its_keys(self) -> None:
        with pytest.raises(UnevenBatchError):
            TensorReader([spec("O", (1,), "word")]).stack([{"word": {"a": 1}}, {"word": {"b": 1}}])

    def test_a_missing_field_is_named(self) -> None:
        assert error_of({"length": 1, "width": 2}, fields=FIELDS) == 'field "height" is missing'

    def test_a_bad_field_is_named(self) -> None:
        record: JsonValue = {"length": 1, "width": "wide", "height": 3}
        assert error_of(record, fields=FIELDS) == 'field "width": expected a number, got "wide"'

    def test_named_fields_without_the_option_are_told_of_it(self) -> None:
        assert "set the option fields" in error_of({"length": 1, "width": 2, "height": 3})

    def test_a_bare_value_for_several_tensors_is_told_their_names(self) -> None:
        message = error_of([1, 2, 3], spec(), spec(name="y"))
        assert message == "expected an object with the fields x, y, got an array of shape [3]"


element = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
)
record = st.one_of(
    st.lists(element, max_size=4),
    st.lists(st.floats(width=32), min_size=3, max_size=3),
    st.dictionaries(st.sampled_from([*FIELDS, "x"]), element, max_size=4),
    st.fixed_dictionaries(dict.fromkeys(FIELDS, st.integers(-9, 9))),
    element,
)


@given(
    st.lists(record, min_size=1, max_size=6),
    st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint64", "bool", "O"]),
    st.sampled_from([(3,), (None,), (1,), (), None]),
    st.booleans(),
)
def test_a_batch_is_read_as_its_records_are_one_by_one(
    records: list[JsonValue], dtype: str, shape: Shape | None, with_fields: bool
) -> None:
    fits = with_fields and shape in ((3,), (None,), None)
    reader = TensorReader([spec(dtype, shape)], fields=FIELDS if fits else ())
    alone: list[Any] = []
    for value in records:
        try:
            alone.append(reader.read_whole(value)["x"])
        except ScoreError as error:
            alone.append(str(error))
    groups, errors = reader.sort_out(records)
    assert {row: str(error) for row, error in errors.items()} == {
        row: value for row, value in enumerate(alone) if isinstance(value, str)
    }
    for group in groups:
        for row, tensor in zip(group.rows, group.columns["x"], strict=True):
            np.testing.assert_array_equal(tensor, alone[row])
    try:
        stacked = reader.stack(records)["x"]
    except UnevenBatchError:
        return
    assert not errors
    for tensor, one in zip(stacked, alone, strict=True):
        np.testing.assert_array_equal(tensor, one)


class TestScoring:
    """`score_tensors` gives each record what it would get alone."""

    @staticmethod
    def double(columns: Columns, count: int) -> list[JsonValue]:
        """A model that doubles, and fails on a batch with 13 in it."""
        values = columns["x"][:count]
        if (values == 13).any():
            raise RuntimeError("unlucky\nnumber")
        doubled: list[JsonValue] = (values * 2).tolist()
        return doubled

    def score(self, inputs: Sequence[JsonValue], **options: Any) -> list[Any]:
        results = score_tensors(TensorReader([spec("int64", ())], **options), self.double, inputs)
        return [str(result) if isinstance(result, ScoreError) else result for result in results]

    @pytest.mark.parametrize("pad_to", [1, 8])
    def test_what_the_model_refuses_fails_alone(self, pad_to: int) -> None:
        expected: list[Any] = [0, 2, 4, "RuntimeError: unlucky number", 8]
        assert self.score([0, 1, 2, 13, 4], pad_to=pad_to) == expected

    def test_what_is_no_tensor_fails_alone(self) -> None:
        assert self.score([0, "x", 2]) == [0, 'input: expected an integer, got "x"', 4]

    def test_both_fail_alone_in_one_batch(self) -> None:
        results = self.score([13, None, 2, 13])
        assert [type(result) for result in results] == [str, str, int, str]

    def test_all_may_fail(self) -> None:
        assert self.score([13, 13]) == ["RuntimeError: unlucky number"] * 2

    def test_records_of_different_shapes_are_scored_in_their_order(self) -> None:
        reader = TensorReader([spec("int64", (None,))], pad_to=2)
        assert score_tensors(reader, self.double, [[1], [2, 3], [4], []]) == [[2], [4, 6], [8], []]
