"""The Java process of the PMML scorer: one, bounded, closed to strangers, and gone when it should be."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from examples.iris.train import FIELDS, MEASURES, fit_logistic_regression, write_pmml
from tests.contract.scorer_contract import wait_until
from tests.leftovers import children_with
from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.scorers._pmml_jvm import HEAP_VARIABLE, Connection, JavaError, Reference
from udfs.scorers.pmml import PmmlScorer, load

ROOT = Path(__file__).parents[2]
FLOWER: JsonValue = dict(zip(FIELDS, MEASURES[0].tolist(), strict=True))

Open = Callable[[], PmmlScorer]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pmml") / "iris.pmml"
    write_pmml(fit_logistic_regression(), path)
    return path


@pytest.fixture
def open_model(artifact: Path) -> Iterator[Open]:
    """Load the iris model; closed at the end."""
    opened: list[PmmlScorer] = []

    def open_model() -> PmmlScorer:
        opened.append(load(artifact, {}))
        return opened[-1]

    yield open_model
    for scorer in opened:
        scorer.close()


def label(scorer: PmmlScorer) -> JsonValue:
    outputs = scorer.score_batch([FLOWER])[0]
    assert isinstance(outputs, dict), outputs
    result: JsonValue = outputs["label"]
    return result


def java_processes() -> list[psutil.Process]:
    return children_with("GatewayServer")


def test_models_share_one_bounded_process_that_ends_with_the_last(open_model: Open) -> None:
    assert not java_processes()
    first, second = open_model(), open_model()
    processes = java_processes()
    assert len(processes) == 1
    assert "-Xmx512m" in processes[0].cmdline()
    first.close()
    assert label(second) == "setosa"
    second.close()
    assert not java_processes()


def test_the_heap_is_as_large_as_the_environment_says(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HEAP_VARIABLE, "100m")
    open_model()
    assert "-Xmx100m" in java_processes()[0].cmdline()


@pytest.mark.parametrize(("variable", "value"), [("JAVA_HOME", "/nowhere"), (HEAP_VARIABLE, "much")])
def test_a_process_that_does_not_start_is_a_load_error(
    open_model: Open, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelLoadError, match=f"{value}.*{variable}"):
        open_model()
    assert not java_processes()


def test_closed_models_and_scored_batches_leave_no_object_in_java(open_model: Open) -> None:
    connection = Connection()

    def bindings() -> object:
        gateway = connection.call_for_object(Reference("GATEWAY_SERVER"), "getGateway")
        objects = connection.call_for_object(gateway, "getBindings")
        count = connection.call(objects, "size")
        connection.release(objects)
        connection.release(gateway)
        return count

    before = bindings()
    for _ in range(3):
        scorer = open_model()
        scorer.score_batch([FLOWER, {}, {FIELDS[0]: "wide"}])
        with pytest.raises(JavaError):
            connection.call(scorer._model, "predict", "[")
        scorer.close()
    after = bindings()
    connection.close()
    assert after == before


def test_a_process_that_was_killed_is_replaced(open_model: Open) -> None:
    scorers = [open_model(), open_model()]
    [java] = java_processes()
    java.kill()
    java.wait()
    assert [label(scorer) for scorer in scorers] == ["setosa", "setosa"]
    [replacement] = java_processes()
    assert replacement.pid != java.pid


def test_a_caller_without_the_token_is_refused(open_model: Open) -> None:
    open_model()
    [java] = java_processes()
    [port] = {c.laddr.port for c in java.net_connections() if c.status == psutil.CONN_LISTEN}
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
        stranger.sendall(b"c\nz:java.lang.System\nexit\ni3\ne\n")
        answer = stranger.makefile("rb").readline()
    assert answer.startswith(b"!x")
    assert java.is_running()


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_java_does_not_outlive_a_killed_python(artifact: Path, fatal: signal.Signals) -> None:
    program = (
        "import sys; from pathlib import Path; from udfs.scorers.pmml import load\n"
        "scorer = load(Path(sys.argv[1]), {})\n"
        "print(scorer._connection.jvm_pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(artifact)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as python:
        assert python.stdout is not None
        java = psutil.Process(int(python.stdout.readline()))
        assert java.is_running()
        os.kill(python.pid, fatal)
        python.wait()
    wait_until(lambda: not java.is_running() or java.status() == psutil.STATUS_ZOMBIE, "Java lives on")
