"""Log MLflow's model: ``python mlflow_models.py FOLDER``, in the environment of MLflow.

iris            scikit-learn, with a signature: four columns in, the species out
examples.json   the irises, and what the model says
"""
# mypy: disable-error-code="import-not-found"

import sys
from pathlib import Path

import irises
import mlflow.sklearn
import pandas
from mlflow.models import infer_signature


def main(folder: Path) -> None:
    """Write all of the above."""
    frame = pandas.DataFrame(irises.MEASURES, columns=irises.FIELDS)
    model = irises.fit().fit(frame, irises.SPECIES[irises.CLASSES])
    species = model.predict(frame)
    # Requirements are given, since MLflow would start a process to find them out.
    mlflow.sklearn.save_model(
        model,
        str(folder / "iris"),
        signature=infer_signature(frame, species),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    irises.write_examples(folder / "examples.json", {"iris": {"predictions": species.tolist()}})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
