"""Every node, attribute, graph and tensor of an ONNX file, wherever in it they are.

A function's body takes attributes from its caller, and else from defaults of its own: those are walked as
the attributes of nodes are.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx


def nodes(of: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of their branches and loop bodies."""
    for node in of:
        yield node
        for graph in _graphs_in(node.attribute):
            yield from nodes(graph.node)


def function_nodes(function: onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a function, and of the graphs that it has by default."""
    yield from nodes(function.node)
    for graph in _graphs_in(function.attribute_proto):
        yield from nodes(graph.node)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node."""
    yield from nodes(model.graph.node)
    for function in model.functions:
        yield from function_nodes(function)


def all_attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """The attributes of every node, and the defaults that functions have for theirs."""
    for node in all_nodes(model):
        yield from node.attribute
    for function in model.functions:
        yield from function.attribute_proto


def _graphs_in(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        yield from (attribute.g, *attribute.graphs)


def _all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    yield from _graphs_in(all_attributes(model))


def all_sparse_tensors(model: onnx.ModelProto) -> Iterator[onnx.SparseTensorProto]:
    """Every sparse tensor."""
    for graph in _all_graphs(model):
        yield from graph.sparse_initializer
    for attribute in all_attributes(model):
        yield from (attribute.sparse_tensor, *attribute.sparse_tensors)


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor, the parts of sparse ones too."""
    for graph in _all_graphs(model):
        yield from graph.initializer
    for attribute in all_attributes(model):
        yield from (attribute.t, *attribute.tensors)
    for sparse in all_sparse_tensors(model):
        yield from (sparse.values, sparse.indices)


def constants(model: onnx.ModelProto) -> Mapping[str, Sequence[onnx.TensorProto]]:
    """Tensors by the names that nodes know them by. A name may be another tensor's in another function."""
    found: defaultdict[str, list[onnx.TensorProto]] = defaultdict(list)
    attributes: defaultdict[str, list[onnx.TensorProto]] = defaultdict(list)
    for graph in _all_graphs(model):
        for tensor in graph.initializer:
            found[tensor.name].append(tensor)
    for attribute in all_attributes(model):
        attributes[attribute.name].append(_constant(attribute))
    for node in all_nodes(model):
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                # What the function that the node is in is called with, or has by default.
                given = attributes[attribute.ref_attr_name] if attribute.ref_attr_name else ()
                found[node.output[0]] += [_constant(attribute), *given]
    return found


def _constant(attribute: onnx.AttributeProto) -> onnx.TensorProto:
    if attribute.ints:
        return onnx.TensorProto(data_type=onnx.TensorProto.INT64, int64_data=attribute.ints)
    return attribute.t
