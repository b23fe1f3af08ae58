"""Keras files that would run code or read other files; `tests/unit/test_tensorflow_scorer.py` has more."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # it has no types
import pytest

from tests.contract.tensorflow_models import keras_classifier
from tests.hostile.artifacts import changed_keras, pickled_code
from tests.hostile.refusals import Surroundings, refusal
from udfs.scorers import _tensorflow_archive as archives
from udfs.scorers import _tensorflow_keras as keras_files


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return keras_classifier(tmp_path / "model.keras")


def layer(name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {
        "class_name": name,
        "module": module,
        "config": {"name": "evil", **config},
        "registered_name": None,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}),
            "Lambda layer",
        ),
        (layer("Lambda", "keras.src.layers.core.lambda_layer"), "Lambda layer"),
        (layer("TorchModuleWrapper", module="gASVAAAA"), "TorchModuleWrapper"),
        (layer("JaxLayer"), "JaxLayer"),
        (layer("Evil", "evil_package"), "asks for evil_package.Evil"),
        (layer("Popen", "subprocess"), "asks for subprocess.Popen"),
        (layer("Evil", "kerasevil"), "asks for kerasevil.Evil"),
        (layer("get_file", "keras.utils", origin="http://127.0.0.1:1/x"), "Keras can't load it"),
        (layer("enable_unsafe_deserialization", "keras.config"), "Keras can't load it"),
        (layer("load_model", "keras.saving", filepath="/x.keras"), "Keras can't load it"),
        (layer("eval", "builtins"), "Keras can't load it"),
        (layer("os", "keras.src.saving.saving_lib"), "Keras can't load it"),
        (layer("Custom", None) | {"registered_name": "evil>Custom"}, "Keras can't load it"),
        (
            {"config": {"name": "d", "units": 8, "activation": {"class_name": "function", "config": "exec"}}},
            "Lambda",
        ),
        (
            {"config": {"class_name": "__typespec__", "config": {"module": "os", "class_name": "x"}}},
            "asks for os.x",
        ),
    ],
)
def test_a_layer_that_is_code_is_refused(
    classifier: Path, surroundings: Surroundings, change: dict[str, Any], said: str
) -> None:
    assert said in refusal("tensorflow", changed_keras(classifier, change))


def test_another_model_inside_is_refused(classifier: Path, surroundings: Surroundings) -> None:
    change = layer("TFSMLayer", filepath=str(surroundings.secret.parent))
    assert "TFSMLayer" in refusal("tensorflow", changed_keras(classifier, change))


@pytest.mark.parametrize("place", ["{secret}", "{address}/words.txt"])
def test_a_vocabulary_elsewhere_is_refused(classifier: Path, surroundings: Surroundings, place: str) -> None:
    path = place.format(secret=surroundings.secret, address=surroundings.address)
    change = layer("StringLookup", vocabulary=path)
    assert "vocabulary in a file outside the model" in refusal(
        "tensorflow", changed_keras(classifier, change)
    )


def with_weights(path: Path, surroundings: Surroundings, kind: str) -> Path:
    """The model, with one of its arrays elsewhere."""
    with zipfile.ZipFile(path) as archive:
        made = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(made, "a") as file:
        arrays: list[str] = []
        file.visititems(lambda name, item: arrays.append(name) if isinstance(item, h5py.Dataset) else None)
        place, shape = arrays[0], file[arrays[0]].shape
        del file[place]
        if kind == "external data":
            everything = [(str(surroundings.secret), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(place, shape, "float32", external=everything)
        elif kind == "an external link":
            file[place] = h5py.ExternalLink(str(surroundings.secret), "/x")
        elif kind == "a virtual array":
            layout = h5py.VirtualLayout(shape, "float32")
            layout[:] = h5py.VirtualSource(str(surroundings.secret), "x", shape)
            file.create_virtual_dataset(place, layout)
        else:
            file.create_dataset(place, (1 << 40,), "float32", chunks=(1 << 20,))
    return changed_keras(path, {}, {"model.weights.h5": made.getvalue()})


# Keras says so before it gives up.
@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")
@pytest.mark.parametrize(
    "kind", ["external data", "an external link", "a virtual array", "terabytes of nothing"]
)
def test_weights_that_are_not_in_the_file_are_refused(
    classifier: Path, surroundings: Surroundings, kind: str
) -> None:
    assert "Not allowed: H5" in refusal("tensorflow", with_weights(classifier, surroundings, kind))


def test_pickled_weights_are_not_loaded(classifier: Path, surroundings: Surroundings) -> None:
    path = changed_keras(
        classifier,
        {},
        {"model.weights.npz": pickled_code(surroundings.written), "model.weights.h5": b""},
    )
    assert "Keras can't load it" in refusal("tensorflow", path)


@pytest.mark.parametrize(
    "name", ["../written", "assets/../../written", "/tmp/written", "assets\\..\\written"]
)
def test_a_member_that_leads_out_is_refused(classifier: Path, surroundings: Surroundings, name: str) -> None:
    assert "leads out of it" in refusal("tensorflow", changed_keras(classifier, {}, {name: b"x"}))


def test_a_bomb_is_refused(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    path = changed_keras(classifier, {}, {"assets/bomb": bytes(30_000_000)})
    assert "unpacks to more than" in refusal("tensorflow", path)


def test_a_configuration_that_is_a_bomb_is_refused(classifier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_files, "_MOST_CONFIGURATION", 1_000)
    assert "more than 1000 bytes" in refusal("tensorflow", classifier)


def test_a_configuration_of_many_levels_is_a_load_error(classifier: Path) -> None:
    deep = b'{"a":' * 50_000 + b"0" + b"}" * 50_000
    assert "not a .keras file" in refusal("tensorflow", changed_keras(classifier, {}, {"config.json": deep}))
