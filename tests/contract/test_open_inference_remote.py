"""The Open Inference Protocol keeps the promises of every remote, with MLServer and KServe's server."""

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from devtools import model_servers
from devtools.model_servers import InferenceServer
from tests.contract.remote_checks import SECONDS, assert_same, offload_error
from tests.contract.remote_contract import RemoteContract, run
from tests.contract.scorer_contract import IRIS_FIELDS
from udfs.errors import Fault, ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.options import Options
from udfs.remotes import Surroundings, connect

URLS = ("grpc_url", "http_url")


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as server:
        yield server


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.kserve_server(tmp_path_factory.mktemp("kserve")) as server:
        yield server


def score(url: str, records: Sequence[JsonValue], **options: JsonValue) -> list[JsonValue | ScoreError]:
    """Open a remote and score records with one call."""

    async def score_all() -> list[JsonValue | ScoreError]:
        surroundings = Surroundings(places=AllowedPlaces([url]))
        remote = connect("open-inference", {"url": url, **options}, surroundings)
        try:
            await remote.open(SECONDS)
            return list(await remote.score(records, SECONDS, ()))
        finally:
            await remote.close()

    return run(score_all())


class OpenInferenceContract(RemoteContract):
    """The suite, for irises by their fields."""

    format = "open-inference"

    model: ClassVar[str] = "iris"
    url: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]]
    axes: ClassVar[tuple[str, ...]] = ()
    """Outputs that the examples have bare, and the server with an axis of one value."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> InferenceServer:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server: InferenceServer) -> Options:
        url: str = getattr(server, cls.url)
        return {"url": url, "model": cls.model, "fields": ",".join(IRIS_FIELDS), "outputs": list(cls.outputs)}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, server: InferenceServer) -> list[JsonValue]:
        return list(server.examples[cls.model].inputs)

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, server: InferenceServer) -> list[JsonValue]:
        said = server.examples[cls.model].outputs
        return [
            {name: [value] if name in cls.axes else value for name, value in zip(said, row, strict=True)}
            for row in zip(*said.values(), strict=True)
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return dict.fromkeys(IRIS_FIELDS, "wide")


class RefusedByServer(OpenInferenceContract):
    """With a bad record that only the server knows to be one."""

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return dict.fromkeys(IRIS_FIELDS, math.nan)


class OfMlserver(OpenInferenceContract):
    outputs: ClassVar[tuple[str, ...]] = ("predict", "predict_proba")
    axes: ClassVar[tuple[str, ...]] = ("predict",)

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, mlserver: InferenceServer) -> InferenceServer:
        return mlserver


class OfKserve(OpenInferenceContract):
    outputs = ("species", "probabilities")

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, kserve: InferenceServer) -> InferenceServer:
        return kserve


class TestMlserverOverGrpc(OfMlserver, RefusedByServer):
    url = "grpc_url"


class TestMlserverOverRest(OfMlserver):
    url = "http_url"


class TestMlserversLightgbmOverGrpc(OfMlserver):
    url = "grpc_url"
    model = "iris-lightgbm"
    outputs = ("predict",)
    axes = ()


class TestKserveOverGrpc(OfKserve):
    url = "grpc_url"


class TestKserveOverRest(OfKserve, RefusedByServer):
    url = "http_url"


@pytest.mark.parametrize("url", URLS)
class TestMlserver:
    def test_all_datatypes_come_back_as_they_went(self, mlserver: InferenceServer, url: str) -> None:
        least: JsonValue = {
            "bool": False,
            "uint8": 0,
            "uint16": 0,
            "uint32": 0,
            "uint64": 0,
            "int8": -(1 << 7),
            "int16": -(1 << 15),
            "int32": -(1 << 31),
            "int64": -(1 << 63),
            "fp32": -0.5,
            "fp64": -0.1,
            "bytes": "",
        }
        most: JsonValue = {
            "bool": True,
            "uint8": (1 << 8) - 1,
            "uint16": (1 << 16) - 1,
            "uint32": (1 << 32) - 1,
            "uint64": (1 << 64) - 1,
            "int8": (1 << 7) - 1,
            "int16": (1 << 15) - 1,
            "int32": (1 << 31) - 1,
            "int64": (1 << 63) - 1,
            "fp32": 2.0**100,
            "fp64": 1e300,
            "bytes": 'Blüte 🌸 \n"\\\0',
        }
        assert score(getattr(mlserver, url), [least, most], model="echo") == [least, most]

    def test_a_model_takes_a_tensor_a_field(self, mlserver: InferenceServer, url: str) -> None:
        examples = mlserver.examples["iris-fields"]
        records = examples.inputs[::10]
        said = score(getattr(mlserver, url), records, model="iris-fields", outputs="predict")
        assert_same(said, [{"predict": [species]} for species in examples.outputs["predict"][::10]])

    def test_a_model_without_metadata_is_scored_with_declared_inputs(
        self, mlserver: InferenceServer, url: str
    ) -> None:
        examples = mlserver.examples["iris-bare"]
        inputs: JsonValue = [{"name": "predict", "datatype": "FP32", "shape": [-1, 4]}]
        records = [list(record.values()) for record in examples.inputs[::10]]
        said = score(getattr(mlserver, url), records, model="iris-bare", inputs=inputs)
        assert_same(said, [{"predict": [species]} for species in examples.outputs["predict"][::10]])

    def test_and_without_them_is_a_load_error(self, mlserver: InferenceServer, url: str) -> None:
        with pytest.raises(ModelLoadError, match="option inputs"):
            score(getattr(mlserver, url), [[1, 2, 3, 4]], model="iris-bare")

    def test_a_version_that_is_there_is_scored(self, mlserver: InferenceServer, url: str) -> None:
        examples = mlserver.examples["iris"]
        said = score(getattr(mlserver, url), [list(examples.inputs[0].values())], model="iris", version="1")
        assert_same(said, [{"predict": [examples.outputs["predict"][0]]}])

    @pytest.mark.parametrize("wrong", [{"version": "7"}, {"model": "no-such-model"}], ids=str)
    def test_what_is_not_there_is_a_lasting_fault(
        self, mlserver: InferenceServer, url: str, wrong: dict[str, JsonValue]
    ) -> None:
        with offload_error(Fault.LASTING) as said:
            score(getattr(mlserver, url), [[1, 2, 3, 4]], **{"model": "iris", **wrong})
        assert "not found" in said[0]

    def test_an_output_that_is_not_there_is_a_load_error(self, mlserver: InferenceServer, url: str) -> None:
        with pytest.raises(ModelLoadError, match="no output 'colour'; it has 'predict', 'predict_proba'"):
            score(getattr(mlserver, url), [[1, 2, 3, 4]], model="iris", outputs="colour")
