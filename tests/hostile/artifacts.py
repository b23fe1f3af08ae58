"""Artifacts made to hurt: each function writes one file, or gives its bytes."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

FLOAT = onnx.TensorProto.FLOAT


class WritesWhenLoaded:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self._path, "unpickled"))


def pickled_code(writes: Path, protocol: int = 4) -> bytes:
    """A pickle that writes a file when it is loaded."""
    return pickle.dumps(WritesWhenLoaded(writes), protocol)


def zip_of(members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """A zip of members; a sequence may have a name twice."""
    pairs = members.items() if isinstance(members, Mapping) else members
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs:
            # As ZipInfo: writestr would take a leading slash away.
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return made.getvalue()


def zip_with_link(name: str, target: str) -> bytes:
    """A zip whose only member is a symbolic link."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return made.getvalue()


def zip_that_lies(name: str, size: int, said: int) -> bytes:
    """A zip of zeros that says it has fewer."""
    archive = zip_of({name: bytes(size)})
    return archive.replace(struct.pack("<I", size), struct.pack("<I", said))


def tar_of(members: Sequence[tuple[str, bytes | tuple[bytes, str]]], mode: str = "gz") -> bytes:
    """A tar of files, and of links and devices: (kind, target) in place of the bytes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return made.getvalue()


def changed_keras(path: Path, change: Mapping[str, Any], members: Mapping[str, bytes] | None = None) -> Path:
    """A Keras file with its second layer changed, and members added or replaced.

    Args:
        path: a file that `keras_classifier` wrote.
        change: keys of the layer.
        members: by their names.
    """
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    configuration = json.loads(parts["config.json"])
    configuration["config"]["layers"][1] |= change
    parts["config.json"] = json.dumps(configuration).encode()
    path.write_bytes(zip_of(parts | dict(members or {})))
    return path


# --- PMML --------------------------------------------------------------------------------------------------

PMML = """<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"{attributes}>
  <Header>{header}</Header>
  <DataDictionary><DataField name="x" optype="continuous" dataType="double"/></DataDictionary>
  <RegressionModel functionName="regression">
    <MiningSchema><MiningField name="x"/></MiningSchema>
    <Output><OutputField name="estimate" feature="predictedValue" dataType="double"/></Output>
    <RegressionTable intercept="1"><NumericPredictor name="x" coefficient="2"/></RegressionTable>
  </RegressionModel>
</PMML>"""
"""A model `estimate = 1 + 2 x`, with places for a header's content and for attributes."""


# --- ONNX --------------------------------------------------------------------------------------------------


def onnx_model(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = (), **more: Any
) -> onnx.ModelProto:
    """A model of two floats an event, with a sum that its nodes make of `x` (or of nothing) as output `y`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        list(constants),
    )
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def added(name: str = "w") -> onnx.NodeProto:
    """The node `y = x + w`."""
    return helper.make_node("Add", ["x", name], ["y"])


def integers(name: str, *values: int) -> onnx.TensorProto:
    """A constant vector."""
    return helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)


def external_weights(location: str, **more: str) -> onnx.ModelProto:
    """A model whose weights are said to be in another file."""
    weights = onnx.TensorProto(name="w", dims=[2], data_type=FLOAT)
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        weights.external_data.add(key=key, value=value)
    return onnx_model([added()], [weights])


def sparse(*shape: int) -> onnx.SparseTensorProto:
    """A tensor `w` of a shape, with one value in it."""
    return helper.make_sparse_tensor(
        helper.make_tensor("w", FLOAT, [1], [1.0]), integers("w_indices", 0), list(shape)
    )


def memory_hog(path: Path, gibibytes: int = 12) -> Path:
    """An ONNX model that loads, and takes so much memory for each event that it scores.

    No shape in the file tells: it is computed from the batch's.
    """
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "times"], ["large"]),
        helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["w"], keepdims=0),
        added(),
    ]
    path.write_bytes(onnx_model(nodes, [integers("times", gibibytes << 27, 1)]).SerializeToString())
    return path


def function_bomb(path: Path, levels: int = 30) -> Path:
    """An ONNX model of a kilobyte that is 2 to the power of its levels once its functions are written out."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("bomb", 1)]
    functions = [
        helper.make_function("bomb", "f0", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], opsets)
    ]
    for level in range(1, levels + 1):
        calls = [
            helper.make_node(f"f{level - 1}", ["a"], ["c"], domain="bomb"),
            helper.make_node(f"f{level - 1}", ["c"], ["b"], domain="bomb"),
        ]
        functions.append(helper.make_function("bomb", f"f{level}", ["a"], ["b"], calls, opsets))
    nodes = [helper.make_node(f"f{levels}", ["x"], ["y"], domain="bomb")]
    path.write_bytes(onnx_model(nodes, functions=functions).SerializeToString())
    return path


# --- TensorFlow --------------------------------------------------------------------------------------------


def native_crash(path: Path) -> Path:
    """A SavedModel (``.zip``) that ends the process which loads or scores it with a segmentation fault.

    Its functions call each other deeper than TensorFlow has a stack for.
    """
    return calls_in_calls(path, depth=5_000, calls=1)


def calls_in_calls(path: Path, depth: int, calls: int) -> Path:
    """A SavedModel (``.zip``) of functions, each of which calls the next some times."""
    from tensorflow.core.framework.types_pb2 import DT_STRING
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel(saved_model_schema_version=1)
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    nodes, library = graph.graph_def.node, graph.graph_def.library
    graph.graph_def.versions.producer = 1500
    x = nodes.add(name="x", op="Placeholder")
    x.attr["dtype"].type = DT_STRING
    for level in range(depth + 1):
        function = library.function.add()
        function.signature.name = f"f{level}"
        function.signature.input_arg.add(name="a", type=DT_STRING)
        function.signature.output_arg.add(name="b", type=DT_STRING)
        tensor = "a"
        for number in range(calls if level else 1):
            node = function.node_def.add(name=f"n{number}", input=[tensor])
            tensor = f"n{number}:output:0"
            if level:
                _make_call(node, f"f{level - 1}")
            else:
                node.op = "Identity"
                node.attr["T"].type = DT_STRING
        function.ret["b"] = tensor
    _make_call(nodes.add(name="y", input=["x"]), f"f{depth}")
    signature = graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, name in ((signature.inputs, "x"), (signature.outputs, "y")):
        infos[name].name, infos[name].dtype = f"{name}:0", DT_STRING
        infos[name].tensor_shape.dim.add(size=-1)
    path.write_bytes(zip_of({"saved_model.pb": saved.SerializeToString()}))
    return path


def _make_call(node: Any, function: str) -> None:
    from tensorflow.core.framework.types_pb2 import DT_STRING

    node.op = "StatefulPartitionedCall"
    node.attr["f"].func.name = function
    for attribute in ("Tin", "Tout"):
        node.attr[attribute].list.type.append(DT_STRING)
