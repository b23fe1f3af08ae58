"""A real Kafka broker on this machine: one node, no Docker, its jars from Maven.

``python -m devtools.broker`` runs one in the foreground and prints its bootstrap address.
"""

import argparse
import base64
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from devtools import BUILD, processes
from devtools.processes import ProcessError

JARS = BUILD / "kafka"
"""Where ``make setup`` puts the broker's jars."""

_SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # The default, 128 MiB, is a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


class Broker:
    """A broker that runs until ``stop``; as a context manager, until the end of the block.

    ``bootstrap`` is its address, also after ``restart``; ``pid`` the id of its process now.
    """

    bootstrap: str

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        heap: str = "512m",
        timeout: float = 60.0,
    ) -> Self:
        """Format a data folder, start a broker on it, and wait until it serves.

        The broker is killed when the calling thread ends.

        Args:
            folder: where its data folder is made; by default the system's temporary folder. The
                data folder is removed by ``stop``.
            port: loopback port of the clients' listener; by default a free one.
            properties: broker properties, over those for a single node.
            heap: bound of the Java heap, as in ``-Xmx``.
            timeout: seconds until it must serve.

        Raises:
            ProcessError: it can't be formatted, ended, or was not ready in time.
        """
        broker = cls(folder, port, properties or {}, heap, timeout)
        try:
            broker._format()
            broker._run()
        except BaseException:
            broker.stop()
            raise
        return broker

    def __init__(
        self, folder: Path | None, port: int | None, properties: Mapping[str, str], heap: str, timeout: float
    ) -> None:
        if not JARS.is_dir():
            raise ProcessError(f"no broker in {JARS}: run `make setup`")
        free, controller = processes.free_ports(2)
        self._port = port or free
        self.bootstrap = f"127.0.0.1:{self._port}"
        self._folder = Path(tempfile.mkdtemp(prefix="modelstream-broker-", dir=folder))
        self._log = self._folder / "broker.log"
        self._heap = heap
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            **_SINGLE_NODE,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self._folder / "data"),
            **properties,
        }
        self._settings = self._folder / "server.properties"
        self._settings.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    @property
    def pid(self) -> int:
        """The broker's process."""
        if self._process is None:
            raise ProcessError("the broker is not running")
        return self._process.pid

    def stop(self) -> None:
        """End the broker in order and remove its data; nothing happens the second time."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End the broker as a crash would; its data stays, for ``restart``."""
        if self._process is not None:
            processes.kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Start the broker again, at the same address and on the same data; stop it first if it runs."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None
        self._run()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id may begin with a dash: only after an equals sign is it never taken for an option.
        arguments = [
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            "-c",
            str(self._settings),
        ]
        done = subprocess.run(
            [*self._java(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            raise ProcessError(f"the broker's data folder can't be formatted:\n{done.stdout}")

    def _run(self) -> None:
        self._process = processes.start([*self._java(), "kafka.Kafka", self._settings], self._log)
        processes.wait_ready(self._process, self._serves, "the Kafka broker", self._log, self._timeout)

    def _java(self) -> list[str]:
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [processes.java(), f"-Xmx{self._heap}", level, "-cp", f"{JARS}/*"]

    def _serves(self) -> bool:
        if not processes.listens(self._port):
            return False
        try:
            with KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000) as admin:
                return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False


def main() -> None:
    """Run a broker until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m devtools.broker", description=main.__doc__)
    parser.add_argument("--port", type=int, help="loopback port (default: a free one)")
    parser.add_argument("--heap", default="512m", help="bound of the Java heap (default: %(default)s)")
    options = parser.parse_args()
    # One thread waits for both signals; a handler that raises could interrupt the start half-way.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with Broker.start(port=options.port, heap=options.heap) as broker:
            sys.stdout.write(f"{broker.bootstrap}\n")
            sys.stdout.flush()
            signal.sigwait(signals)
    except ProcessError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
