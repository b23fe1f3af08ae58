"""A standalone Flink cluster on this machine, from the PyPI wheel: what ``flink run`` is tested on.

``python -m devtools.cluster`` runs one in the foreground and prints how to reach it.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from devtools import processes
from devtools.flink_home import Settings, make_flink_home, write_config
from devtools.processes import ProcessError

_MARK = "MODELSTREAM_CLUSTER"
"""Environment variable of all that a cluster starts: orphans have no parent to be found by."""


class Cluster:
    """A JobManager and TaskManagers that run until ``stop``, or until the end of a ``with`` block.

    ``rest`` is the address of its REST API, ``environment`` what Flink's scripts in
    ``home``/bin need to reach it.
    """

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        task_managers: int = 1,
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 120.0,
    ) -> Self:
        """Start a cluster on free loopback ports, with ``flink-conf/``, and wait until it has its slots.

        Its processes are killed when the calling thread ends.

        Args:
            folder: where its own folder (distribution, logs, checkpoints) is made; by default the
                system's temporary folder. ``stop`` removes it.
            task_managers: how many.
            settings: Flink's keys and values, over those of ``flink-conf/config.yaml``.
            environment: variables of all its processes, over the caller's.
            timeout: seconds until every TaskManager must have registered.

        Raises:
            ProcessError: a process ended, or was not ready in time.
        """
        cluster = cls(folder, settings or {}, environment or {}, timeout)
        try:
            cluster._start_job_manager()
            for _ in range(task_managers):
                cluster.start_task_manager()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def __init__(
        self,
        folder: Path | None,
        settings: Settings,
        environment: Mapping[str, str],
        timeout: float,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelstream-cluster-", dir=folder))
        self.home = self.folder / "flink"
        self._rest_port, rpc_port = processes.free_ports(2)
        self.rest = f"http://127.0.0.1:{self._rest_port}"
        self._mark = uuid.uuid4().hex
        self.environment = {
            # Embedded Python finds its packages by the first python3 on PATH, not by python.executable.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            **environment,
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_LOG_DIR": str(self.folder / "log"),
            "FLINK_PID_DIR": str(self.folder / "pid"),
            _MARK: self._mark,
        }
        self._timeout = timeout
        # One for all requests: to make one costs 45 ms of a core.
        self._http = httpx.Client(base_url=self.rest, timeout=30)
        self._job_manager: subprocess.Popen[bytes] | None = None
        self._task_managers: list[subprocess.Popen[bytes]] = []
        self._started = 0
        for name in ("log", "pid", "tmp", "checkpoints", "savepoints"):
            (self.folder / name).mkdir()
        make_flink_home(self.home)
        own: Settings = {
            "rest.port": self._rest_port,
            "rest.bind-port": self._rest_port,
            "jobmanager.rpc.port": rpc_port,
            "io.tmp.dirs": str(self.folder / "tmp"),
            "execution.checkpointing.dir": (self.folder / "checkpoints").as_uri(),
            "execution.checkpointing.savepoint-dir": (self.folder / "savepoints").as_uri(),
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
        }
        write_config(self.folder / "conf", {**own, **settings})

    # ---- Jobs ----------------------------------------------------------------------------------------

    def run(
        self,
        job: Path,
        arguments: Sequence[str | Path] = (),
        *,
        options: Sequence[str | Path] = (),
        timeout: float = 180.0,
    ) -> str:
        """Submit a Python job, detached: ``flink run -d OPTIONS -py JOB ARGUMENTS``.

        Args:
            job: the Python file.
            arguments: the job's own.
            options: of ``flink run``: ``-pyfs``, ``-pyarch``, ``-j``, ``-s``, ``-p``, ``-Dkey=value``.
            timeout: seconds.

        Returns:
            The job's id.

        Raises:
            ProcessError: it was not submitted; the text has all that ``flink run`` wrote.
        """
        said = self.flink("run", "-d", *options, "-py", job, *arguments, timeout=timeout)
        found = re.search(r"JobID ([0-9a-f]{32})", said)
        if found is None:
            raise ProcessError(f"flink run submitted no job:\n{said}")
        return found[1]

    def stop_job(self, job: str) -> str:
        """Stop a job with a savepoint (``flink stop``); returns the savepoint's path, for ``-s``."""
        said = self.flink("stop", job)
        found = re.search(r"Savepoint completed\. Path: (\S+)", said)
        if found is None:
            raise ProcessError(f"flink stop made no savepoint:\n{said}")
        return found[1]

    def cancel(self, job: str) -> None:
        """Cancel a job; its checkpoints stay. Returns at once: ``state`` says when it is over."""
        self._http.patch(f"/jobs/{job}", params={"mode": "cancel"}).raise_for_status()

    def flink(self, *arguments: str | Path, timeout: float = 180.0) -> str:
        """Run Flink's command line against this cluster, in an empty folder; returns all it wrote.

        Raises:
            ProcessError: it failed, or took longer than ``timeout`` seconds.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            try:
                done = subprocess.run(
                    [self.home / "bin" / "flink", *arguments],
                    cwd=empty,
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=timeout,
                )
            except subprocess.TimeoutExpired as error:
                raise ProcessError(f"flink {arguments[0]} took longer than {timeout:g} s") from error
        if done.returncode != 0:
            raise ProcessError(f"flink {arguments[0]} ended with status {done.returncode}:\n{done.stdout}")
        return done.stdout

    # ---- What the REST API says ------------------------------------------------------------------------

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON answer of the REST API: ``cluster.get(f"/jobs/{job}/exceptions")``."""
        answer = self._http.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()

    def state(self, job: str) -> str:
        """A job's state: RUNNING, FINISHED, RESTARTING, ..."""
        return str(self.get(f"/jobs/{job}")["state"])

    def running(self, job: str) -> bool:
        """Whether every task of a job runs (the job itself says so while tasks still start)."""
        counts = [vertex["tasks"] for vertex in self.get(f"/jobs/{job}")["vertices"]]
        return all(tasks["RUNNING"] == sum(tasks.values()) for tasks in counts)

    def checkpoints(self, job: str) -> int:
        """How many checkpoints a job has completed."""
        return int(self.get(f"/jobs/{job}/checkpoints")["counts"]["completed"])

    def restarts(self, job: str) -> int:
        """How many times a job was restarted, as far as its metrics say: they come some seconds late."""
        return sum(int(metric["value"]) for metric in self.get(f"/jobs/{job}/metrics", get="numRestarts"))

    def metrics(self, job: str, vertex_name: str, *names: str) -> dict[str, float]:
        """Metrics of one vertex, summed over its subtasks.

        Args:
            job: the job's id.
            vertex_name: a part of the vertex's name.
            names: of the metrics (``numRecordsIn``, or one of an operator: ``score.predictions``).
        """
        for vertex in self.get(f"/jobs/{job}")["vertices"]:
            if vertex_name in vertex["name"]:
                path = f"/jobs/{job}/vertices/{vertex['id']}/subtasks/metrics"
                return {one["id"]: one["sum"] for one in self.get(path, get=",".join(names))}
        raise LookupError(f"no vertex {vertex_name!r} in job {job}")

    # ---- Processes -------------------------------------------------------------------------------------

    def start_task_manager(self) -> None:
        """Start one more TaskManager and wait until it has registered."""
        self._started += 1
        name = f"tm-{self._started}"
        process, log = self._start("taskmanager", f"-Dtaskmanager.resource-id={name}")
        self._task_managers.append(process)
        processes.wait_ready(
            process, lambda: self._has_task_manager(name), "the TaskManager", log, self._timeout
        )

    def kill_task_manager(self, index: int = 0) -> None:
        """End a TaskManager as a crash would (SIGKILL)."""
        processes.kill(self._task_managers.pop(index))

    def task_manager_pids(self) -> list[int]:
        """The TaskManagers' processes, in the order of ``kill_task_manager``."""
        return [process.pid for process in self._task_managers]

    def python_worker(self) -> psutil.Process:
        """A Python worker of a TaskManager that lives (``execution: process``).

        Raises:
            LookupError: there is none.
        """
        found = [
            process
            for task_manager in self.task_manager_pids()
            for process in psutil.Process(task_manager).children(recursive=True)
            if "beam_boot" in _command_of(process)
        ]
        if not found:
            raise LookupError("no TaskManager has a Python worker")
        # One of an earlier attempt may still be about to end.
        return max(found, key=psutil.Process.create_time)

    def kill_python_worker(self) -> None:
        """End a Python worker of a TaskManager that lives as a crash would (``execution: process``).

        Raises:
            LookupError: there is none.
        """
        self.python_worker().kill()

    def python_workers(self) -> list[psutil.Process]:
        """All processes of this cluster but its JVMs: Python workers, what they started, and orphans."""
        own = {process.pid for process in [self._job_manager, *self._task_managers] if process}
        return [
            process
            for process in psutil.process_iter(["environ"])
            if (process.info["environ"] or {}).get(_MARK) == self._mark and process.pid not in own
        ]

    def orphans(self) -> list[psutil.Process]:
        """Python workers, and what they started, whose TaskManager is gone."""
        kept = {
            child.pid
            for pid in self.task_manager_pids()
            for child in psutil.Process(pid).children(recursive=True)
        }
        return [process for process in self.python_workers() if process.pid not in kept]

    def stop(self) -> None:
        """End every process, also orphans, and remove the cluster's folder; a second time does nothing."""
        while self._task_managers:
            processes.stop(self._task_managers.pop())
        if self._job_manager is not None:
            processes.stop(self._job_manager)
            self._job_manager = None
        if not self._workers_end(within=5):
            for process in self.python_workers():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._workers_end(within=5)
        self._http.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_job_manager(self) -> None:
        self._job_manager, log = self._start("jobmanager")
        processes.wait_ready(self._job_manager, self._answers, "the JobManager", log, self._timeout)

    def _start(self, service: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        # A worker's sys.path begins with its TaskManager's working folder: an empty one hides no code.
        empty = Path(tempfile.mkdtemp(prefix=f"{service}-", dir=self.folder))
        log = self.folder / "log" / f"{empty.name}.console"
        script = self.home / "bin" / f"{service}.sh"
        command: list[str | Path] = [script, "start-foreground", *arguments]
        return processes.start(command, log, folder=empty, environment=self.environment), log

    def _workers_end(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while self.python_workers():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _answers(self) -> bool:
        try:
            return "taskmanagers" in self.get("/overview")
        except httpx.HTTPError:
            return False

    def _has_task_manager(self, name: str) -> bool:
        return any(one["id"] == name for one in self.get("/taskmanagers")["taskmanagers"])


def main() -> None:
    """Run a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m devtools.cluster", description=main.__doc__)
    parser.add_argument("--task-managers", type=int, default=1, help="how many (default: %(default)s)")
    options = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with Cluster.start(task_managers=options.task_managers) as cluster:
            config, log = cluster.environment["FLINK_CONF_DIR"], cluster.environment["FLINK_LOG_DIR"]
            sys.stdout.write(
                f"Flink's web page and REST API: {cluster.rest}\n"
                f"FLINK_CONF_DIR={config} FLINK_LOG_DIR={log} {cluster.home}/bin/flink run ...\n"
            )
            sys.stdout.flush()
            signal.sigwait(signals)
    except ProcessError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()


def _command_of(process: psutil.Process) -> str:
    """A process's command line; empty where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
