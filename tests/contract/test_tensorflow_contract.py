"""The TensorFlow scorer keeps the promises of every scorer: SavedModel and Keras, tensors and examples."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from examples.iris import train
from tests.contract.scorer_contract import ScorerContract, iris_rows
from tests.contract.tensorflow_models import keras_classifier, saved_model
from udfs.json_values import JsonValue
from udfs.scorers import Options


class TestIris(ScorerContract):
    format = "tensorflow"
    output_types: ClassVar[dict[str, type]] = {"label": str, "probabilities": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("tensorflow") / "iris.zip"
        train.write_tensorflow(path)
        return path


class TestKeras(ScorerContract):
    format = "tensorflow"
    output_types: ClassVar[dict[str, type]] = {"species": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return keras_classifier(tmp_path_factory.mktemp("keras") / "iris.keras")

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        rows: list[Any] = iris_rows()
        return [list(row.values()) for row in rows]


class TestExamples(ScorerContract):
    format = "tensorflow"
    output_types: ClassVar[dict[str, type]] = {"sum": float, "twice": int}

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Options:
        return {"input": "tf.Example"}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        import tensorflow as tf

        features = {
            "weight": tf.io.FixedLenFeature([], tf.float32),
            "count": tf.io.FixedLenFeature([], tf.int64, default_value=7),
        }

        def serve(serialized: Any) -> dict[str, Any]:
            parsed = tf.io.parse_example(serialized, features)
            return {
                "sum": parsed["weight"] + tf.cast(parsed["count"], tf.float32),
                "twice": parsed["count"] * 2,
            }

        spec = tf.TensorSpec([None], tf.string, name="examples")
        return saved_model(tmp_path_factory.mktemp("examples") / "model.tar.gz", serve, [spec])

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        # An integer for a float, and a feature that is missing, are both good.
        return [{"weight": 2, "count": 3}, {"weight": 0.5, "count": 1}, {"weight": 1.25}] * 5

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"weight": "heavy", "count": 3}
