"""ONNX models that would read other files or make tensors without end."""

from collections.abc import Callable
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import helper

from tests.hostile.artifacts import (
    FLOAT,
    added,
    external_weights,
    function_bomb,
    integers,
    onnx_model,
    sparse,
)
from tests.hostile.refusals import Surroundings, refusal

TERA = 1 << 40


def refused(folder: Path, model: onnx.ModelProto) -> str:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return refusal("onnx", path)


@pytest.mark.parametrize(
    "location", ["{secret}", "../secret.txt", "secret.txt", "link", "file://{secret}", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_in_another_file_are_refused(
    tmp_path: Path, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(surroundings.secret.parent)
    (tmp_path / "link").symlink_to(surroundings.secret)
    location = location.format(secret=surroundings.secret)
    assert "keeps 'w' in another file" in refused(
        tmp_path, external_weights(location, offset="0", length="8")
    )


def branch() -> onnx.ModelProto:
    inner = external_weights("secret.txt").graph
    inner.ClearField("input")
    return onnx_model(
        [helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)],
        [helper.make_tensor("flag", onnx.TensorProto.BOOL, [], [True])],
    )


def function() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["w"], value=external_weights("/secret").graph.initializer[0])
    opsets = [helper.make_opsetid("", 21)]
    made = helper.make_function("own", "add", ["x"], ["y"], [constant, added()], opsets)
    return onnx_model([helper.make_node("add", ["x"], ["y"], domain="own")], functions=[made])


def called_with_defaults(*nodes: onnx.NodeProto, given: object) -> onnx.ModelProto:
    """A function of these nodes, called without the attribute `given`, which is so by default."""
    opsets = [helper.make_opsetid("", 21)]
    made = helper.make_function("own", "f", ["x"], ["y"], nodes, opsets)
    made.attribute_proto.append(helper.make_attribute("given", given))
    return onnx_model([helper.make_node("f", ["x"], ["y"], domain="own")], functions=[made])


def given_constant(name: str, kind: str = "value") -> onnx.NodeProto:
    """A constant that the function which it is in is given."""
    node = helper.make_node("Constant", [], [name])
    type_of = {"value": onnx.AttributeProto.TENSOR, "sparse_value": onnx.AttributeProto.SPARSE_TENSOR}
    node.attribute.add(name=kind, ref_attr_name="given", type=type_of[kind])
    return node


def default() -> onnx.ModelProto:
    weights = external_weights("secret.txt", offset="0", length="8").graph.initializer[0]
    return called_with_defaults(given_constant("w"), added(), given=weights)


def default_of_a_branch() -> onnx.ModelProto:
    return called_with_defaults(added("x"), given=branch().graph.node[0].attribute[0].g)


@pytest.mark.parametrize("build", [branch, function, default, default_of_a_branch])
def test_weights_in_another_file_are_found_wherever_they_are(
    tmp_path: Path, surroundings: Surroundings, build: Callable[[], onnx.ModelProto]
) -> None:
    assert "keeps 'w' in another file" in refused(tmp_path, build())


def declared(*shape: int, content: bytes = b"") -> onnx.ModelProto:
    weights = onnx.TensorProto(name="w", dims=shape, data_type=FLOAT, raw_data=content)
    return onnx_model([added()], [weights])


def sparse_initializer(*shape: int) -> onnx.ModelProto:
    model = onnx_model([added()])
    model.graph.sparse_initializer.append(sparse(*shape))
    return model


def made(operator: str, *inputs: str) -> onnx.ModelProto:
    one = helper.make_tensor("one", FLOAT, [1], [1.0])
    return onnx_model([helper.make_node(operator, inputs, ["w"]), added()], [integers("shape", TERA, 2), one])


def made_of_a_constant_node() -> onnx.ModelProto:
    shape = helper.make_node("Constant", [], ["shape"], value=integers("", TERA))
    return onnx_model([shape, helper.make_node("ConstantOfShape", ["shape"], ["w"]), added()])


def made_of_whole_numbers() -> onnx.ModelProto:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[TERA])
    return onnx_model([shape, helper.make_node("ConstantOfShape", ["shape"], ["w"]), added()])


def made_in_a_function() -> onnx.ModelProto:
    make = helper.make_node("ConstantOfShape", ["shape"], ["w"])
    return called_with_defaults(given_constant("shape"), make, added(), given=integers("", TERA))


def made_of_a_name_twice() -> onnx.ModelProto:
    model = made_of_a_constant_node()
    opsets = [helper.make_opsetid("", 21)]
    small = helper.make_node("Constant", [], ["shape"], value=integers("", 1))
    model.functions.append(helper.make_function("own", "f", [], ["shape"], [small], opsets))
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param(
            declared(TERA, 2, content=bytes(8)), "declares a size of", id="a few bytes for terabytes"
        ),
        pytest.param(declared(TERA, 2), "declares a size of", id="no bytes for terabytes"),
        pytest.param(declared(-1, 2, content=bytes(8)), "Out of bounds dimensions", id="a negative length"),
        pytest.param(declared(1 << 62, 1 << 62), "can't load the model", id="more than 64 bits"),
        pytest.param(sparse_initializer(TERA, 2), "sparse tensor 'w' has the shape", id="a sparse one"),
        pytest.param(
            sparse_initializer(1 << 28, 2), "more than 134217728 elements", id="a sparse one of gigabytes"
        ),
        pytest.param(
            onnx_model([helper.make_node("Constant", [], ["w"], sparse_value=sparse(TERA, 2)), added()]),
            "sparse tensor 'w' has the shape",
            id="a sparse one in a node",
        ),
        pytest.param(
            called_with_defaults(given_constant("w", "sparse_value"), added(), given=sparse(TERA, 2)),
            "sparse tensor 'w' has the shape",
            id="a sparse one that a function has by default",
        ),
        pytest.param(made("ConstantOfShape", "shape"), "ConstantOfShape", id="made of a shape"),
        pytest.param(made_in_a_function(), "ConstantOfShape", id="the shape is a function's default"),
        pytest.param(made_of_whole_numbers(), "ConstantOfShape", id="the shape is a node's numbers"),
        pytest.param(made_of_a_name_twice(), "ConstantOfShape", id="a small shape of the same name"),
        pytest.param(made("Expand", "one", "shape"), "Expand", id="one number made many"),
        pytest.param(made("Tile", "x", "shape"), "Tile", id="the input many times"),
        pytest.param(made_of_a_constant_node(), "ConstantOfShape", id="the shape is a node"),
    ],
)
def test_a_tensor_that_is_much_larger_than_the_file_is_refused(
    tmp_path: Path, model: onnx.ModelProto, said: str
) -> None:
    before = psutil.Process().memory_info().rss
    assert said in refused(tmp_path, model)
    assert psutil.Process().memory_info().rss - before < 1 << 28


def test_functions_that_multiply_are_refused(tmp_path: Path) -> None:
    assert "functions" in refusal("onnx", function_bomb(tmp_path / "bomb.onnx"))


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    calls = [helper.make_node("f", ["a"], ["b"], domain="own")]
    itself = helper.make_function("own", "f", ["a"], ["b"], calls, opsets)
    model = onnx_model([helper.make_node("f", ["x"], ["y"], domain="own")], functions=[itself])
    assert "functions" in refused(tmp_path, model)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (helper.make_node("Evil", ["x"], ["y"], domain="evil.ops"), "evil.ops:Evil"),
        (helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib"), "PyOp"),
        (
            helper.make_node(
                "EPContext",
                ["x"],
                ["y"],
                domain="com.microsoft",
                embed_mode=0,
                ep_cache_context="/etc/hostname",
            ),
            "EPContext",
        ),
    ],
)
def test_an_operator_from_elsewhere_is_refused(tmp_path: Path, node: onnx.NodeProto, said: str) -> None:
    assert said in refused(tmp_path, onnx_model([node]))
