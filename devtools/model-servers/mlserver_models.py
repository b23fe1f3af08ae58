"""Fit MLServer's models: ``python mlserver_models.py FOLDER``, in the environment of MLServer.

iris            scikit-learn: one tensor [-1, 4] in, `predict` (BYTES) and `predict_proba` out, version 1
iris-bare       the same, of which the server knows no inputs and outputs
iris-fields     scikit-learn: a tensor a field in, as a data frame
iris-lightgbm   LightGBM: one tensor [-1, 4] in, `predict` out: the species' probabilities [-1, 3]
echo            answers tensors as they came, whatever their datatype
examples.json   the irises, and what the models of them say
"""
# mypy: disable-error-code="import-not-found, import-untyped"

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import irises
import joblib
import lightgbm
import pandas
from mlserver_echo import DATATYPES

_SKLEARN = "mlserver_sklearn.SKLearnModel"


def tensor(name: str, datatype: str, *shape: int) -> dict[str, object]:
    """A tensor of a model's metadata; the first dimension is that of the records."""
    return {"name": name, "datatype": datatype, "shape": [-1, *shape]}


MEASURES = [tensor("measures", "FP64", 4)]
PREDICTIONS = [tensor("predict", "BYTES", 1), tensor("predict_proba", "FP64", 3)]


def write_settings(
    folder: Path,
    implementation: str,
    file: Path | None,
    more: Mapping[str, object] | None = None,
    **parameters: str,
) -> None:
    """Declare a model to MLServer, in a folder of the model's name."""
    folder.mkdir(exist_ok=True)
    uri = {"uri": f"./{file.relative_to(folder)}"} if file else {}
    settings = {
        "name": folder.name,
        "implementation": implementation,
        "parameters": {**uri, **parameters},
        **(more or {}),
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2))


def write_sklearn(
    folder: Path, model: object, more: Mapping[str, object] | None = None, **parameters: str
) -> None:
    """Write a scikit-learn model."""
    folder.mkdir()
    file = folder / "model.joblib"
    joblib.dump(model, file)
    write_settings(folder, _SKLEARN, file, more, **parameters)


def main(folder: Path) -> None:
    """Write all of the above."""
    flowers = irises.fit()
    write_sklearn(folder / "iris", flowers, {"inputs": MEASURES, "outputs": PREDICTIONS}, version="1")
    write_sklearn(folder / "iris-bare", flowers)

    frame = pandas.DataFrame(irises.MEASURES, columns=irises.FIELDS)
    by_fields = irises.fit().fit(frame, irises.SPECIES[irises.CLASSES])
    fields = {"inputs": [tensor(name, "FP64", 1) for name in irises.FIELDS], "outputs": PREDICTIONS}
    write_sklearn(folder / "iris-fields", by_fields, fields, content_type="pd")

    trees = lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "num_threads": 1, "verbose": -1, "deterministic": True},
        lightgbm.Dataset(irises.MEASURES, irises.CLASSES),
        num_boost_round=20,
    )
    boosted = folder / "iris-lightgbm"
    boosted.mkdir()
    trees.save_model(boosted / "model.bst")
    probabilities = {"inputs": MEASURES, "outputs": [tensor("predict", "FP64", 3)]}
    write_settings(boosted, "mlserver_lightgbm.LightGBMModel", boosted / "model.bst", probabilities)

    anything = [tensor(datatype.lower(), datatype) for datatype in DATATYPES]
    write_settings(folder / "echo", "mlserver_echo.Echo", None, {"inputs": anything, "outputs": anything})

    said = {
        "predict": flowers.predict(irises.MEASURES).tolist(),
        "predict_proba": flowers.predict_proba(irises.MEASURES).tolist(),
    }
    irises.write_examples(
        folder / "examples.json",
        {
            "iris": said,
            "iris-bare": said,
            "iris-fields": {
                "predict": by_fields.predict(frame).tolist(),
                "predict_proba": by_fields.predict_proba(frame).tolist(),
            },
            "iris-lightgbm": {"predict": trees.predict(irises.MEASURES).tolist()},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
