"""A pickle is never loaded, whatever format it is said to be and wherever in an artifact it is."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib  # type: ignore[import-untyped]  # it has no types
import numpy as np
import pytest

from tests.hostile.artifacts import WritesWhenLoaded, pickled_code, tar_of, zip_of
from tests.hostile.refusals import Surroundings, refusal
from udfs.errors import ModelLoadError
from udfs.scorers import FORMATS, load_scorer


def plain(around: Surroundings) -> bytes:
    return pickled_code(around.written)


def in_text(around: Surroundings) -> bytes:
    return pickled_code(around.written, protocol=0)


def joblib_dump(around: Surroundings) -> bytes:
    made = io.BytesIO()
    joblib.dump(WritesWhenLoaded(around.written), made)
    return made.getvalue()


def compressed(around: Surroundings) -> bytes:
    made = io.BytesIO()
    joblib.dump(WritesWhenLoaded(around.written), made, compress=3)
    return made.getvalue()


def numpy_objects(around: Surroundings) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([WritesWhenLoaded(around.written)], dtype=object), allow_pickle=True)
    return made.getvalue()


def torch_like(around: Surroundings) -> bytes:
    return zip_of({"archive/data.pkl": pickled_code(around.written), "archive/version": b"3\n"})


def in_a_saved_model(around: Surroundings) -> bytes:
    content = pickled_code(around.written)
    return tar_of([("saved_model.pb", content), ("keras_metadata.pb", content)])


def in_a_keras_file(around: Surroundings) -> bytes:
    content = pickled_code(around.written)
    return zip_of({"config.json": content, "metadata.json": b"{}", "model.weights.npz": content})


PICKLES = [
    plain, in_text, joblib_dump, compressed, numpy_objects, torch_like, in_a_saved_model, in_a_keras_file,
]  # fmt: skip


@pytest.mark.parametrize("format_name", sorted(FORMATS))
@pytest.mark.parametrize("make", PICKLES, ids=lambda make: make.__name__)
def test_a_pickle_is_refused_as_any_format_and_never_loaded(
    tmp_path: Path, surroundings: Surroundings, make: Callable[[Surroundings], bytes], format_name: str
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(make(surroundings))
    assert refusal(format_name, path)


def test_the_pickle_of_these_tests_writes_when_it_is_loaded(tmp_path: Path) -> None:
    """Else the others would show nothing."""
    joblib.load(io.BytesIO(pickled_code(tmp_path / "written")))
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "name", ["pickle", "joblib", "sklearn", "torch", "udfs.scorers.onnx", "../onnx", "os"]
)
def test_no_format_loads_pickles_or_any_other_module(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelLoadError, match="unknown format"):
        load_scorer(name, tmp_path / "model", {})


def test_a_pickle_among_the_assets_of_a_model_is_not_loaded(
    tmp_path: Path, surroundings: Surroundings
) -> None:
    import tensorflow as tf

    from tests.contract.tensorflow_models import saved_model

    spec = tf.TensorSpec([None], tf.float32, name="x")
    path = saved_model(tmp_path / "m.zip", lambda x: {"y": 2 * x}, [spec])
    larger = tmp_path / "larger.zip"
    shutil.copyfile(path, larger)
    with zipfile.ZipFile(larger, "a") as archive:
        for name in ("assets/model.pkl", "assets.extra/tf_serving_warmup_requests", "variables/x.pickle"):
            archive.writestr(name, pickled_code(surroundings.written))
    scorer = load_scorer("tensorflow", larger, {})
    assert scorer.score_batch([1.0]) == [{"y": 2.0}]
    scorer.close()
