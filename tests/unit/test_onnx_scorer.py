"""The ONNX scorer takes the files that people have, and says clearly what it can't take."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue, write_json
from udfs.scorers import load_scorer

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
Value = tuple[str, int, list[int | str | None] | None]
node = helper.make_node


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value | onnx.ValueInfoProto],
    constants: dict[str, Any] | None = None,
    **metadata: str,
) -> onnx.ModelProto:
    """A model of nodes; values are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [v if isinstance(v, onnx.ValueInfoProto) else helper.make_tensor_value_info(*v) for v in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(model, metadata)
    return model


def double(*shape: int | str | None, element: int = FLOAT) -> onnx.ModelProto:
    """y = x + x"""
    return build([node("Add", ["x", "x"], ["y"])], [("x", element, [*shape])], [("y", element, [*shape])])


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    def load(model: onnx.ModelProto, **options: JsonValue) -> Any:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return load_scorer("onnx", path, options)

    return load


Load = Callable[..., Any]


class TestInputs:
    def test_named_fields_in_a_given_order(self, load: Load) -> None:
        scorer = load(double("n", 2), fields="b, a")
        assert scorer.score_batch([{"a": 1, "b": 2, "note": "x"}]) == [{"y": [4.0, 2.0]}]

    def test_fields_may_be_a_list(self, load: Load) -> None:
        scorer = load(double("n", 2), fields=["b, c", "a"])
        assert scorer.score_batch([{"a": 1, "b, c": 2}]) == [{"y": [4.0, 2.0]}]

    @pytest.mark.parametrize("key", ["fields", "feature_names"])
    @pytest.mark.parametrize("text", ["b,a", '["b", "a"]'])
    def test_fields_may_be_in_the_models_metadata(self, load: Load, key: str, text: str) -> None:
        model = double("n", 2)
        helper.set_model_props(model, {key: text})
        assert load(model).score_batch([{"a": 1, "b": 2}]) == [{"y": [4.0, 2.0]}]

    def test_metadata_that_does_not_fit_is_passed_over(self, load: Load) -> None:
        model = double("n", 2)
        helper.set_model_props(model, {"fields": "a,b,c"})
        assert load(model).score_batch([[1, 2]]) == [{"y": [2.0, 4.0]}]

    def test_named_fields_without_names_are_an_error_that_says_what_to_do(self, load: Load) -> None:
        (error,) = load(double("n", 2)).score_batch([{"a": 1, "b": 2}])
        assert isinstance(error, ScoreError)
        assert "set the option fields" in str(error)

    def test_one_input_a_column_takes_scalars_of_every_type(self, load: Load) -> None:
        types = {
            "f": FLOAT,
            "d": TensorProto.DOUBLE,
            "i": INT64,
            "b": TensorProto.BOOL,
            "s": STRING,
            "u": TensorProto.UINT8,
        }
        model = build(
            [node("Identity", [name], [f"{name}_out"]) for name in types],
            [(name, element, ["n", 1]) for name, element in types.items()],
            [(f"{name}_out", element, ["n", 1]) for name, element in types.items()],
        )
        record: JsonValue = {"f": 1.5, "d": 0.1, "i": 2**53 + 1, "b": True, "s": "ß", "u": 255}
        (outputs,) = load(model).score_batch([record])
        expected = {"f": [1.5], "d": [0.1], "i": [2**53 + 1], "b": [True], "s": ["ß"], "u": [255]}
        assert outputs == {f"{name}_out": value for name, value in expected.items()}

    def test_images(self, load: Load) -> None:
        image = np.arange(24.0).reshape(2, 3, 4)
        model = build(
            [node("GlobalMaxPool", ["x"], ["y"])], [("x", FLOAT, [1, 2, 3, 4])], [("y", FLOAT, [1, 2, 1, 1])]
        )
        assert load(model).score_batch([image.tolist()]) == [{"y": [[[11.0]], [[23.0]]]}]

    def test_records_of_different_lengths(self, load: Load) -> None:
        scorer = load(double("n", "length"))
        assert scorer.score_batch([[1], [2, 3], [], [4]]) == [
            {"y": [2.0]},
            {"y": [4.0, 6.0]},
            {"y": []},
            {"y": [8.0]},
        ]

    def test_an_input_of_rank_0_beside_batches(self, load: Load) -> None:
        model = build(
            [node("Mul", ["x", "by"], ["y"])],
            [("x", FLOAT, ["n", 2]), ("by", FLOAT, [])],
            [("y", FLOAT, ["n", 2])],
        )
        batch = [{"x": [1, 2], "by": 3}, {"x": [1, 2], "by": 4}]
        assert load(model).score_batch(batch) == [{"y": [3.0, 6.0]}, {"y": [4.0, 8.0]}]

    def test_an_input_that_the_file_has_a_value_for_may_be_left_out(self, load: Load) -> None:
        model = build(
            [node("Mul", ["x", "by"], ["y"])],
            [("x", FLOAT, ["n", 2]), ("by", FLOAT, [1])],
            [("y", FLOAT, ["n", 2])],
            {"by": np.array([10], "float32")},
        )
        batch = [[1, 2], {"x": [1, 2], "by": [3]}, {"x": [1, 2]}, {"x": [1, 2], "by": 4}]
        assert load(model).score_batch(batch) == [
            {"y": [10.0, 20.0]},
            {"y": [3.0, 6.0]},
            {"y": [10.0, 20.0]},
            {"y": [4.0, 8.0]},
        ]

    def test_one_event_may_be_the_whole_input(self, load: Load) -> None:
        model = build(
            [node("ReduceSum", ["x"], ["y"], keepdims=0)], [("x", FLOAT, [2, 2])], [("y", FLOAT, [])]
        )
        assert load(model, batch_axis="none").score_batch([[[1, 2], [3, 4]], [1]])[0] == {"y": 10.0}

    def test_nan_in_nan_out(self, load: Load) -> None:
        (outputs,) = load(double("n", 2)).score_batch([[float("nan"), float("inf")]])
        assert write_json(outputs) == b'{"y":[null,null]}'

    def test_null_is_nan_where_asked_for(self, load: Load) -> None:
        assert write_json(load(double("n", 2), null="nan").score_batch([[None, 1]])[0]) == b'{"y":[null,2.0]}'

    def test_what_the_model_refuses_fails_alone(self, load: Load) -> None:
        model = build(
            [node("Gather", ["table", "x"], ["y"])],
            [("x", INT64, ["n"])],
            [("y", FLOAT, ["n"])],
            {"table": np.array([10, 20, 30], "float32")},
        )
        first, error, last = load(model).score_batch([1, 3, 2])
        assert (first, last) == ({"y": 20.0}, {"y": 30.0})
        assert isinstance(error, ScoreError)
        assert "out of data bounds" in str(error)


class TestOutputs:
    @pytest.mark.parametrize(("keys", "expected"), [([3, 7], {"3": 0.5, "7": 1.0}), (["a", "b"], None)])
    def test_maps_are_objects_with_string_keys(
        self, load: Load, keys: list[Any], expected: dict[str, float] | None
    ) -> None:
        kind = "int64s" if isinstance(keys[0], int) else "strings"
        key_type = INT64 if kind == "int64s" else STRING
        value_type = helper.make_tensor_type_proto(FLOAT, [])
        each = helper.make_map_type_proto(key_type, value_type)
        output = helper.make_value_info("y", helper.make_sequence_type_proto(each))
        labels: dict[str, Any] = {f"classlabels_{kind}": keys}
        zip_map = node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", **labels)
        scorer = load(build([zip_map], [("x", FLOAT, [1, 2])], [output]))
        assert scorer.score_batch([[0.5, 1]] * 3) == [{"y": expected or {"a": 0.5, "b": 1.0}}] * 3

    def test_sequences_are_arrays(self, load: Load) -> None:
        output = helper.make_tensor_sequence_value_info("y", FLOAT, None)
        model = build([node("SplitToSequence", ["x"], ["y"], axis=1)], [("x", FLOAT, [1, 2])], [output])
        assert load(model).score_batch([[1, 2], [3, 4]]) == [
            {"y": [[[1.0]], [[2.0]]]},
            {"y": [[[3.0]], [[4.0]]]},
        ]

    def test_an_output_without_a_batch_axis_is_given_whole(self, load: Load) -> None:
        model = build([node("NonZero", ["x"], ["y"])], [("x", FLOAT, [1, 3])], [("y", INT64, [2, "k"])])
        assert load(model).score_batch([[0, 5, 5], [0, 0, 0]]) == [{"y": [[0, 0], [1, 2]]}, {"y": [[], []]}]

    def test_three_outputs_come_in_the_models_order(self, load: Load) -> None:
        model = build(
            [node(op, ["x"], [name]) for op, name in [("Neg", "c"), ("Abs", "a"), ("Sign", "b")]],
            [("x", FLOAT, ["n"])],
            [(name, FLOAT, ["n"]) for name in "cab"],
        )
        (outputs,) = load(model).score_batch([-2])
        assert list(outputs.items()) == [("c", 2.0), ("a", 2.0), ("b", -1.0)]


class TestBatches:
    def test_a_declared_batch_of_one_is_scored_in_batches(self, load: Load) -> None:
        scorer = load(double(1, 2))
        assert scorer.notes == ()
        assert scorer.score_batch([[i, i] for i in range(20)]) == [{"y": [2.0 * i] * 2} for i in range(20)]

    def test_a_declared_batch_of_n_is_scored_in_batches_and_noted(self, load: Load) -> None:
        scorer = load(double(4, 2))
        assert scorer.score_batch([[i, i] for i in range(6)]) == [{"y": [2.0 * i] * 2} for i in range(6)]
        assert "4 long" in scorer.notes[0]

    @pytest.mark.parametrize(("batch", "note"), [(1, "one by one"), (4, "4 at a time")])
    def test_a_graph_that_takes_only_its_declared_batch_gets_that(
        self, load: Load, batch: int, note: str
    ) -> None:
        model = build(
            [node("Reshape", ["x", "shape"], ["y"])],
            [("x", FLOAT, [batch, 2, 2])],
            [("y", FLOAT, [batch, 4])],
            {"shape": np.array([batch, 4])},
        )
        scorer = load(model)
        assert scorer.score_batch([[[i, 1], [2, 3]] for i in range(6)]) == [
            {"y": [float(i), 1.0, 2.0, 3.0]} for i in range(6)
        ]
        assert note in scorer.notes[0]

    @pytest.mark.parametrize("axis", ["n", 1])
    def test_a_graph_that_mixes_its_rows_is_scored_one_by_one(self, load: Load, axis: str | int) -> None:
        model = build(
            [node("Softmax", ["x"], ["y"], axis=0)], [("x", FLOAT, [axis, 2])], [("y", FLOAT, [axis, 2])]
        )
        scorer = load(model)
        assert scorer.score_batch([[1, 2], [3, 4]]) == [{"y": [1.0, 1.0]}] * 2
        assert "one by one" in scorer.notes[0]

    def test_a_fixed_batch_that_mixes_its_rows_is_refused(self, load: Load) -> None:
        model = build([node("Softmax", ["x"], ["y"], axis=0)], [("x", FLOAT, [4, 2])], [("y", FLOAT, [4, 2])])
        with pytest.raises(ModelLoadError, match="batch_axis=none"):
            load(model)

    def test_inputs_without_a_batch_in_common_are_refused(self, load: Load) -> None:
        model = build(
            [node("Add", ["x", "z"], ["y"])],
            [("x", FLOAT, [4, 2]), ("z", FLOAT, [2])],
            [("y", FLOAT, [4, 2])],
        )
        with pytest.raises(ModelLoadError, match="batch_axis=none"):
            load(model)

    def test_a_model_that_scores_no_made_up_record_says_so(self, load: Load) -> None:
        model = build(
            [node("Reshape", ["x", "shape"], ["y"])],
            [("x", FLOAT, ["n", "length"])],
            [("y", FLOAT, ["n", 3, 5])],
            {"shape": np.array([0, 3, 5])},
        )
        scorer = load(model)
        assert (
            scorer.score_batch([list(range(15))] * 2) == [{"y": np.arange(15.0).reshape(3, 5).tolist()}] * 2
        )
        assert "not checked" in scorer.notes[0]


class TestLoading:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"threads": 0}, "threads"),
            ({"threads": "many"}, "threads"),
            ({"threads": True}, "threads"),
            ({"threads": 1.5}, "threads"),
            ({"batch_axis": "first"}, "batch_axis"),
            ({"null": "zero"}, "null"),
            ({"fields": 7}, "fields"),
            ({"fields": "a,,b"}, "fields"),
            ({"fields": "a,b,c"}, "3 fields"),
            ({"fields": "a,b", "batch_axis": "none"}, "batch axis"),
        ],
    )
    def test_a_wrong_option_is_refused(self, load: Load, options: dict[str, JsonValue], message: str) -> None:
        with pytest.raises(ModelLoadError, match=message):
            load(double("n", 2), **options)

    def test_threads_may_be_given_as_text(self, load: Load) -> None:
        assert load(double("n", 2), threads="1").score_batch([[1, 2]]) == [{"y": [2.0, 4.0]}]

    def test_the_option_threads_starts_threads_that_close_ends(self, load: Load) -> None:
        load(double("n", 2)).close()
        before = psutil.Process().num_threads()
        scorer = load(double("n", 2), threads=3)
        assert psutil.Process().num_threads() == before + 2
        scorer.close()
        assert psutil.Process().num_threads() == before

    @pytest.mark.parametrize("in_attribute", [False, True])
    def test_weights_in_another_file_are_refused(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_attribute: bool
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "weights").write_bytes(bytes(16))
        weights = TensorProto(name="w", dims=[2, 2], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
        weights.external_data.add(key="location", value="weights")
        multiply = node("MatMul", ["x", "w"], ["y"])
        nodes = [node("Constant", [], ["w"], value=weights), multiply] if in_attribute else [multiply]
        model = build(nodes, [("x", FLOAT, ["n", 2])], [("y", FLOAT, ["n", 2])])
        if not in_attribute:
            model.graph.initializer.append(weights)
        with pytest.raises(ModelLoadError, match="another file"):
            load(model)

    @pytest.mark.parametrize("element", [TensorProto.COMPLEX64, TensorProto.BFLOAT16])
    def test_element_types_that_json_lacks_are_refused(self, load: Load, element: int) -> None:
        model = build([node("Identity", ["x"], ["y"])], [("x", element, ["n"])], [("y", element, ["n"])])
        with pytest.raises(ModelLoadError, match="JSON has no values"):
            load(model)

    def test_an_input_that_is_no_tensor_is_refused(self, load: Load) -> None:
        model = build([node("SequenceLength", ["x"], ["y"])], [], [("y", INT64, [])])
        model.graph.input.append(helper.make_tensor_sequence_value_info("x", FLOAT, None))
        with pytest.raises(ModelLoadError, match="not a tensor"):
            load(model)

    def test_an_unknown_operator_is_named_in_one_line(self, load: Load) -> None:
        model = build([node("Frobnicate", ["x"], ["y"])], [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])])
        with pytest.raises(ModelLoadError, match="Frobnicate") as caught:
            load(model)
        assert "\n" not in str(caught.value)

    def test_an_operator_whose_name_is_no_text_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(double("n", 2).SerializeToString().replace(b"\x03Add", b"\x03\x80dd"))

        with pytest.raises(ModelLoadError):
            load_scorer("onnx", path, {})

    def test_operators_without_a_version_are_refused(self, load: Load) -> None:
        model = double("n", 2)
        del model.opset_import[:]
        with pytest.raises(ModelLoadError, match="no version for the operators"):
            load(model)

    def test_nothing_is_written_to_standard_error(
        self, load: Load, capfd: pytest.CaptureFixture[str]
    ) -> None:
        model = build(
            [node("Gather", ["table", "x"], ["y"])],
            [("x", INT64, [1])],
            [("y", FLOAT, [2, 7])],
            {"table": np.array([1, 2], "float32")},
        )
        load(model).score_batch([0, 9])
        with pytest.raises(ModelLoadError):
            load(build([node("Nope", ["x"], ["y"])], [("x", FLOAT, [1])], [("y", FLOAT, [1])]))
        assert capfd.readouterr() == ("", "")

    def test_importing_it_imports_no_other_format(self) -> None:
        code = (
            "import sys, udfs.scorers.onnx;"
            "assert not {'tensorflow', 'pypmml', 'titus', 'pandas', 'pyflink'} & sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def dropout(**constants: Any) -> onnx.ModelProto:
    """Keeps half of x, where it is told to train."""
    inputs = ["x", "ratio", "training"][: 1 + len(constants)]
    return build([node("Dropout", inputs, ["y"])], [("x", FLOAT, ["n", 2])], [("y", FLOAT, None)], constants)


def drawing(operator: str, **attributes: Any) -> onnx.ModelProto:
    return build([node(operator, ["x"], ["y"], **attributes)], [("x", FLOAT, ["n", 2])], [("y", FLOAT, None)])


def random_shape() -> onnx.ModelProto:
    nodes = [node("RandomNormal", [], ["r"], shape=[2], seed=1.0), node("Add", ["x", "r"], ["y"])]
    return build(nodes, [("x", FLOAT, ["n", 2])], [("y", FLOAT, None)])


class TestRandomNumbers:
    @pytest.mark.parametrize(
        "model",
        [
            random_shape(),
            drawing("RandomUniformLike"),
            drawing("RandomNormalLike", seed=1.0),
            build(
                [node("Multinomial", ["x"], ["y"], sample_size=1)],
                [("x", FLOAT, ["n", 2])],
                [("y", TensorProto.INT32, None)],
            ),
            drawing("Bernoulli"),
            dropout(ratio=np.float32(0.5), training=np.bool_(True)),
        ],
        ids=["shape", "uniform", "normal", "multinomial", "bernoulli", "dropout"],
    )
    @pytest.mark.parametrize("options", [{}, {"batch_axis": "none"}])
    def test_a_model_that_draws_them_has_state(
        self, load: Load, model: onnx.ModelProto, options: dict[str, JsonValue]
    ) -> None:
        assert load(model, **options).stateful

    @pytest.mark.parametrize(
        "model",
        [
            double("n", 2),
            dropout(ratio=np.float32(0.5)),
            dropout(ratio=np.float32(0.5), training=np.bool_(0)),
        ],
        ids=["no dropout", "dropout", "dropout that does not train"],
    )
    def test_other_models_have_none(self, load: Load, model: onnx.ModelProto) -> None:
        assert not load(model).stateful
