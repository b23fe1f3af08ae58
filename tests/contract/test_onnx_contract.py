"""The ONNX scorer keeps the promises of every scorer, for models of several shapes."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from tests.contract.scorer_contract import IRIS_FIELDS, ScorerContract, iris_rows
from udfs.json_values import JsonValue
from udfs.scorers import Options


def export(model: BaseEstimator, path: Path, *, zipmap: bool, batch: int | None = None) -> Path:
    """Fit a scikit-learn model on the irises and write it as an ONNX file."""
    iris = load_iris()
    model.fit(iris.data, iris.target)
    options: dict[Any, Any] = {id(model): {"zipmap": zipmap}} if hasattr(model, "classes_") else {}
    graph = to_onnx(model, iris.data[:1].astype("float32"), options=options, target_opset=17)
    if batch is not None:
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    path.write_bytes(graph.SerializeToString())
    return path


class TestLogisticRegression(ScorerContract):
    format = "onnx"
    output_types: ClassVar[dict[str, type]] = {"label": int, "probabilities": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return export(
            LogisticRegression(max_iter=1000), tmp_path_factory.mktemp("onnx") / "iris.onnx", zipmap=False
        )

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Options:
        return {"fields": ",".join(IRIS_FIELDS)}


class TestForestWithZipMapAndDeclaredBatchOfOne(ScorerContract):
    format = "onnx"
    output_types: ClassVar[dict[str, type]] = {"output_label": int, "output_probability": dict}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = RandomForestClassifier(n_estimators=100, max_depth=4, random_state=0)
        return export(model, tmp_path_factory.mktemp("onnx") / "forest.onnx", zipmap=True, batch=1)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return [list(row.values()) for row in iris_rows() if isinstance(row, dict)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return [5.1, 3.5, 1.4]


class TestNeuralNetworkThatTakesAnObjectOfItsInput(ScorerContract):
    format = "onnx"
    output_types: ClassVar[dict[str, type]] = {"variable": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = MLPRegressor(hidden_layer_sizes=(33, 17), max_iter=50, tol=1e9, random_state=0)
        return export(model, tmp_path_factory.mktemp("onnx") / "network.onnx", zipmap=False)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return [{"X": list(row.values())} for row in iris_rows() if isinstance(row, dict)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"X": [5.1, 3.5, None, 0.2]}


class TestOneEventIsTheWholeInput(ScorerContract):
    format = "onnx"
    output_types: ClassVar[dict[str, type]] = {"variable": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return export(StandardScaler(), tmp_path_factory.mktemp("onnx") / "scaler.onnx", zipmap=False)

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Options:
        return {"batch_axis": "none"}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        rows = [list(row.values()) for row in iris_rows() if isinstance(row, dict)]
        return [{"X": rows[i : i + 3]} for i in range(100)]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"X": [5.1, 3.5, 1.4, 0.2]}
