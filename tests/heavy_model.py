"""A model that takes its time, for tests of what is scored beside the stream."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from udfs.json_values import JsonValue
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId

_WIDTH = 256


def heavy(
    name: str,
    fields: Sequence[str],
    rounds: int,
    *,
    execution: Literal["inline", "offload"] = "offload",
    **options: JsonValue,
) -> PublishModel:
    """Version 1 of a model that adds numbers, and multiplies matrices for nothing.

    Args:
        name: of the model.
        fields: the numbers' names.
        rounds: how many matrices; each costs 65,536 multiplications and additions a record.
        execution: where it is scored.
        options: of its lane.
    """
    content = _model(len(fields), rounds).SerializeToString()
    return PublishModel(
        ModelId(name, 1),
        "onnx",
        Artifact(hashlib.sha256(content).hexdigest(), inline=content),
        options={"fields": ",".join(fields), **options},
        execution=execution,
    )


def _model(numbers: int, rounds: int) -> onnx.ModelProto:
    weights = np.random.default_rng(1).standard_normal((_WIDTH, _WIDTH)).astype(np.float32) / _WIDTH**0.5
    widen, narrow = np.ones((numbers, _WIDTH), np.float32), np.zeros((_WIDTH, 1), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "widen"], ["h0"])]
    for number in range(rounds):
        nodes += [
            helper.make_node("MatMul", [f"h{number}", "weights"], [f"m{number}"]),
            helper.make_node("Tanh", [f"m{number}"], [f"h{number + 1}"]),
        ]
    nodes += [
        helper.make_node("MatMul", [f"h{rounds}", "narrow"], ["nothing"]),
        helper.make_node("ReduceSum", ["x", "axis"], ["plain"], keepdims=1),
        helper.make_node("Add", ["plain", "nothing"], ["sum"]),
    ]
    constants = {"weights": weights, "widen": widen, "narrow": narrow, "axis": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, numbers])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
