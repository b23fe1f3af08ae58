"""What a SavedModel's file says, read without running anything: signatures, and operations that are refused.

Refused is what could touch files, the network or Python when the model is loaded or scored. A signature
fetches its outputs, and loading runs an initialiser and a restore operation: what these can reach, through
inputs and functions, is looked at; what nothing reaches never runs. Only the initialiser may fill tables from
files, and only from the model's own assets: TensorFlow tells it alone where they are, and a function that it
calls knows them as arguments.

Source: https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from udfs.errors import ModelLoadError
from udfs.scorers._tensorflow_walk import RESTORE, TABLES_FROM_FILES, GraphWalk, node_name

_REFUSED = re.compile(
    "File|Reader|TextLine|TFRecord|FixedLengthRecord|CSVDataset|LMDB|Sql|Snapshot|LoadDataset|SaveDataset"
    "|CacheDataset|DatasetFromGraph|DataService|RegisterDataset|ImmutableConst|LoadAndRemapMatrix|Summary"
    "|Debug|Dump|Rpc|LoadLibrary|PyFunc|Distributed|Remote|Send$|Recv$|^RecordInput$|^Skipgram$|VocabRemapping"
    "|CalibrationStatisticsSaver|^ImportEvent$|^DTensor|^Collective|^Nccl|^WorkerHeartbeat|TRTResource|^_VarHandlesOp"
)
"""Parts of the names of operations that could reach files, the network or Python."""
_FILE_ATTRIBUTES = {
    "PrintV2": ("output_stream", re.compile(b"file:")),
    "DecodeProtoV2": ("descriptor_source", re.compile(b"(?!$|local://|bytes://)", re.DOTALL)),
    "EncodeProto": ("descriptor_source", re.compile(b"(?!$|local://|bytes://)", re.DOTALL)),
    "FixedUnigramCandidateSampler": ("vocab_file", re.compile(b".", re.DOTALL)),
}
"""Operations that reach files where an attribute begins so."""
_CHECKPOINTS = re.compile("^(Save|Restore|MergeV2Checkpoints|CheckpointHasKey|Checkpoint)")
_CHANGES = re.compile(
    "^Assign|^ResourceApply|^ResourceScatter|^ResourceSparseApply|^Apply|^Scatter(Update|Add|Sub|Nd(Update|Add))"
    "|^LookupTable(Insert|Remove|Import)|^StackPush|^TensorArrayWriteV1|^(Enqueue|Queue(Enqueue|Dequeue))"
    "|^(Barrier|Stage|MapStage)|^CountUpTo|^(ResourceCountUpTo)"
)
"""Operations that change what the next event finds."""
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
        node = nodes.get(node_name(info.name))
        if node is not None and node.op == "Placeholder":
            info.dtype = node.attr["dtype"].type
            shapes = node.attr["_output_shapes"].list.shape
            if shapes and shapes[0].unknown_rank:
                info.tensor_shape.Clear()
                info.tensor_shape.unknown_rank = True


def check_operations(graph: MetaGraphDef, signature: SignatureDef) -> None:
    """Refuse a graph in which loading or this signature could reach files, the network, Python or no end.

    Raises:
        ModelLoadError: it names the operation.
    """
    walk = GraphWalk(graph)
    walk.check_functions()
    assets = {node_name(asset.tensor_info.name) for asset in graph.asset_file_def}
    for asset in graph.asset_file_def:
        path = PurePosixPath(asset.filename)
        if path.is_absolute() or ".." in path.parts or "://" in asset.filename:
            raise ModelLoadError(f"the asset {asset.filename!r} is a path that leads out of the model")
    initialisers = [
        info.name
        for key in _INITIALISERS
        if key in graph.signature_def
        for info in graph.signature_def[key].outputs.values()
    ]
    for key in _INITIALISERS:
        if key in graph.collection_def:
            initialisers += graph.collection_def[key].node_list.value
    for node in (*walk.reached_from(_outputs(signature)), *walk.reached_from(initialisers, assets)):
        if _CHECKPOINTS.match(node.op):
            raise _refusal(node)
        _check_operation(node)
    saver = graph.saver_def
    for node in walk.reached_from([saver.restore_op_name], {node_name(saver.filename_tensor_name)}):
        if _CHECKPOINTS.match(node.op) and node.op != RESTORE:
            raise _refusal(node)
        _check_operation(node)


def keeps_state(graph: MetaGraphDef, signature: SignatureDef) -> bool:
    """Whether scoring an event may change what the next one gets."""
    return any(_CHANGES.match(node.op) for node in GraphWalk(graph).reached_from(_outputs(signature)))


def _outputs(signature: SignatureDef) -> list[str]:
    return [info.name for info in signature.outputs.values()]


def _check_operation(node: Any) -> None:
    name, reaches_files = _FILE_ATTRIBUTES.get(node.op, ("", None))
    if reaches_files and reaches_files.match(node.attr[name].s):
        raise _refusal(node)
    if _REFUSED.search(node.op) and node.op not in TABLES_FROM_FILES:
        raise _refusal(node)


def _refusal(node: Any) -> ModelLoadError:
    return ModelLoadError(f"operation {node.op} (node {node.name!r}) is refused: files, Python, network")
