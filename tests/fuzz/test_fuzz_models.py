"""Artifacts that were models once, mutated: each loads or is refused; none hangs, crashes or raises else."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.contract.tensorflow_models import keras_classifier, saved_model
from tests.fuzz.examples import changed, examples, mutated
from tests.fuzz.loader import LoaderProcess
from tests.hostile.artifacts import PMML, added, onnx_model, sparse, zip_of

SECONDS = 60.0
"""Longest that one load may take; a real one takes some milliseconds."""

pytestmark = pytest.mark.timeout(1500)


def onnx_files() -> list[bytes]:
    import numpy as np
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.ones(2, "float32"), "w")
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
    )
    with_sparse = onnx_model([added()])
    with_sparse.graph.sparse_initializer.append(sparse(2))
    models = [onnx_model([added()], [weights]), onnx_model([trees]), with_sparse]
    return [model.SerializeToString() for model in models]


PFA = {
    "name": "Sum",
    "input": {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "double"}]},
    "output": "double",
    "cells": {"offset": {"type": "double", "init": 1.5}},
    "fcns": {"twice": {"params": [{"a": "double"}], "ret": "double", "do": [{"*": ["a", 2]}]}},
    "action": [{"+": [{"u.twice": ["input.x"]}, {"cell": "offset"}]}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check(process: LoaderProcess, artifact: bytes) -> None:
    said = process.load(artifact, SECONDS)
    event(said)
    assert said in ("loaded", "refused")


@pytest.fixture(scope="module")
def onnx_process(folder: Path) -> Iterator[LoaderProcess]:
    with LoaderProcess("onnx", [[1, 2], None, {"x": [1]}], folder) as process:
        yield process


@examples(400, SECONDS)
@given(data=st.sampled_from(onnx_files()).flatmap(mutated))
def test_a_mutated_onnx_file_loads_or_is_refused(onnx_process: LoaderProcess, data: bytes) -> None:
    check(onnx_process, data)


@pytest.fixture(scope="module")
def pmml_process(folder: Path) -> Iterator[LoaderProcess]:
    with LoaderProcess("pmml", [{"x": 1}, [2], None], folder) as process:
        yield process


@examples(15, SECONDS)
@given(data=mutated(PMML.format(header="", attributes="").encode()))
def test_a_mutated_pmml_file_loads_or_is_refused(pmml_process: LoaderProcess, data: bytes) -> None:
    check(pmml_process, data)


@pytest.fixture(scope="module")
def pfa_process(folder: Path) -> Iterator[LoaderProcess]:
    with LoaderProcess("pfa", [{"x": 1}, 2, None], folder) as process:
        yield process


PFA_DOCUMENTS = mutated(json.dumps(PFA).encode()) | changed(PFA).map(json.dumps).map(str.encode)


@examples(150, SECONDS)
@given(data=PFA_DOCUMENTS)
def test_a_mutated_pfa_document_loads_or_is_refused(pfa_process: LoaderProcess, data: bytes) -> None:
    check(pfa_process, data)


@pytest.fixture(scope="module")
def tensorflow_process(folder: Path) -> Iterator[LoaderProcess]:
    with LoaderProcess("tensorflow", [1, [1, 2, 3, 4], None], folder) as process:
        yield process


@pytest.fixture(scope="module")
def archives(folder: Path) -> list[bytes]:
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(2.0)
    spec = tf.TensorSpec([None], tf.float32, name="x")

    def serve(x: Any) -> dict[str, Any]:
        return {"y": x * module.weight}

    paths = [saved_model(folder / name, serve, [spec], module=module) for name in ("m.zip", "m.tar.gz")]
    return [path.read_bytes() for path in (*paths, keras_classifier(folder / "m.keras"))]


@examples(60, SECONDS)
@given(data=st.data(), which=st.integers(0, 2))
def test_a_mutated_archive_loads_or_is_refused(
    tensorflow_process: LoaderProcess, archives: list[bytes], data: st.DataObject, which: int
) -> None:
    check(tensorflow_process, data.draw(mutated(archives[which])))


@examples(100, SECONDS)
@given(data=st.data(), which=st.sampled_from([0, 2]))
def test_an_archive_with_a_mutated_member_loads_or_is_refused(
    tensorflow_process: LoaderProcess, archives: list[bytes], data: st.DataObject, which: int
) -> None:
    with zipfile.ZipFile(io.BytesIO(archives[which])) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    name = data.draw(st.sampled_from(sorted(members)))
    check(tensorflow_process, zip_of(members | {name: data.draw(mutated(members[name]))}))
