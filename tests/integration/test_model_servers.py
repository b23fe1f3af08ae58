"""The real model servers of the tests say over their protocols what their models say."""

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from tritonclient import grpc

from devtools import model_servers
from devtools.model_servers import Examples, InferenceServer, MlflowServer, RestServer, Tls
from tests.certificates import Authority
from tests.faults import Storm
from tests.faulty_proxy import FaultyProxy
from tests.waiting import wait_until

DATATYPES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64")
SOME = 10
SECONDS = 60.0
"""For an answer: a model's first takes its time."""


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.mlserver(tmp_path_factory.mktemp("mlserver")) as server:
        yield server


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServer]:
    with model_servers.kserve_server(tmp_path_factory.mktemp("kserve")) as server:
        yield server


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with model_servers.mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        children = psutil.Process(server.pid).children(recursive=True)
        yield server
    # `mlflow models serve` is the parent of what serves.
    wait_until(lambda: not any(child.is_running() for child in children), what="the end of MLflow's children")


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    with model_servers.rest_server(tmp_path_factory.mktemp("rest")) as server:
        yield server


def post(url: str, **more: Any) -> httpx.Response:
    return httpx.post(url, timeout=SECONDS, **more)


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=SECONDS)


def rows(examples: Examples) -> list[list[float]]:
    return [list(record.values()) for record in examples.inputs[:SOME]]


def tensor(name: str, datatype: str, data: Sequence[Sequence[Any]]) -> dict[str, Any]:
    elements = [element for row in data for element in row]
    return {"name": name, "datatype": datatype, "shape": [len(data), len(data[0])], "data": elements}


def infer(server: InferenceServer, model: str, inputs: list[dict[str, Any]], *outputs: str) -> dict[str, Any]:
    """Ask over REST; gives the outputs' elements by name."""
    asked = {"inputs": inputs, **({"outputs": [{"name": name} for name in outputs]} if outputs else {})}
    answer = post(f"{server.http_url}/v2/models/{model}/infer", json=asked).raise_for_status().json()
    return {output["name"]: output["data"] for output in answer["outputs"]}


def infer_grpc(server: InferenceServer, *outputs: str) -> grpc.InferResult:
    """Ask the model of irises over gRPC."""
    measures = np.array(rows(server.examples["iris"]))
    asked = grpc.InferInput("measures", measures.shape, "FP64")
    asked.set_data_from_numpy(measures)
    with grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        return client.infer("iris", [asked], outputs=[grpc.InferRequestedOutput(name) for name in outputs])


def metadata(server: InferenceServer, model: str) -> dict[str, Any]:
    answer: dict[str, Any] = get(f"{server.http_url}/v2/models/{model}").raise_for_status().json()
    return answer


@pytest.mark.parametrize("model", ["iris", "iris-bare"])
def test_mlserver_labels_irises_as_its_model_does(mlserver: InferenceServer, model: str) -> None:
    examples = mlserver.examples[model]
    answer = infer(mlserver, model, [tensor("measures", "FP64", rows(examples))])
    assert answer == {"predict": examples.outputs["predict"][:SOME]}


def test_mlserver_gives_probabilities_that_are_asked_for(mlserver: InferenceServer) -> None:
    examples = mlserver.examples["iris"]
    answer = infer(mlserver, "iris", [tensor("measures", "FP64", rows(examples))], "predict_proba")
    assert answer["predict_proba"] == np.ravel(examples.outputs["predict_proba"][:SOME]).tolist()


def test_mlserver_takes_a_tensor_a_field(mlserver: InferenceServer) -> None:
    examples = mlserver.examples["iris-fields"]
    fields = [
        tensor(name, "FP64", [[record[name]] for record in examples.inputs[:SOME]])
        for name in examples.inputs[0]
    ]
    assert infer(mlserver, "iris-fields", fields) == {"predict": examples.outputs["predict"][:SOME]}


def test_mlserver_has_a_second_runtime(mlserver: InferenceServer) -> None:
    examples = mlserver.examples["iris-lightgbm"]
    answer = infer(mlserver, "iris-lightgbm", [tensor("measures", "FP64", rows(examples))])
    assert answer == {"predict": np.ravel(examples.outputs["predict"][:SOME]).tolist()}


def test_mlserver_answers_over_grpc(mlserver: InferenceServer) -> None:
    answer = infer_grpc(mlserver, "predict", "predict_proba")
    expected = mlserver.examples["iris"].outputs
    assert [label.decode() for label in answer.as_numpy("predict").ravel()] == expected["predict"][:SOME]
    assert answer.as_numpy("predict_proba").tolist() == expected["predict_proba"][:SOME]


def test_mlserver_knows_the_tensors_of_a_model_that_declares_them(mlserver: InferenceServer) -> None:
    known = metadata(mlserver, "iris")
    assert [(each["name"], each["datatype"], each["shape"]) for each in known["inputs"]] == [
        ("measures", "FP64", [-1, 4])
    ]
    assert [each["name"] for each in known["outputs"]] == ["predict", "predict_proba"]


def test_mlserver_knows_no_tensors_of_a_model_that_declares_none(mlserver: InferenceServer) -> None:
    known = metadata(mlserver, "iris-bare")
    assert not known.get("inputs")
    assert not known.get("outputs")


@pytest.mark.parametrize("datatype", DATATYPES)
def test_mlserver_echoes_numbers(mlserver: InferenceServer, datatype: str) -> None:
    data = [True, False] if datatype == "BOOL" else [1, 0]
    assert infer(mlserver, "echo", [tensor("any", datatype, [data])]) == {"any": data}


def test_mlserver_echoes_bytes(mlserver: InferenceServer) -> None:
    assert infer(mlserver, "echo", [tensor("any", "BYTES", [["a", "ü"]])]) == {"any": ["a", "ü"]}


def test_kserve_answers_over_rest(kserve: InferenceServer) -> None:
    examples = kserve.examples["iris"]
    answer = infer(kserve, "iris", [tensor("measures", "FP64", rows(examples))])
    assert answer["species"] == examples.outputs["species"][:SOME]
    assert answer["probabilities"] == np.ravel(examples.outputs["probabilities"][:SOME]).tolist()


def test_kserve_answers_over_grpc(kserve: InferenceServer) -> None:
    answer = infer_grpc(kserve, "species", "probabilities")
    expected = kserve.examples["iris"].outputs
    # It answers with typed contents, which `as_numpy` reads of bytes only.
    species, probabilities = (answer.get_output(name).contents for name in ("species", "probabilities"))
    assert [label.decode() for label in species.bytes_contents] == expected["species"][:SOME]
    assert probabilities.fp64_contents == np.ravel(expected["probabilities"][:SOME]).tolist()


def test_kserve_knows_the_tensors_of_its_model(kserve: InferenceServer) -> None:
    known = metadata(kserve, "iris")
    assert known["inputs"] == [{"name": "measures", "datatype": "FP64", "shape": [-1, 4]}]
    assert [each["name"] for each in known["outputs"]] == ["species", "probabilities"]


def test_mlflow_labels_irises_as_its_model_does(mlflow: MlflowServer) -> None:
    columns = list(mlflow.examples.inputs[0])
    asked = {"dataframe_split": {"columns": columns, "data": rows(mlflow.examples)}}
    answer = post(f"{mlflow.url}/invocations", json=asked).raise_for_status()
    assert answer.json() == {"predictions": mlflow.examples.outputs["predictions"][:SOME]}


def test_the_service_scores_a_payment(rest: RestServer) -> None:
    answer = post(f"{rest.url}/score", json={"amount": 250.0}).raise_for_status()
    assert answer.json() == {"score": 0.25, "label": "accept"}


def test_the_service_scores_a_list_of_payments(rest: RestServer) -> None:
    answer = post(f"{rest.url}/score-batch", json=[{"amount": 250.0}, {"amount": 5000.0}])
    assert answer.raise_for_status().json() == {
        "predictions": [{"score": 0.25, "label": "accept"}, {"score": 1.0, "label": "review"}]
    }


def test_the_service_refuses_a_payment_without_an_amount(rest: RestServer) -> None:
    assert post(f"{rest.url}/score", json={"country": "CH"}).status_code == 422


@pytest.mark.parametrize(("token", "status"), [("open-sesame", 200), ("sesame", 401)])
def test_the_service_guards_with_a_token(rest: RestServer, token: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert post(f"{rest.url}/guarded", json={"amount": 1}, headers=headers).status_code == status


def test_the_service_takes_the_time_that_it_is_asked_to(rest: RestServer) -> None:
    answer = post(f"{rest.url}/slow", params={"ms": 50}, json=[{}, {}]).raise_for_status()
    assert answer.json() == {"predictions": [{"score": 0.0}, {"score": 0.0}]}
    assert answer.elapsed.total_seconds() >= 0.05


def test_the_service_says_what_headers_came(rest: RestServer) -> None:
    answer = post(f"{rest.url}/headers", headers={"traceparent": "00-1"}).raise_for_status().json()
    assert answer["headers"]["traceparent"] == "00-1"
    assert answer["http_version"] == "1.1"


def test_the_service_speaks_http_2_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trust = ssl.create_default_context(cafile=authority.file)
    with (
        model_servers.rest_server(tmp_path, Tls(*authority.sign("server"))) as server,
        httpx.Client(http2=True, verify=trust, timeout=SECONDS) as client,
    ):
        assert client.post(f"{server.url}/headers").raise_for_status().json()["http_version"] == "2"


def test_the_service_asks_for_certificates_of_its_clients(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trust = ssl.create_default_context(cafile=authority.file)
    tls = Tls(*authority.sign("server"), client_authority=authority.file)
    with (
        model_servers.rest_server(tmp_path, tls) as server,
        httpx.Client(verify=trust, timeout=SECONDS) as stranger,
    ):
        with pytest.raises(httpx.TransportError):
            stranger.post(f"{server.url}/headers")
        trust.load_cert_chain(*authority.sign("client"))
        with httpx.Client(verify=trust, timeout=SECONDS) as friend:
            friend.post(f"{server.url}/headers").raise_for_status()


def test_a_faulty_proxy_passes_grpc(mlserver: InferenceServer) -> None:
    with FaultyProxy(int(mlserver.grpc_url.rpartition(":")[2])) as proxy:
        answer = infer_grpc(replace(mlserver, grpc_url=f"grpc://127.0.0.1:{proxy.port}"), "predict")
    assert answer.get_output("predict").shape == [SOME, 1]


def test_a_storm_of_a_faulty_proxy_is_http(rest: RestServer) -> None:
    with FaultyProxy(int(rest.url.rpartition(":")[2])) as proxy, httpx.Client(timeout=SECONDS) as client:
        client.post(f"{proxy.url}/headers").raise_for_status()
        proxy.fault = Storm(retry_after="1")
        answers = [client.post(f"{proxy.url}/score", json={"amount": 1.0}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert (proxy.connections, proxy.requests) == (3, 4)


def test_a_killed_server_answers_again_at_its_address(tmp_path: Path) -> None:
    with model_servers.rest_server(tmp_path) as server:
        server.kill()
        with pytest.raises(httpx.ConnectError):
            post(f"{server.url}/headers")
        server.restart()
        post(f"{server.url}/headers").raise_for_status()


def test_a_server_ends_with_its_block(tmp_path: Path) -> None:
    with model_servers.rest_server(tmp_path) as server:
        process = psutil.Process(server.pid)
    assert not process.is_running()


def test_servers_listen_on_loopback_only(mlserver: InferenceServer, kserve: InferenceServer) -> None:
    for server in (mlserver, kserve):
        listening = [
            each.laddr.ip
            for each in psutil.Process(server.pid).net_connections()
            if each.status == psutil.CONN_LISTEN
        ]
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_examples_are_the_150_irises(mlserver: InferenceServer) -> None:
    for examples in mlserver.examples.values():
        assert len(examples.inputs) == 150
        assert {len(output) for output in examples.outputs.values()} == {150}
