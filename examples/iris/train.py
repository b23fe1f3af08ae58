"""Fit iris classifiers on Fisher's 150 irises and write them in four formats.

    python examples/iris/train.py FOLDER [--without-tensorflow]

    iris-1.onnx     logistic regression
    iris-2.onnx     linear discriminant analysis, which is right more often
    iris.pmml       the logistic regression
    iris.pfa        the logistic regression
    iris-tf.zip     a softmax layer, trained with TensorFlow, as a SavedModel
    events.jsonl    the 150 irises as events

The ONNX models take one float tensor of shape [N, 4], so they are published with
``--option fields=sepal_length,sepal_width,petal_length,petal_width``. The others take the four named
fields. Everything is fitted from the same data with no random choice, so a second run writes the same models.

Data: R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936 (in scikit-learn).
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from skl2onnx import to_onnx
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
"""The four measures of a flower, in cm, in the order of the models' tensors."""

_IRIS = load_iris()
MEASURES = _IRIS.data
"""Floats of shape [150, 4]."""
SPECIES = _IRIS.target_names[_IRIS.target]
"""Strings of shape [150]."""

_ONNX_OPSET = 17
_PMML_NAMESPACE = "http://www.dmg.org/PMML-4_4"
_TENSORFLOW_STEPS = 500


def fit_logistic_regression() -> LogisticRegression:
    """Version 1 of the classifier."""
    return LogisticRegression(max_iter=1000).fit(MEASURES, SPECIES)


def fit_discriminant_analysis() -> LinearDiscriminantAnalysis:
    """Version 2 of the classifier, the better one."""
    return LinearDiscriminantAnalysis().fit(MEASURES, SPECIES)


def held_out_accuracy(model: ClassifierMixin) -> float:
    """The mean accuracy on flowers that the model was not fitted on: 5 folds, 10 times."""
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=10, random_state=0)
    return float(cross_val_score(model, MEASURES, SPECIES, cv=folds).mean())


def write_onnx(model: ClassifierMixin, path: Path) -> None:
    """Write a fitted classifier as ONNX: one [N, 4] float input, outputs `label` and `probabilities`."""
    graph = to_onnx(
        model,
        MEASURES[:1].astype("float32"),
        name="iris",
        options={"zipmap": False, "output_class_labels": False},
        target_opset=_ONNX_OPSET,
    )
    path.write_bytes(graph.SerializeToString())


def write_pmml(model: LogisticRegression, path: Path) -> None:
    """Write a fitted logistic regression as a PMML 4.4 RegressionModel."""
    root = ElementTree.Element("PMML", xmlns=_PMML_NAMESPACE, version="4.4")
    ElementTree.SubElement(root, "Header", description="Fisher's irises, logistic regression")
    classes = [str(species) for species in model.classes_]

    dictionary = ElementTree.SubElement(root, "DataDictionary", numberOfFields=str(len(FIELDS) + 1))
    for field in FIELDS:
        ElementTree.SubElement(dictionary, "DataField", name=field, optype="continuous", dataType="double")
    target = ElementTree.SubElement(
        dictionary, "DataField", name="species", optype="categorical", dataType="string"
    )
    for species in classes:
        ElementTree.SubElement(target, "Value", value=species)

    regression = ElementTree.SubElement(
        root, "RegressionModel", functionName="classification", normalizationMethod="softmax"
    )
    schema = ElementTree.SubElement(regression, "MiningSchema")
    for field in FIELDS:
        ElementTree.SubElement(schema, "MiningField", name=field, missingValueTreatment="returnInvalid")
    ElementTree.SubElement(schema, "MiningField", name="species", usageType="target")

    output = ElementTree.SubElement(regression, "Output")
    ElementTree.SubElement(
        output, "OutputField", name="label", feature="predictedValue", optype="categorical", dataType="string"
    )
    for species in classes:
        ElementTree.SubElement(
            output,
            "OutputField",
            name=f"probability_{species}",
            feature="probability",
            value=species,
            optype="continuous",
            dataType="double",
        )

    for species, weights, bias in zip(classes, model.coef_.tolist(), model.intercept_.tolist(), strict=True):
        table = ElementTree.SubElement(
            regression, "RegressionTable", intercept=repr(bias), targetCategory=species
        )
        for field, weight in zip(FIELDS, weights, strict=True):
            ElementTree.SubElement(table, "NumericPredictor", name=field, coefficient=repr(weight))

    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def write_pfa(model: LogisticRegression, path: Path) -> None:
    """Write a fitted logistic regression as a PFA engine from records to records."""
    doubles = {"type": "array", "items": "double"}
    weights = {
        "type": "record",
        "name": "Weights",
        "fields": [
            {"name": "coeff", "type": {"type": "array", "items": doubles}},
            {"name": "const", "type": doubles},
        ],
    }
    engine = {
        "name": "iris",
        "input": {
            "type": "record",
            "name": "Flower",
            "fields": [{"name": field, "type": "double"} for field in FIELDS],
        },
        "output": {
            "type": "record",
            "name": "Species",
            "fields": [{"name": "label", "type": "string"}, {"name": "probabilities", "type": doubles}],
        },
        "cells": {
            "weights": {
                "type": weights,
                "init": {"coeff": model.coef_.tolist(), "const": model.intercept_.tolist()},
            },
            "labels": {
                "type": {"type": "array", "items": "string"},
                "init": [str(species) for species in model.classes_],
            },
        },
        "action": [
            {"let": {"measures": {"type": doubles, "new": [f"input.{field}" for field in FIELDS]}}},
            {
                "let": {
                    "probabilities": {
                        "m.link.softmax": {"model.reg.linear": ["measures", {"cell": "weights"}]}
                    }
                }
            },
            {
                "type": "Species",
                "new": {
                    "label": {"cell": "labels", "path": [{"a.argmax": "probabilities"}]},
                    "probabilities": "probabilities",
                },
            },
        ],
    }
    path.write_text(json.dumps(engine, indent=1) + "\n", encoding="utf-8")


def write_tensorflow(path: Path) -> None:
    """Train a softmax layer and write it as a zipped SavedModel with four named inputs of shape [N]."""
    import tensorflow as tf

    classes = tf.constant([str(species) for species in _IRIS.target_names])
    measures = tf.constant(MEASURES, tf.float32)
    mean, deviation = tf.math.reduce_mean(measures, 0), tf.math.reduce_std(measures, 0)
    # Zeros to begin with and full batches: nothing here is left to chance.
    weights = tf.Variable(tf.zeros([len(FIELDS), len(classes)]), name="weights")
    bias = tf.Variable(tf.zeros([len(classes)]), name="bias")

    def logits(rows: Any) -> Any:
        return tf.matmul((rows - mean) / deviation, weights) + bias

    def step() -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(_IRIS.target, logits(measures))
            loss = tf.reduce_mean(losses)
        slopes = tape.gradient(loss, (weights, bias))
        weights.assign_sub(slopes[0])
        bias.assign_sub(slopes[1])

    train = tf.function(step)
    for _ in range(_TENSORFLOW_STEPS):
        train()

    def serve(sepal_length: Any, sepal_width: Any, petal_length: Any, petal_width: Any) -> dict[str, Any]:
        rows = tf.stack([sepal_length, sepal_width, petal_length, petal_width], axis=1)
        probabilities = tf.nn.softmax(logits(rows))
        return {"label": tf.gather(classes, tf.argmax(probabilities, axis=1)), "probabilities": probabilities}

    inputs = [tf.TensorSpec([None], tf.float32, name=field) for field in FIELDS]
    module = tf.Module()
    module.weights, module.bias = weights, bias
    with tempfile.TemporaryDirectory() as folder:
        signatures = {"serving_default": tf.function(serve, inputs)}
        tf.saved_model.save(module, folder, signatures=signatures)
        shutil.make_archive(str(path.with_suffix("")), "zip", folder)


def write_events(path: Path) -> None:
    """Write the 150 irises as events, a JSON line each."""
    with path.open("w", encoding="utf-8") as file:
        for number, measures in enumerate(MEASURES.tolist()):
            event = {"id": f"e-{number}", "data": dict(zip(FIELDS, measures, strict=True))}
            file.write(json.dumps(event) + "\n")


def main() -> None:
    """Fit, measure and write all of them."""
    parser = argparse.ArgumentParser(description="Fit iris classifiers and write them in four formats.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-tensorflow", action="store_true", help="leave iris-tf.zip out")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    first, second = fit_logistic_regression(), fit_discriminant_analysis()
    write_onnx(first, folder / "iris-1.onnx")
    write_onnx(second, folder / "iris-2.onnx")
    write_pmml(first, folder / "iris.pmml")
    write_pfa(first, folder / "iris.pfa")
    write_events(folder / "events.jsonl")
    if not arguments.without_tensorflow:
        write_tensorflow(folder / "iris-tf.zip")
    for path in sorted(folder.glob("iris*")):
        print(f"{path}  {path.stat().st_size} bytes")
    print(f"accuracy on held-out flowers: version 1 {held_out_accuracy(first):.4f}", end=", ")
    print(f"version 2 {held_out_accuracy(second):.4f}")


if __name__ == "__main__":
    main()
