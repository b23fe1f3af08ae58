"""Real model servers on this machine, for tests, the demo and the benchmarks.

Each is a context manager over a folder, where the server's files and its log go::

    with model_servers.mlserver(tmp_path) as server:
        ask(server.grpc_url, model="iris")

They listen on loopback only, run in environments of their own (`devtools.model_environments`), keep their
arithmetic to one core, and are killed when the calling thread ends.
"""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools import model_environments
from devtools.model_environments import ONE_THREAD, SOURCES
from devtools.processes import free_ports
from devtools.server_process import ServerProcess


@dataclass(frozen=True)
class Examples:
    """Records, and what a model says of them: computed in its environment when it was fitted.

    Attributes:
        inputs: N records; the 150 irises, their four measures by name.
        outputs: N values an output, by the outputs' names.
    """

    inputs: Sequence[Mapping[str, float]]
    outputs: Mapping[str, Sequence[str] | Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: ServerProcess

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def log(self) -> Path:
        """Its log."""
        return self.process.log

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again, at the same addresses; end it in order first if it runs."""
        self.process.stop()
        self.process.start()


@dataclass(frozen=True)
class InferenceServer(Server):
    """A server of the Open Inference Protocol.

    Attributes:
        http_url: ``http://127.0.0.1:PORT``.
        grpc_url: ``grpc://127.0.0.1:PORT``.
        examples: by the models' names.
    """

    http_url: str
    grpc_url: str
    examples: Mapping[str, Examples]


@dataclass(frozen=True)
class MlflowServer(Server):
    """MLflow's scoring server of one model.

    Attributes:
        url: ``http://127.0.0.1:PORT``, without ``/invocations``.
        examples: the model's; the output is ``predictions``.
    """

    url: str
    examples: Examples


@dataclass(frozen=True)
class RestServer(Server):
    """The REST service of ``devtools/model-servers/rest_app.py``.

    Attributes:
        url: ``http://127.0.0.1:PORT``, or ``https://127.0.0.1:PORT``.
    """

    url: str


@dataclass(frozen=True)
class Tls:
    """How a server speaks TLS.

    Attributes:
        cert: PEM file of its certificate.
        key: PEM file of the certificate's key.
        client_authority: PEM file of the authority that must have signed its clients' certificates; None:
            clients show none.
    """

    cert: Path
    key: Path
    client_authority: Path | None = None


@contextmanager
def mlserver(folder: Path) -> Iterator[InferenceServer]:
    """MLServer, with the models of ``devtools/model-servers/mlserver_models.py``.

    Args:
        folder: where its models, ``models/``, and its log go.

    Raises:
        ProcessError: the environment can't be made, or the server does not start.
    """
    http, grpc = free_ports(2)
    models = folder / "models"
    shutil.copytree(model_environments.models("mlserver"), models)
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (models / "settings.json").write_text(json.dumps(settings))
    command: list[str | Path] = [_program("mlserver", "mlserver"), "start", models]
    health = f"http://127.0.0.1:{http}/v2/health/ready"
    with _running("MLServer", command, [http, grpc], folder, health) as process:
        yield InferenceServer(process, *_urls(http, grpc), _examples(models))


@contextmanager
def kserve_server(folder: Path) -> Iterator[InferenceServer]:
    """KServe's Python server, with the model of ``devtools/model-servers/kserve_iris.py``.

    Args:
        folder: where its examples and its log go.

    Raises:
        ProcessError: the environment can't be made, or the server does not start.
    """
    http, grpc = free_ports(2)
    command: list[str | Path] = [
        *(_program("kserve", "python"), SOURCES / "kserve_iris.py", folder),
        *("--http_port", str(http), "--grpc_port", str(grpc)),
        *("--enable_latency_logging", "false", "--configure_logging", "false"),
    ]
    with _running("KServe's server", command, [http, grpc], folder) as process:
        yield InferenceServer(process, *_urls(http, grpc), _examples(folder))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """``mlflow models serve``, with the model of ``devtools/model-servers/mlflow_models.py``.

    Args:
        folder: where its log goes.

    Raises:
        ProcessError: the environment can't be made, or the server does not start.
    """
    [port] = free_ports(1)
    models = model_environments.models("mlflow")
    command: list[str | Path] = [
        *(_program("mlflow", "mlflow"), "models", "serve", "--model-uri", models / "iris"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--env-manager", "local"),
    ]
    with _running("MLflow's server", command, [port], folder) as process:
        yield MlflowServer(process, f"http://127.0.0.1:{port}", _examples(models)["iris"])


@contextmanager
def rest_server(folder: Path, tls: Tls | None = None) -> Iterator[RestServer]:
    """A FastAPI service: on uvicorn, or with TLS on hypercorn, which has HTTP/2 too.

    Args:
        folder: where its log goes.
        tls: serve https.

    Raises:
        ProcessError: the environment can't be made, or the server does not start.
    """
    [port] = free_ports(1)
    program = _program("rest", "hypercorn" if tls else "uvicorn")
    options: list[str | Path]
    if tls is None:
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    else:
        options = ["--bind", f"127.0.0.1:{port}", "--certfile", tls.cert, "--keyfile", tls.key]
        if tls.client_authority:
            options += ["--ca-certs", tls.client_authority, "--verify-mode", "CERT_REQUIRED"]
    command: list[str | Path] = [program, "rest_app:app", *options]
    with _running("the REST service", command, [port], folder) as process:
        yield RestServer(process, f"{'https' if tls else 'http'}://127.0.0.1:{port}")


@contextmanager
def _running(
    name: str, command: Sequence[str | Path], ports: Sequence[int], folder: Path, health: str | None = None
) -> Iterator[ServerProcess]:
    """A server from its start to its end; one that is asked for its health is ready when that is good."""
    environment = {
        **ONE_THREAD,
        "PYTHONPATH": str(SOURCES),
        # MLflow looks for the uvicorn of its environment there.
        "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}",
    }
    is_ready = (lambda: _is_good(health)) if health else (lambda: True)
    process = ServerProcess(name, command, ports, folder / "server.log", environment, is_ready)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def _program(environment: str, name: str) -> Path:
    return model_environments.environment(environment) / "bin" / name


def _urls(http: int, grpc: int) -> tuple[str, str]:
    return f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}"


def _examples(folder: Path) -> dict[str, Examples]:
    examples = json.loads((folder / "examples.json").read_bytes())
    return {name: Examples(**each) for name, each in examples.items()}


def _is_good(health: str) -> bool:
    try:
        with urllib.request.urlopen(health, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
