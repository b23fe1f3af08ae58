"""Any unary gRPC method keeps the promises of every remote: one by one or in batches, however it is found."""

from collections.abc import Iterator

import pytest

from tests.contract.remote_contract import RemoteContract
from tests.contract.scorer_contract import iris_rows
from tests.grpc_method import SERVICE, IrisServer, descriptor_set, iris_file
from tests.grpc_server import serving
from udfs.json_values import JsonValue
from udfs.options import Options


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    server = IrisServer()
    with serving(server, reflected=server.reflected) as port:
        yield f"grpc://127.0.0.1:{port}"


class _Irises(RemoteContract):
    format = "grpc"

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return iris_rows()

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, inputs: list[JsonValue]) -> list[JsonValue]:
        return [
            {
                "label": "setosa" if row["petal_length"] < 2.5 else "other",
                "area": row["petal_length"] * row["petal_width"],
                "rank": 2**60 + 1,
            }
            for row in inputs
            if isinstance(row, dict)
        ]

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"petal_length": "wide"}


class TestOneByOneByReflection(_Irises):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server_url: str) -> Options:
        return {"url": server_url, "method": f"{SERVICE}/Score"}


class TestBatchesByReflection(_Irises):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server_url: str) -> Options:
        method = f"{SERVICE}/ScoreBatch"
        return {"url": server_url, "method": method, "batch": "records", "results": "results"}


class TestBatchesByDescriptors(TestBatchesByReflection):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, server_url: str) -> Options:
        descriptors = descriptor_set(iris_file())
        method = f"{SERVICE}/ScoreBatch"
        return {
            "url": server_url, "method": method, "batch": "records", "results": "results",
            "descriptors": descriptors,
        }  # fmt: skip


class TestBatchesThatTheServerRefuses(TestBatchesByReflection):
    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"petal_length": -1.0}
