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
_ASSETS = "saved_model_assets"
_DRAWS = re.compile(
    "^Random(Uniform|UniformInt|StandardNormal|Gamma|Poisson|PoissonV2|Shuffle|Crop)$|^(Parameterized|Stateful)?TruncatedNormal$"
    "|^Multinomial$|^Stateful(Uniform|StandardNormal|RandomBinomial)|^Rng(Skip|ReadAndSkip)$|^NonDeterministicInts$"
    "|^SampleDistortedBoundingBox|^[A-Z][A-Za-z]*CandidateSampler$|^(Experimental)?RandomDataset|^Shuffle(AndRepeat)?Dataset"
    "|^IteratorGetNext|^Timestamp$"
)
"""Operations whose outputs may be others each time, whatever the inputs."""
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
    initialisers = walk.reached_from(_initialisers(graph), assets)
    for node in (*walk.reached_from(_outputs(signature)), *initialisers):
        if _CHECKPOINTS.match(node.op):
            raise _refusal(node)
        _check_operation(node)
    saver = graph.saver_def
    for node in walk.reached_from([saver.restore_op_name], {node_name(saver.filename_tensor_name)}):
        if _CHECKPOINTS.match(node.op) and node.op != RESTORE:
            raise _refusal(node)
        _check_operation(node)


def keeps_state(graph: MetaGraphDef, signature: SignatureDef) -> bool:
    """Whether what an event gets may depend on the events before, or on chance."""
    operations = {node.op for node in GraphWalk(graph).reached_from(_outputs(signature))}
    return any(_CHANGES.match(one) or _DRAWS.match(one) for one in operations)


def leave_out_unreached(folder: Path, graph: MetaGraphDef, signature: SignatureDef) -> None:
    """Write a SavedModel's graph without what neither loading nor a signature can reach.

    TensorFlow holds up all of Python while it reads a graph. Half of what Keras writes is for saving again.

    Args:
        folder: the SavedModel's, with its own copy of the graph.
        graph: the graph for serving.
        signature: what is to be scored.
    """
    saver = graph.saver_def
    if not saver.restore_op_name or _ASSETS in graph.collection_def:
        return  # TensorFlow would look into collections, which name nodes
    kept = [info.name for info in (*signature.inputs.values(), *signature.outputs.values())]
    kept += [saver.restore_op_name, saver.filename_tensor_name, *_initialisers(graph)]
    kept += [asset.tensor_info.name for asset in graph.asset_file_def]
    nodes, functions = GraphWalk(graph).names_reached_from(kept)
    # Read again: whoever has asked a node for an attribute that it has not has given it one.
    whole = read_meta_graph(folder)
    part = MetaGraphDef()
    part.CopyFrom(whole)
    part.ClearField("object_graph_def")
    definition, library = part.graph_def, part.graph_def.library
    del definition.node[:], library.function[:], library.gradient[:]
    definition.node.extend(node for node in whole.graph_def.node if node.name in nodes)
    every_function = whole.graph_def.library.function
    library.function.extend(one for one in every_function if one.signature.name in functions)
    for key in whole.collection_def.keys() - set(_INITIALISERS):
        del part.collection_def[key]  # they name nodes, which may be left out
    (folder / "saved_model.pb").write_bytes(SavedModel(meta_graphs=[part]).SerializeToString())


def _initialisers(graph: MetaGraphDef) -> list[str]:
    """What TensorFlow runs when it has loaded a graph."""
    signatures = [graph.signature_def[key] for key in _INITIALISERS if key in graph.signature_def]
    collections = [graph.collection_def[key] for key in _INITIALISERS if key in graph.collection_def]
    return [
        *(name for signature in signatures for name in _outputs(signature)),
        *(name for collection in collections for name in collection.node_list.value),
    ]


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
