"""What the model servers' environments have in common: Fisher's irises, and a classifier of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
"""The four measures of a flower, in cm."""

_IRIS = load_iris()
MEASURES = _IRIS.data
"""Floats of shape [150, 4]."""
CLASSES = _IRIS.target
"""Integers of shape [150]: the places of the species in `SPECIES`."""
SPECIES = _IRIS.target_names
"""The three species' names."""


def fit() -> LogisticRegression:
    """A classifier that gives the species' names."""
    return LogisticRegression(max_iter=1000).fit(MEASURES, SPECIES[CLASSES])


def write_examples(path: Path, outputs: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
    """Write the irises, and what models say of each, as JSON.

    Args:
        path: the file.
        outputs: by the models' names, then by their outputs' names: one value an iris.
    """
    inputs = [dict(zip(FIELDS, each, strict=True)) for each in MEASURES.tolist()]
    path.write_text(json.dumps({name: {"inputs": inputs, "outputs": each} for name, each in outputs.items()}))
