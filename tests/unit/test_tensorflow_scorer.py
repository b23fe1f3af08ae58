"""What the TensorFlow scorer takes and refuses, beside the contract."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests.contract.tensorflow_models import keras_classifier, pack, saved_model
from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.scorers import _tensorflow_archive as archives
from udfs.scorers import load_scorer

Serve = Callable[..., dict[str, Any]]


def score(path: Path, inputs: list[JsonValue], **options: JsonValue) -> list[JsonValue | ScoreError]:
    scorer = load_scorer("tensorflow", path, options)
    try:
        return list(scorer.score_batch(inputs))
    finally:
        scorer.close()


def notes(path: Path) -> tuple[str, ...]:
    scorer: Any = load_scorer("tensorflow", path, {})
    scorer.close()
    return tuple(scorer.notes)


def is_stateful(path: Path) -> bool:
    scorer: Any = load_scorer("tensorflow", path, {})
    scorer.close()
    return bool(scorer.stateful)


def double(path: Path, prefix: str = "") -> Path:
    """A model of one float a record, ``y = 2 x``."""
    spec = tf.TensorSpec([None], tf.float32, name="x")
    return saved_model(path, lambda x: {"y": 2 * x}, [spec], prefix=prefix)


# --- what it takes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "export/0001"])
@pytest.mark.parametrize("name", ["model.zip", "model.tar.gz"])
def test_a_saved_model_comes_in_either_archive_at_any_depth(tmp_path: Path, name: str, prefix: str) -> None:
    assert score(double(tmp_path / name, prefix), [{"x": 1.5}, 2.0]) == [{"y": 3.0}, {"y": 4.0}]


def test_every_element_type_comes_out_as_itself(tmp_path: Path) -> None:
    def serve(count: Any, flag: Any, name: Any, weight: Any) -> dict[str, Any]:
        return {
            "count": count + 1,
            "flag": tf.logical_not(flag),
            "name": tf.strings.upper(name),
            "weight": weight,
        }

    specs = [
        tf.TensorSpec([None], tf.int64, name="count"),
        tf.TensorSpec([None], tf.bool, name="flag"),
        tf.TensorSpec([None], tf.string, name="name"),
        tf.TensorSpec([None, 2], tf.float64, name="weight"),
    ]
    record: JsonValue = {"count": 2**53, "flag": True, "name": "rosé", "weight": [0.1, 0.2]}

    (outputs,) = score(saved_model(tmp_path / "m.zip", serve, specs), [record])

    assert outputs == {"count": 2**53 + 1, "flag": False, "name": "ROSé", "weight": [0.1, 0.2]}


def test_outputs_are_chosen_by_name_and_in_that_order(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"a": x, "b": 2 * x, "c": 3 * x}, [spec])

    (outputs,) = score(path, [1.0], outputs="c,a")

    assert json.dumps(outputs) == '{"c": 3.0, "a": 1.0}'


def test_fields_name_the_elements_of_the_only_tensor(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None, 2], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"difference": x[:, 0] - x[:, 1]}, [spec])

    assert score(path, [{"b": 1.0, "a": 3.0}], fields="a,b") == [{"difference": 2.0}]


def test_one_event_may_be_the_whole_input(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"sum": tf.reduce_sum(x)}, [spec])

    assert score(path, [[1.0, 2.0], [3.0]], batch_axis="none") == [{"sum": 3.0}, {"sum": 3.0}]


def test_a_model_that_mixes_its_rows_is_scored_one_by_one_and_says_so(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"share": x / tf.reduce_sum(x)}, [spec])

    assert score(path, [2.0, 3.0]) == [{"share": 1.0}, {"share": 1.0}]
    assert notes(path) == ("scored one by one: in a batch its answers differ",)


def test_a_signature_with_a_batch_of_two_gets_two_at_a_time(tmp_path: Path) -> None:
    spec = tf.TensorSpec([2], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"y": 2 * x}, [spec])

    assert score(path, [1.0, 2.0, 3.0]) == [{"y": 2.0}, {"y": 4.0}, {"y": 6.0}]
    assert notes(path) == ("scored 2 at a time, as the signature declares",)


def test_a_vocabulary_among_the_assets_is_read(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("setosa\nvirginica\n")
    initializer = tf.lookup.TextFileInitializer(
        str(words),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(initializer, -1)
    spec = tf.TensorSpec([None], tf.string, name="word")
    path = saved_model(
        tmp_path / "m.zip", lambda word: {"number": module.table.lookup(word)}, [spec], module=module
    )
    words.unlink()

    assert score(path, ["virginica", "rose"]) == [{"number": 1}, {"number": -1}]


def test_an_export_of_tensorflow_1_is_scored(tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.float32, [None], "x")
        weight = v1.get_variable("weight", initializer=3.0, use_resource=False)
        y = x * weight
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "export"), {"x": x}, {"y": y})

    assert score(pack(tmp_path / "export", tmp_path / "m.zip"), [2.0]) == [{"y": 6.0}]


def test_what_is_no_text_among_string_outputs_is_an_error_of_its_record(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.string, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"bytes": tf.io.decode_base64(x)}, [spec])

    good, bad = score(path, ["aGk", "_w"])

    assert good == {"bytes": "hi"}
    assert isinstance(bad, ScoreError)


def test_what_the_graph_refuses_is_an_error_of_its_record(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.string, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"number": tf.strings.to_number(x)}, [spec])

    results = score(path, ["1", "one", "3"])

    assert [results[0], results[2]] == [{"number": 1.0}, {"number": 3.0}]
    assert "one" in str(results[1])


def test_loading_leaves_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(double(tmp_path / "m.zip").read_bytes()[:-30])

    score(tmp_path / "m.zip", [1.0])
    with pytest.raises(ModelLoadError):
        load_scorer("tensorflow", broken, {})

    assert list((tmp_path / "temporary").iterdir()) == []


# --- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "unknown option 'colour'"),
        ({"signature": "other"}, "no signature 'other'; the model has: serving_default"),
        ({"outputs": "z"}, "no output 'z'; the signature has: y"),
        ({"fields": "a,b"}, "2 fields don't fit"),
        ({"batch_axis": "first"}, "option batch_axis"),
        ({"threads": "0"}, "option threads"),
        ({"input": "tf.Example"}, "only input takes strings"),
        ({"batch_axis": "none", "fields": "a"}, "option fields"),
    ],
)
def test_an_option_that_does_not_suit_is_said(tmp_path: Path, options: dict[str, str], said: str) -> None:
    path = double(tmp_path / "m.zip")

    with pytest.raises(ModelLoadError) as error:
        load_scorer("tensorflow", path, options)

    assert said in str(error.value)


# --- archives ----------------------------------------------------------------------------------------------


def tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return made.getvalue()


def link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("saved_model.pb")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return made.getvalue()


ARCHIVES = {
    "an empty file": (b"", "not a SavedModel"),
    "no archive": (b"saved_model.pb", "not a SavedModel"),
    "an archive of something else": (zipped("readme.txt"), "no saved_model.pb"),
    "two models": (zipped("a/saved_model.pb", "b/saved_model.pb"), "2 saved_model.pb"),
    "a saved_model.pb that is none": (zipped("saved_model.pb"), "can't be read"),
    "a path upwards": (zipped("../../saved_model.pb"), "leads out of it"),
    "an absolute path": (tar({"/tmp/saved_model.pb": b"x"}), "leads out of it"),
    "a backslash": (tar({"..\\saved_model.pb": b"x"}), "leads out of it"),
    "a symbolic link": (tar({"saved_model.pb": link(tarfile.SYMTYPE)}), "no file and no folder"),
    "a hard link": (tar({"saved_model.pb": link(tarfile.LNKTYPE)}), "no file and no folder"),
    "a device": (tar({"saved_model.pb": link(tarfile.CHRTYPE)}), "no file and no folder"),
    "a file twice": (tar({"a": b"1", "./a": b"2"}), "can't be unpacked"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bad_archive_is_refused(tmp_path: Path, name: str) -> None:
    content, said = ARCHIVES[name]
    path = tmp_path / "artifact"
    path.write_bytes(content)

    with pytest.raises(ModelLoadError) as error:
        load_scorer("tensorflow", path, {})

    assert said in str(error.value)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000_000)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(tar({"variables/bomb": bytes(2_000_000)}))

    with pytest.raises(ModelLoadError, match="more than 1000000 bytes"):
        load_scorer("tensorflow", path, {})


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 10)
    path = tmp_path / "many.zip"
    path.write_bytes(zipped(*(f"{number}" for number in range(11))))

    with pytest.raises(ModelLoadError, match="more than 10 files"):
        load_scorer("tensorflow", path, {})


def test_variables_cut_short_are_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(tf.ones([1000]))
    spec = tf.TensorSpec([None], tf.float32, name="x")
    tf.saved_model.save(
        module,
        str(tmp_path / "model"),
        {"serving_default": tf.function(lambda x: {"y": x * module.weight[0]}, [spec])},
    )
    variables = tmp_path / "model" / "variables" / "variables.data-00000-of-00001"
    variables.write_bytes(variables.read_bytes()[:100])

    with pytest.raises(ModelLoadError, match="TensorFlow can't load it"):
        load_scorer("tensorflow", pack(tmp_path / "model", tmp_path / "m.zip"), {})


# --- operations that are refused -------------------------------------------------------------------------


def read_file(x: Any) -> dict[str, Any]:
    return {"y": tf.strings.join([x, tf.io.read_file("/etc/hostname")])}


def write_file(x: Any) -> dict[str, Any]:
    with tf.control_dependencies([tf.io.write_file("/tmp/written", "x")]):
        return {"y": tf.identity(x)}


def read_in_a_branch(x: Any) -> dict[str, Any]:
    return {"y": tf.cond(tf.size(x) > 5, lambda: tf.io.read_file("/etc/hostname"), lambda: x[0])[None]}


def read_in_a_dataset(x: Any) -> dict[str, Any]:
    lines = tf.data.TextLineDataset("/etc/hostname")
    return {"y": tf.strings.join([x, lines.reduce(tf.constant(""), lambda _, line: line)])}


def restore(x: Any) -> dict[str, Any]:
    return {
        "y": tf.strings.join(
            [
                x,
                tf.raw_ops.RestoreV2(
                    prefix="/c", tensor_names=["t"], shape_and_slices=[""], dtypes=[tf.string]
                )[0],
            ]
        )
    }


def map_a_file(x: Any) -> dict[str, Any]:
    content = tf.raw_ops.ImmutableConst(dtype=tf.int32, shape=[1], memory_region_name="/etc/hostname")
    return {"y": tf.strings.join([x, tf.strings.as_string(content)])}


def save(x: Any) -> dict[str, Any]:
    with tf.control_dependencies(
        [tf.raw_ops.SaveV2(prefix="/tmp/written", tensor_names=["t"], shape_and_slices=[""], tensors=[x])]
    ):
        return {"y": tf.identity(x)}


def print_to_a_file(x: Any) -> dict[str, Any]:
    with tf.control_dependencies([tf.print(x, output_stream="file:///tmp/written")]):
        return {"y": tf.identity(x)}


def call_python(x: Any) -> dict[str, Any]:
    return {"y": tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.string), [None])}


REFUSED: dict[Serve, str] = {
    read_file: "ReadFile",
    write_file: "WriteFile",
    read_in_a_branch: "ReadFile",
    read_in_a_dataset: "TextLineDataset",
    restore: "RestoreV2",
    map_a_file: "ImmutableConst",
    save: "SaveV2",
    print_to_a_file: "PrintV2",
    call_python: "PyFunc",
}


@pytest.mark.parametrize("serve", REFUSED, ids=lambda serve: serve.__name__)
def test_a_graph_that_could_reach_files_or_python_is_refused(tmp_path: Path, serve: Serve) -> None:
    path = saved_model(tmp_path / "m.zip", serve, [tf.TensorSpec([None], tf.string, name="x")])

    with pytest.raises(ModelLoadError, match=f"operation {REFUSED[serve]}.* is refused"):
        load_scorer("tensorflow", path, {})


def test_a_table_from_a_file_outside_the_model_is_refused(tmp_path: Path) -> None:
    export = tmp_path / "export"
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.string, [None], "x")
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        fill = tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename="/etc/hostname", key_index=-2, value_index=-1
        )
        found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=x, default_value=np.int64(-1))
        v1.saved_model.simple_save(session, str(export), {"x": x}, {"y": found}, legacy_init_op=fill)

    with pytest.raises(ModelLoadError, match="its file is not the model's own"):
        load_scorer("tensorflow", pack(export, tmp_path / "m.zip"), {})


def test_a_model_that_counts_its_events_has_state(tmp_path: Path) -> None:
    module = tf.Module()
    module.seen = tf.Variable(0.0)
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(
        tmp_path / "m.zip", lambda x: {"y": x + module.seen.assign_add(1.0)}, [spec], module=module
    )

    assert is_stateful(path)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + tf.random.uniform([1], seed=1),
        lambda x: x + tf.random.normal([1]),
        lambda x: x + tf.random.truncated_normal([1]),
        lambda x: x + tf.random.gamma([1], 2.0),
        lambda x: x + tf.random.poisson([1], 2.0),
        lambda x: x + tf.cast(tf.random.categorical([[0.5, 0.5]], 1)[0], tf.float32),
        lambda x: x + 0 * tf.random.shuffle(tf.constant([1.0, 2.0]))[0],
        lambda x: x + tf.map_fn(lambda _: tf.random.uniform([]), x),
        lambda x: x + tf.cast(tf.timestamp(), tf.float32),
    ],
)
def test_a_model_that_draws_random_numbers_has_state(tmp_path: Path, draw: Callable[[Any], Any]) -> None:
    spec = tf.TensorSpec([None], tf.float32, name="x")
    assert is_stateful(saved_model(tmp_path / "m.zip", lambda x: {"y": draw(x)}, [spec]))


def test_a_model_with_a_generator_of_its_own_has_state(tmp_path: Path) -> None:
    module = tf.Module()
    module.generator = tf.random.Generator.from_seed(1)
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(
        tmp_path / "m.zip", lambda x: {"y": x + module.generator.uniform([1])}, [spec], module=module
    )
    assert is_stateful(path)


def test_numbers_that_only_a_seed_decides_are_no_state(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(
        tmp_path / "m.zip", lambda x: {"y": x + tf.random.stateless_truncated_normal([1], [1, 2])}, [spec]
    )
    assert not is_stateful(path)


def test_a_restore_operation_that_does_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(double(tmp_path / "m.zip")) as archive:
        archive.extractall(tmp_path / "model")
    graph = SavedModel()
    graph.ParseFromString((tmp_path / "model" / "saved_model.pb").read_bytes())
    meta = graph.meta_graphs[0]
    node = meta.graph_def.node.add(name="evil", op="WriteFile")
    node.input.extend([node.name, node.name])
    meta.saver_def.restore_op_name = "evil"
    (tmp_path / "model" / "saved_model.pb").write_bytes(graph.SerializeToString())

    with pytest.raises(ModelLoadError, match="WriteFile"):
        load_scorer("tensorflow", pack(tmp_path / "model", tmp_path / "evil.zip"), {})


# --- Keras -------------------------------------------------------------------------------------------------


def test_a_sequential_model_is_scored_and_its_output_is_its_last_layer(tmp_path: Path) -> None:
    import keras

    layer = keras.layers.Dense(1, name="sum", kernel_initializer="ones")
    keras.Sequential([keras.Input((2,)), layer]).save(tmp_path / "sequential.keras")

    assert score(tmp_path / "sequential.keras", [[1, 2]]) == [{"sum": [3.0]}]


def test_a_lambda_layer_is_refused(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "lambda.keras")

    with pytest.raises(ModelLoadError, match="Lambda layer"):
        load_scorer("tensorflow", tmp_path / "lambda.keras", {})


def test_what_only_saving_a_model_again_needs_is_not_loaded(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="sum")]).save(tmp_path / "m.keras")
    scorer: Any = load_scorer("tensorflow", tmp_path / "m.keras", {})
    loaded = scorer._runner._session.graph.as_graph_def()
    scorer.close()
    operations = {node.op for function in loaded.library.function for node in function.node_def}
    assert "RestoreV2" in operations
    assert "SaveV2" not in operations


def test_a_keras_file_that_names_foreign_code_is_refused(tmp_path: Path) -> None:
    path = keras_classifier(tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    configuration = json.loads(parts["config.json"])
    configuration["config"]["layers"][1] |= {"module": "os", "class_name": "system"}
    parts["config.json"] = json.dumps(configuration).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)

    with pytest.raises(ModelLoadError, match=r"asks for os\.system"):
        load_scorer("tensorflow", path, {})


# --- examples ----------------------------------------------------------------------------------------------


def test_a_field_of_the_wrong_kind_is_an_error_of_its_record(tmp_path: Path) -> None:
    features = {"count": tf.io.FixedLenFeature([], tf.int64)}
    spec = tf.TensorSpec([None], tf.string, name="examples")
    path = saved_model(
        tmp_path / "m.zip", lambda one: {"count": tf.io.parse_example(one, features)["count"]}, [spec]
    )

    half, missing, good = score(path, [{"count": 1.5}, {}, {"count": 2.0}], input="tf.Example")

    assert str(half) == 'field "count": expected an integer, got float'
    assert "count" in str(missing)
    assert good == {"count": 2}
