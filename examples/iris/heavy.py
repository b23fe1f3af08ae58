"""An iris classifier that costs: it is fitted anew for every batch, inside of its ONNX graph.

Gradient descent from zero, so that it always comes to the same weights: about 50 ms of CPU a batch, however
many flowers are in it. It stands for what is too slow for the event path.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from examples.iris.train import FIELDS, MEASURES, SPECIES

STEPS = 7000
_RATE = 1.0
_ONNX_OPSET = 17
_IR_VERSION = 8


def heavy_classifier(steps: int = STEPS) -> onnx.ModelProto:
    """Make the softmax regression: one [N, 4] float input, outputs `label` and `probabilities`.

    Args:
        steps: of gradient descent, for every batch; each takes about 7 µs.
    """
    classes = np.unique(SPECIES)
    mean, deviation = MEASURES.mean(axis=0), MEASURES.std(axis=0)
    # The last weight is the bias: each flower has a measure that is always 1.
    flowers = np.pad((MEASURES - mean) / deviation, ((0, 0), (0, 1)), constant_values=1)
    constants = {
        "mean": mean.astype("float32"),
        "deviation": deviation.astype("float32"),
        "flowers": flowers.astype("float32"),
        "truth": (SPECIES[:, None] == classes).astype("float32"),
        "zeros": np.zeros((len(FIELDS) + 1, len(classes)), "float32"),
        "steps": np.array(steps),
        "one_more": np.array([0, 0, 0, 1]),
        "one": np.array(1, "float32"),
        "classes": classes.astype(object),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Loop", ["steps", "", "zeros"], ["weights"], body=_step(len(flowers))),
            helper.make_node("Sub", ["measures", "mean"], ["moved"]),
            helper.make_node("Div", ["moved", "deviation"], ["standard"]),
            helper.make_node("Pad", ["standard", "one_more", "one"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
            helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
            helper.make_node("Gather", ["classes", "class"], ["label"]),
        ],
        "iris-heavy",
        [_floats("measures", None, len(FIELDS))],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            _floats("probabilities", None, len(classes)),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", _ONNX_OPSET)
    return helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=[opset])


def _step(count: int) -> onnx.GraphProto:
    """One step of gradient descent over all flowers."""
    shape = (len(FIELDS) + 1, len(np.unique(SPECIES)))
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["flowers", "before"], ["said"]),
            helper.make_node("Softmax", ["said"], ["believed"]),
            helper.make_node("Sub", ["believed", "truth"], ["wrong_by"]),
            helper.make_node(
                "Gemm", ["flowers", "wrong_by", "before"], ["after"], transA=1, alpha=-_RATE / count
            ),
            helper.make_node("Identity", ["goes_on"], ["still_goes_on"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            _floats("before", *shape),
        ],
        [helper.make_tensor_value_info("still_goes_on", TensorProto.BOOL, []), _floats("after", *shape)],
    )


def _floats(name: str, *shape: int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
