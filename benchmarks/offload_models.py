"""The models that are scored beside the stream, and the one that is slow on purpose."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from examples.iris.train import FIELDS
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId

HEAVY_MS = 100
"""CPU of the heavy model for a batch of any size."""
_SIDE = 384
_TRIAL_STEPS = 20
_TRIALS = 5


def rest(name: str, url: str, **options: object) -> PublishModel:
    """A model behind a URL that takes lists of records, or with ``batch="single"`` one at a time."""
    return PublishModel(ModelId(name, 1), "rest", options={"url": url, "batch": "list", **options})


def open_inference(name: str, url: str, **options: object) -> PublishModel:
    """MLServer's iris."""
    return PublishModel(
        ModelId(name, 1),
        "open-inference",
        options={"url": url, "model": "iris", "fields": ",".join(FIELDS), **options},
    )


def heavy(name: str, file: Path) -> PublishModel:
    """The heavy model, inline."""
    artifact = Artifact(hashlib.sha256(file.read_bytes()).hexdigest(), uri=file.as_uri())
    return PublishModel(ModelId(name, 1), "onnx", artifact, options={"fields": ",".join(FIELDS)})


def offloaded(published: PublishModel) -> PublishModel:
    """The same model, scored by worker processes."""
    return msgspec.structs.replace(published, execution="offload")


def write_heavy(folder: Path) -> Path:
    """Write an ONNX model that takes `HEAVY_MS` of one core of this machine for a batch of any size."""
    file = folder / "heavy.onnx"
    trial = _heavy_model(_TRIAL_STEPS)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = ort.InferenceSession(trial.SerializeToString(), settings)
    flower: Mapping[str, object] = {"measures": np.ones((1, len(FIELDS)), np.float32)}
    seconds = []
    for _ in range(_TRIALS):
        started = time.thread_time()
        session.run(None, flower)
        seconds.append(time.thread_time() - started)
    steps = round(_TRIAL_STEPS * HEAVY_MS / 1000 / min(seconds))
    onnx.save(_heavy_model(steps), file)
    return file


def _heavy_model(steps: int) -> onnx.ModelProto:
    """A chain of products of matrices. It is the same for every batch, which no optimizer can tell."""
    weights = np.random.default_rng(0).normal(0, _SIDE**-0.5, (_SIDE, _SIDE)).astype(np.float32)
    products = [
        helper.make_node("MatMul", [f"state-{step}", "weights"], [f"state-{step + 1}"])
        for step in range(steps)
    ]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["measures"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nought"], ["nothing"]),
            helper.make_node("Add", ["nothing", "weights"], ["state-0"]),
            *products,
            helper.make_node("ReduceMean", [f"state-{steps}"], ["score"], keepdims=0),
            helper.make_node("ReduceMean", ["measures"], ["means"], axes=[1], keepdims=1),
            helper.make_node("Add", ["means", "score"], ["scores"]),
        ],
        "heavy",
        [helper.make_tensor_value_info("measures", TensorProto.FLOAT, ["N", len(FIELDS)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True),
            helper.make_tensor("nought", TensorProto.FLOAT, (), (0.0,)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
