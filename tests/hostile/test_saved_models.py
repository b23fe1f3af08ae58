"""SavedModels that would read or write files, whatever the way there; `tests/unit/test_tensorflow_scorer.py`
has the plain operations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests.contract.tensorflow_models import pack, saved_model
from tests.hostile.artifacts import calls_in_calls
from tests.hostile.refusals import Surroundings, refusal
from udfs.scorers import load_scorer

raw = tf.raw_ops
v1 = tf.compat.v1
TEXT = tf.TensorSpec([None], tf.string, name="x")


def as_text(value: Any) -> Any:
    return tf.strings.reduce_join(tf.strings.as_string(tf.reshape(value, [-1])))


def table_from(path: Any) -> Any:
    """A table with a file's lines, and the operation that fills it."""
    table = raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    fill = raw.InitializeTableFromTextFileV2(
        table_handle=table, filename=path, key_index=-2, value_index=-1, vocab_size=-1, delimiter="\t"
    )
    return table, fill


# --- operations that reach files without the word in their names ------------------------------------------


def record_input(x: Any, around: Surroundings) -> Any:
    return raw.RecordInput(file_pattern=str(around.secret))


def vocabulary_remapping(x: Any, around: Surroundings) -> Any:
    return as_text(
        raw.GenerateVocabRemapping(
            new_vocab_file=str(around.secret),
            old_vocab_file=str(around.secret),
            new_vocab_offset=0,
            num_new_vocab=1,
        )[0]
    )


def candidate_sampler(x: Any, around: Surroundings) -> Any:
    return as_text(
        raw.FixedUnigramCandidateSampler(
            true_classes=np.zeros((1, 1), "int64"),
            num_true=1,
            num_sampled=1,
            unique=False,
            range_max=1,
            vocab_file=str(around.secret),
        )[0]
    )


def proto_descriptor(x: Any, around: Surroundings) -> Any:
    return raw.DecodeProtoV2(
        bytes=x,
        message_type="a.B",
        field_names=["c"],
        output_types=[tf.string],
        descriptor_source=str(around.secret),
    ).values[0]


def matching_files(x: Any, around: Surroundings) -> Any:
    return tf.io.matching_files(str(around.secret.parent / "*"))


def python_in_the_eager_way(x: Any, around: Surroundings) -> Any:
    return tf.py_function(lambda value: value, [x], tf.string)


def python_in_a_branch_of_a_loop(x: Any, around: Surroundings) -> Any:
    def call(value: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda one: one, [value], tf.string), [None])

    return tf.while_loop(
        lambda count, _: count < 3,
        lambda count, value: (count + 1, tf.cond(count > 1, lambda: call(value), lambda: value)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]


def write_two_calls_deep(x: Any, around: Surroundings) -> Any:
    def inner(value: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(around.written), value[0])]):
            return tf.identity(value)

    def outer(value: Any) -> Any:
        return tf.function(inner)(value)

    return tf.function(outer)(x)


def write_in_a_map(x: Any, around: Surroundings) -> Any:
    def write(value: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(around.written), value)]):
            return tf.identity(value)

    return tf.map_fn(write, x)


def log_to_a_file(x: Any, around: Surroundings) -> Any:
    with tf.control_dependencies([tf.print(x, output_stream=f"file://{around.written}")]):
        return tf.identity(x)


OPERATIONS: dict[Callable[[Any, Surroundings], Any], str] = {
    record_input: "RecordInput",
    vocabulary_remapping: "GenerateVocabRemapping",
    candidate_sampler: "FixedUnigramCandidateSampler",
    proto_descriptor: "DecodeProtoV2",
    matching_files: "MatchingFiles",
    python_in_the_eager_way: "EagerPyFunc",
    python_in_a_branch_of_a_loop: "PyFunc",
    write_two_calls_deep: "WriteFile",
    write_in_a_map: "WriteFile",
    log_to_a_file: "PrintV2",
}


@pytest.mark.parametrize("attack", OPERATIONS, ids=lambda attack: attack.__name__)
def test_an_operation_that_reaches_files_or_python_is_refused(
    tmp_path: Path, surroundings: Surroundings, attack: Callable[[Any, Surroundings], Any]
) -> None:
    path = saved_model(tmp_path / "m.zip", lambda x: {"y": attack(x, surroundings)}, [TEXT])

    assert f"operation {OPERATIONS[attack]} " in (said := refusal("tensorflow", path))
    assert "is refused: files, Python, network" in said


def test_messages_described_in_the_graph_itself_are_taken(tmp_path: Path) -> None:
    def serve(x: Any) -> Any:
        decoded = raw.DecodeProtoV2(
            bytes=x,
            message_type="tensorflow.NodeDef",
            field_names=["name"],
            output_types=[tf.string],
            descriptor_source="local://",
        )
        return {"y": decoded.sizes[:, 0]}

    path = saved_model(tmp_path / "m.zip", serve, [TEXT])
    scorer = load_scorer("tensorflow", path, {})
    assert scorer.score_batch([""]) == [{"y": 0}]
    scorer.close()


# --- paths that pretend to be the model's own ---------------------------------------------------------------


def exported(
    folder: Path, build: Callable[[Any], tuple[Any, Any]], change: Callable[[MetaGraphDef], None]
) -> Path:
    """An export whose initialiser runs what a function builds, with its file changed afterwards.

    Args:
        folder: where to.
        build: makes of the input an output and the initialiser's operation (or None).
        change: changes the graph.
    """
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.string, [None], "x")
        output, initialiser = build(x)
        v1.saved_model.simple_save(
            session, str(folder / "export"), {"x": x}, {"y": output}, legacy_init_op=initialiser
        )
    file = folder / "export" / "saved_model.pb"
    saved = SavedModel()
    saved.ParseFromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return pack(folder / "export", folder / "m.zip")


def find(table: Any, x: Any) -> Any:
    return raw.LookupTableFindV2(table_handle=table, keys=x, default_value=np.int64(-1))


def add_asset(graph: MetaGraphDef, tensor: str, filename: str) -> None:
    asset = graph.asset_file_def.add(filename=filename)
    asset.tensor_info.name = tensor


def test_an_asset_outside_the_model_is_refused(tmp_path: Path, surroundings: Surroundings) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        table, fill = table_from(v1.placeholder(tf.string, [], "asset"))
        return find(table, x), fill

    for name in (str(surroundings.secret), "../../../secret.txt", "file:///secret", "a/../../b"):
        folder = tmp_path / str(len(name))
        folder.mkdir()
        path = exported(folder, build, lambda graph, name=name: add_asset(graph, "asset:0", name))  # type: ignore[misc]
        assert "leads out of the model" in refusal("tensorflow", path)


def test_a_path_that_is_an_asset_only_while_loading_is_refused(
    tmp_path: Path, surroundings: Surroundings
) -> None:
    """When an event is scored the constant has its own value: the path that the model's maker wrote."""

    def build(x: Any) -> tuple[Any, Any]:
        table, fill = table_from(tf.constant(str(surroundings.secret), name="asset"))
        with tf.control_dependencies([fill]):
            return find(table, x), None

    path = exported(tmp_path, build, lambda graph: add_asset(graph, "asset:0", "words.txt"))
    assert "its file is not the model's own" in refusal("tensorflow", path)


def test_a_second_output_beside_an_asset_is_refused(tmp_path: Path, surroundings: Surroundings) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        paths = tf.split(tf.constant(["words.txt", str(surroundings.secret)]), 2, name="asset")
        table, fill = table_from(tf.identity(tf.reshape(paths[1], [])))
        return find(table, x), fill

    path = exported(tmp_path, build, lambda graph: add_asset(graph, "asset:0", "words.txt"))
    assert "its file is not the model's own" in refusal("tensorflow", path)


def test_a_path_that_a_function_is_called_with_is_refused(tmp_path: Path, surroundings: Surroundings) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        def look_up(path: Any, keys: Any) -> Any:
            table, fill = table_from(path)
            with tf.control_dependencies([fill]):
                return find(table, keys)

        return tf.function(look_up)(tf.constant(str(surroundings.secret)), x), None

    path = exported(tmp_path, build, lambda graph: None)
    assert "its file is not the model's own" in refusal("tensorflow", path)


@pytest.mark.parametrize("kind", [v1.placeholder, None], ids=["beside an asset", "alone"])
def test_a_path_out_of_a_variable_that_others_set_is_refused(
    tmp_path: Path, surroundings: Surroundings, kind: Any
) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        variable = raw.VarHandleOp(dtype=tf.string, shape=[], shared_name="path")
        assigned = [raw.AssignVariableOp(resource=variable, value=tf.constant(str(surroundings.secret)))]
        if kind:
            other = raw.VarHandleOp(dtype=tf.string, shape=[], shared_name="path")
            assigned.append(raw.AssignVariableOp(resource=other, value=kind(tf.string, [], "asset")))
            variable = other
        with tf.control_dependencies(assigned):
            table, fill = table_from(raw.ReadVariableOp(resource=variable, dtype=tf.string))
        return find(table, x), fill

    path = exported(tmp_path, build, lambda graph: add_asset(graph, "asset:0", "words.txt") if kind else None)
    assert "its file is not the model's own" in refusal("tensorflow", path)


def test_a_second_node_of_a_name_in_a_function_is_seen(tmp_path: Path, surroundings: Surroundings) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        def serve(value: Any) -> Any:
            raw.NoOp(name="hidden")
            return tf.identity(value)

        return tf.function(serve)(x), None

    def change(graph: MetaGraphDef) -> None:
        (function,) = graph.graph_def.library.function
        node = function.node_def[0]
        hidden = type(node)(name=node.name, op="WriteFile")
        hidden.input.extend(["value", "value"])
        function.node_def.insert(0, hidden)

    assert "WriteFile" in refusal("tensorflow", exported(tmp_path, build, change))


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    def build(x: Any) -> tuple[Any, Any]:
        def serve(value: Any) -> Any:
            return tf.identity(value)

        return tf.function(serve)(x), None

    def change(graph: MetaGraphDef) -> None:
        (function,) = graph.graph_def.library.function
        call = function.node_def.add(name="again", op="StatefulPartitionedCall", input=["value"])
        call.attr["f"].func.name = function.signature.name
        for attribute in ("Tin", "Tout"):
            call.attr[attribute].list.type.append(tf.string.as_datatype_enum)

    assert "calls itself" in refusal("tensorflow", exported(tmp_path, build, change))


def test_functions_that_multiply_are_refused(tmp_path: Path) -> None:
    path = calls_in_calls(tmp_path / "bomb.zip", depth=40, calls=2)
    assert "written out, has more than" in refusal("tensorflow", path)
