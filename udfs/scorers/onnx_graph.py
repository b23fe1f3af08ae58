"""What is read from an ONNX file before onnxruntime sees it, and the one thing that is changed in it."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from udfs.errors import ModelLoadError
from udfs.scorers import _onnx_walk as walk

_FIELDS_KEYS = ("fields", "feature_names")
_OVERRIDABLE_SINCE_IR = 4
_ONNX = "ai.onnx"
_MOST_SPARSE = 1 << 27
"""Elements of a sparse tensor, which onnxruntime makes a dense one of."""
_MOST_MADE = 1 << 29
"""Elements of a tensor of which a file has only the shape."""
_MOST_NODES = 1_000_000
"""Nodes of a model whose functions are written out wherever they are called."""
_SHAPE_INPUT = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}
"""Which input of an operator is the shape that it makes, or how many times it repeats."""
_RANDOM = re.compile("Random(Normal|Uniform)|Multinomial$|Bernoulli$|Sampling$")
"""Operators that draw random numbers; Dropout does so where it is told to train."""
_BATCH = "modelstream_batch"


class GraphTensor(NamedTuple):
    """An input or output as the file declares it.

    Attributes:
        name: its name.
        dtype: its element type; object for strings, None where it is not a tensor.
        shape: its axes: a length, a name, or None where nothing is said; None for any rank. A sequence of
            maps has an axis, as that is how a classifier gives the probabilities of a batch.
        optional: an input that the file has a value for.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None
    optional: bool = False


def read_model(artifact: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ModelLoadError: it can't be read, is no ONNX model, keeps weights in other files, or has shapes
            in place of far more numbers than the file holds.
    """
    try:
        model = onnx.ModelProto()
        model.ParseFromString(artifact.read_bytes())
    except OSError as error:
        raise ModelLoadError(f"can't read the model file: {error}") from error
    except Exception as error:  # protobuf's own exceptions differ between its implementations
        raise ModelLoadError(f"not an ONNX model, or a damaged one: {error}") from error
    if not model.ir_version or not model.graph.output:
        raise ModelLoadError("not an ONNX model: it has no graph")
    versioned = {opset.domain or _ONNX for opset in model.opset_import}
    for node in walk.nodes(model.graph.node):
        if model.ir_version >= 3 and (node.domain or _ONNX) not in versioned:
            raise ModelLoadError(
                f"a damaged ONNX model: no version for the operators of {node.domain or _ONNX}"
            )
    for tensor in walk.all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelLoadError(
                f"the model keeps {tensor.name!r} in another file, and an artifact is one file: "
                "save it with onnx.save_model(model, path, save_as_external_data=False)"
            )
    _check_functions(model)
    _check_sizes(model)
    return model


def graph_inputs(model: onnx.ModelProto) -> list[GraphTensor]:
    """The inputs that a caller may give."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    return [
        _graph_tensor(value, optional=value.name in constants)
        for value in graph.input
        if value.name not in constants or model.ir_version >= _OVERRIDABLE_SINCE_IR
    ]


def graph_outputs(model: onnx.ModelProto) -> list[GraphTensor]:
    """The outputs."""
    return [_graph_tensor(value) for value in model.graph.output]


def with_symbolic_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model that takes any length on the first axis of its inputs, if its nodes do."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    required = {tensor.name for tensor in graph_inputs(model) if not tensor.optional}
    for value in copy.graph.input:
        if value.name in required and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]
    return copy


def known_strings(model: onnx.ModelProto) -> list[str]:
    """The strings that a graph compares its inputs with: its categories, labels and keys."""
    found = {text for attribute in walk.all_attributes(model) for text in attribute.strings}
    found |= {text for tensor in walk.all_tensors(model) for text in tensor.string_data}
    return sorted(text.decode("utf-8", "replace") for text in found)


def field_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names for the elements of the input, if the file's metadata has them (JSON, or comma-separated)."""
    metadata = {item.key: item.value for item in model.metadata_props}
    for key in _FIELDS_KEYS:
        text = metadata.get(key, "")
        try:
            names = json.loads(text)
        except ValueError:
            names = [name.strip() for name in text.split(",")]
        if isinstance(names, list) and names and all(isinstance(name, str) and name for name in names):
            return tuple(names)
    return ()


def _graph_tensor(value: onnx.ValueInfoProto, *, optional: bool = False) -> GraphTensor:
    if not value.type.HasField("tensor_type"):
        is_map_each = value.type.sequence_type.elem_type.HasField("map_type")
        return GraphTensor(value.name, None, (None,) if is_map_each else (), optional)
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        dtype = None
    if not tensor.HasField("shape"):
        return GraphTensor(value.name, dtype, None, optional)
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else axis.dim_param or None
        for axis in tensor.shape.dim
    )
    return GraphTensor(value.name, dtype, shape, optional)


def draws_random_numbers(model: onnx.ModelProto) -> bool:
    """Whether an answer depends on random numbers, and so on the events before."""
    dropouts = []
    for node in walk.all_nodes(model):
        if _RANDOM.match(_text(node.op_type)):
            return True
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            dropouts.append(node)
    constants = walk.constants(model) if dropouts else {}
    modes = [constants.get(node.input[2], ()) for node in dropouts]
    return any(not mode or any(map(_is_true, mode)) for mode in modes)


def _text(field: str | bytes) -> str:
    """A string of the file: one that is no UTF-8 comes as bytes."""
    return field if isinstance(field, str) else field.decode(errors="replace")


def _is_true(tensor: onnx.TensorProto) -> bool:
    return any(tensor.int32_data) or any(tensor.raw_data)


def _check_functions(model: onnx.ModelProto) -> None:
    """Refuse functions that call themselves, or each other so often that onnxruntime can't write them out."""
    functions = {(one.domain or _ONNX, one.name, one.overload): one for one in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    waiting = list(functions)
    opened = set()
    while waiting:
        key = waiting[-1]
        called = list(map(_operator, walk.function_nodes(functions[key])))
        missing = [one for one in called if one in functions and one not in sizes]
        if key not in sizes and missing:
            if key in opened:
                raise ModelLoadError(f"the model's functions call themselves: {key[1]!r}")
            opened.add(key)
            waiting += missing
            continue
        sizes[waiting.pop()] = sum(sizes.get(one, 1) for one in called)
    total = sum(sizes.get(_operator(node), 1) for node in walk.nodes(model.graph.node))
    if total > _MOST_NODES:
        raise ModelLoadError(f"the model's functions, written out, are more than {_MOST_NODES} nodes")


def _operator(node: onnx.NodeProto) -> tuple[str, str, str]:
    return node.domain or _ONNX, node.op_type, node.overload


def _check_sizes(model: onnx.ModelProto) -> None:
    """Refuse what onnxruntime would make whole, for minutes or until the memory ends, while it loads."""
    for sparse in walk.all_sparse_tensors(model):
        if _elements(sparse.dims) > _MOST_SPARSE:
            raise ModelLoadError(
                f"the sparse tensor {sparse.values.name!r} has the shape {list(sparse.dims)}, "
                f"more than {_MOST_SPARSE} elements"
            )
    constants = walk.constants(model)
    for node in walk.all_nodes(model):
        place = _SHAPE_INPUT.get(node.op_type, len(node.input))
        for shape in constants.get(node.input[place], ()) if place < len(node.input) else ():
            if _elements(_axes(shape)) > _MOST_MADE:
                raise ModelLoadError(
                    f"the operator {node.op_type} (node {node.name!r}) makes more than {_MOST_MADE} elements"
                )


def _axes(shape: onnx.TensorProto) -> Sequence[int]:
    if shape.data_type != onnx.TensorProto.INT64:
        return (0,)
    return list(shape.int64_data) or np.frombuffer(shape.raw_data, "<i8", len(shape.raw_data) // 8).tolist()


def _elements(shape: Iterable[int]) -> int:
    return math.prod(max(0, int(length)) for length in shape)
