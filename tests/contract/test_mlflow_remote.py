"""mlflow remotes against ``mlflow models serve`` with a scikit-learn model of the irises."""

from collections.abc import Iterator
from typing import ClassVar

import pytest

from devtools.model_servers import MlflowServer, mlflow_server
from tests.contract.remote_checks import need_environment
from tests.contract.remote_contract import RemoteContract
from udfs.json_values import JsonValue
from udfs.options import Options

FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    need_environment("mlflow")
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


class _Irises(RemoteContract):
    format = "mlflow"
    more_options: ClassVar[Options]

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server: MlflowServer) -> Options:
        return {"url": server.url, **cls.more_options}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, server: MlflowServer) -> list[JsonValue]:
        return list(server.examples.inputs)

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, server: MlflowServer) -> list[JsonValue]:
        return list(server.examples.outputs["predictions"])

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return dict.fromkeys(FIELDS, "wide")


class TestDataframeSplit(_Irises):
    more_options: ClassVar[Options] = {}


class TestInstances(_Irises):
    more_options: ClassVar[Options] = {"input": "instances"}


class TestInputs(_Irises):
    more_options: ClassVar[Options] = {"input": "inputs"}


class TestArraysOfNamedFields(_Irises):
    more_options: ClassVar[Options] = {"fields": list(FIELDS)}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, server: MlflowServer) -> list[JsonValue]:
        return [[record[name] for name in FIELDS] for record in server.examples.inputs]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return [5.1, 3.5]
