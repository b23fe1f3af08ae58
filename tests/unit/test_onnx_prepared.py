"""A large ONNX model that was prepared is the same model."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from udfs.errors import ModelLoadError
from udfs.scorers import load_prepared, load_scorer, prepare

SIDE = 1200
"""Of a square with more than the four megabytes from which on a model is large."""


def square(side: int, batch: int | str) -> onnx.ModelProto:
    """y = x W, whose fields are named in its metadata."""
    weights = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "square",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, side])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"fields": ",".join(f"f{i}" for i in range(side))})
    return model


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_prepared_model_gives_the_same_to_the_last_bit(tmp_path: Path, batch: int | str) -> None:
    artifact, prepared = tmp_path / "artifact", tmp_path / "prepared"
    onnx.save(square(SIDE, batch), artifact)
    row = np.random.default_rng(1).normal(size=SIDE).tolist()

    assert prepare("onnx", artifact, prepared)

    one, other = load_scorer("onnx", artifact, {}), load_prepared("onnx", prepared, {})
    assert other.score_batch([row, row[::-1]]) == one.score_batch([row, row[::-1]])
    assert getattr(other, "notes", ()) == getattr(one, "notes", ())


def test_a_prepared_model_may_have_another_name_than_it_was_written_under(tmp_path: Path) -> None:
    artifact, prepared = tmp_path / "artifact", tmp_path / "prepared"
    onnx.save(square(SIDE, "n"), artifact)
    prepare("onnx", artifact, prepared)

    renamed = prepared.rename(tmp_path / "renamed")

    assert load_prepared("onnx", renamed, {}).score_batch([{f"f{i}": 1.0 for i in range(SIDE)}])


def test_a_small_model_is_loaded_as_it_is(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    onnx.save(square(10, "n"), artifact)

    assert not prepare("onnx", artifact, tmp_path / "prepared")


def test_a_prepared_file_that_is_published_is_no_onnx_model(tmp_path: Path) -> None:
    artifact, prepared = tmp_path / "artifact", tmp_path / "prepared"
    onnx.save(square(SIDE, "n"), artifact)
    prepare("onnx", artifact, prepared)

    with pytest.raises(ModelLoadError, match="not an ONNX model"):
        load_scorer("onnx", prepared, {})


def test_preparing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    artifact, prepared = tmp_path / "artifact", tmp_path / "prepared"
    onnx.save(square(SIDE, "n"), artifact)

    prepare("onnx", artifact, prepared)

    assert set(tmp_path.iterdir()) == {artifact, prepared}
