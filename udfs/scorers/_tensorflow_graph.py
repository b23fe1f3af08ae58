"""What a SavedModel's file says, read without running anything: signatures, and operations that are refused.

Refused is what could touch files, the network or Python when the model is loaded or scored. A signature
fetches its outputs, and loading runs an initialiser and a restore operation: what these can reach, through
inputs and functions, is looked at; what nothing reaches never runs. Tables that are filled from a file are
taken where that file is one of the model's own assets, which in a function is an argument.

Source: https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from udfs.errors import ModelLoadError

_REFUSED = re.compile(
    "File|Reader|TextLine|TFRecord|FixedLengthRecord|CSVDataset|LMDB|Sql|Snapshot|LoadDataset|SaveDataset"
    "|CacheDataset|DatasetFromGraph|DataService|RegisterDataset|ImmutableConst|LoadAndRemapMatrix|Summary"
    "|Debug|Dump|Rpc|LoadLibrary|PyFunc|Distributed|Remote|Send$|Recv$"
)
"""Parts of the names of operations that could reach files, the network or Python."""
_CHECKPOINTS = re.compile("^(Save|Restore|MergeV2Checkpoints|CheckpointHasKey|Checkpoint)")
_RESTORE = "RestoreV2"
_CHANGES = re.compile(
    "^Assign|^ResourceApply|^ResourceScatter|^ResourceSparseApply|^Apply|^Scatter(Update|Add|Sub|Nd(Update|Add))"
    "|^LookupTable(Insert|Remove|Import)|^StackPush|^TensorArrayWriteV1|^(Enqueue|Queue(Enqueue|Dequeue))"
    "|^(Barrier|Stage|MapStage)|^CountUpTo|^(ResourceCountUpTo)"
)
"""Operations that change what the next event finds."""
_TABLE_FROM_FILE = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_INITIALISERS = ("saved_model_main_op", "legacy_init_op", "__saved_model_init_op")


def read_meta_graph(folder: Path) -> MetaGraphDef:
    """Read the graph for serving.

    Raises:
        ModelLoadError: damaged, or without one.
    """
    saved = SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as error:
        raise ModelLoadError(f"saved_model.pb can't be read: {error}") from error
    graphs = list(saved.meta_graphs)
    serving = [graph for graph in graphs if set(graph.meta_info_def.tags) == {"serve"}]
    if not serving and len(graphs) != 1:
        raise ModelLoadError(f"the SavedModel has {len(graphs)} graphs, and none with the tag 'serve' alone")
    return (serving or graphs)[0]


def find_signature(graph: MetaGraphDef, name: str | None) -> SignatureDef:
    """The signature of a name; without one ``serving_default``, or the only one there is.

    Raises:
        ModelLoadError: no such one.
    """
    known = {key: value for key, value in graph.signature_def.items() if key not in _INITIALISERS}
    if name is None:
        name = next(iter(known)) if len(known) == 1 else "serving_default"
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ModelLoadError(f"no signature {name!r}; the model has: {names} (option signature)")
    signature = SignatureDef()
    signature.CopyFrom(known[name])
    _complete(signature, graph)
    return signature


def _complete(signature: SignatureDef, graph: MetaGraphDef) -> None:
    """Take types from the placeholders, and where they know no rank, that: early signatures say anything."""
    nodes = {node.name: node for node in graph.graph_def.node}
    for info in signature.inputs.values():
        node = nodes.get(_node_name(info.name))
        if node is not None and node.op == "Placeholder":
            info.dtype = node.attr["dtype"].type
            shapes = node.attr["_output_shapes"].list.shape
            if shapes and shapes[0].unknown_rank:
                info.tensor_shape.Clear()
                info.tensor_shape.unknown_rank = True


def check_operations(graph: MetaGraphDef, signature: SignatureDef) -> None:
    """Refuse a graph in which loading or this signature could reach files, the network or Python.

    Raises:
        ModelLoadError: it names the operation.
    """
    walk = _Walk(graph)
    initialisers = [
        info.name
        for key in _INITIALISERS
        if key in graph.signature_def
        for info in graph.signature_def[key].outputs.values()
    ]
    for key in _INITIALISERS:
        if key in graph.collection_def:
            initialisers += graph.collection_def[key].node_list.value
    for node in walk.reached_from([*_outputs(signature), *initialisers]):
        if _CHECKPOINTS.match(node.op):
            raise _refusal(node)
        _check_operation(node)
    for node in walk.reached_from(
        [graph.saver_def.restore_op_name], _node_name(graph.saver_def.filename_tensor_name)
    ):
        if _CHECKPOINTS.match(node.op) and node.op != _RESTORE:
            raise _refusal(node)
        _check_operation(node)


def keeps_state(graph: MetaGraphDef, signature: SignatureDef) -> bool:
    """Whether scoring an event may change what the next one gets."""
    return any(_CHANGES.match(node.op) for node in _Walk(graph).reached_from(_outputs(signature)))


def _outputs(signature: SignatureDef) -> list[str]:
    return [info.name for info in signature.outputs.values()]


def _check_operation(node: Any) -> None:
    writes = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")
    if writes or (_REFUSED.search(node.op) and node.op not in _TABLE_FROM_FILE):
        raise _refusal(node)


def _refusal(node: Any) -> ModelLoadError:
    return ModelLoadError(f"operation {node.op} (node {node.name!r}) is refused: files, Python, network")


class _Walk:
    """Finds what a run of a graph can reach."""

    def __init__(self, graph: MetaGraphDef) -> None:
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        self._assets = {_node_name(asset.tensor_info.name) for asset in graph.asset_file_def}

    def reached_from(self, tensors: Iterable[str], checkpoint: str = "") -> list[Any]:
        """Every node that running these tensors may run.

        Args:
            tensors: what is run.
            checkpoint: the node that says where the model's own checkpoint is: nothing else may.
        """
        found: dict[str, Any] = {}
        waiting = [_node_name(tensor) for tensor in tensors if tensor]
        functions: dict[str, None] = {}
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._nodes:
                continue
            node = found[name] = self._nodes[name]
            waiting += map(_node_name, node.input)
            functions.update(dict.fromkeys(self._called(node)))
            self._check_file(node, {*self._assets, checkpoint}, self._nodes)
        reached = list(found.values())
        seen: set[str] = set()
        calls = list(functions)
        while calls:
            function_name = calls.pop()
            if function_name in seen or function_name not in self._functions:
                continue
            seen.add(function_name)
            function = self._functions[function_name]
            arguments = {argument.name for argument in function.signature.input_arg}
            body = {node.name: node for node in function.node_def}
            for node in function.node_def:
                calls += self._called(node)
                self._check_file(node, arguments, body)
            reached += function.node_def
        return reached

    def _called(self, node: Any) -> Iterator[str]:
        """The functions that a node calls: by its operation, or by an attribute."""
        if node.op in self._functions:
            yield node.op
        for attribute in node.attr.values():
            if attribute.func.name:
                yield attribute.func.name
            yield from (one.name for one in attribute.list.func)

    def _check_file(self, node: Any, trusted: set[str], nodes: dict[str, Any]) -> None:
        """Tables are filled from the model's assets alone, variables from its own checkpoint."""
        if node.op in _TABLE_FROM_FILE:
            source = _node_name(node.input[1])
        elif node.op == _RESTORE:
            source = _node_name(node.input[0])
        else:
            return
        while source not in trusted and source in nodes and nodes[source].op == "Identity":
            source = _node_name(nodes[source].input[0])
        if source not in trusted:
            raise ModelLoadError(
                f"operation {node.op} (node {node.name!r}) is refused: its file is not the model's own"
            )


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
