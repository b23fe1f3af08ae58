"""A server that can be killed and started again at the same ports."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devtools import processes
from devtools.processes import ProcessError, listens

_PATIENCE = 120.0
"""Seconds until a server must serve: the first start in an environment compiles its modules."""


class ServerProcess:
    """A server that can be killed and started again at the same ports. It is not started yet.

    The process is killed when the thread that started it ends.

    Args:
        name: what it is, for errors.
        command: program and arguments.
        ports: the loopback ports that it listens on.
        log: its log; its working folder is the log's.
        environment: variables, over the caller's own.
        is_ready: says whether it serves, once all its ports listen.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        ports: Sequence[int],
        log: Path,
        environment: Mapping[str, str],
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.log = log
        self._name = name
        self._command = command
        self._ports = ports
        self._environment = environment
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process, which is also the id of the group of its children."""
        if self._process is None:
            raise ProcessError(f"{self._name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it serves; nothing happens if it runs.

        Raises:
            ProcessError: it ended, or did not serve in time.
        """
        if self._process is not None:
            return
        log = self.log
        self._process = processes.start(self._command, log, folder=log.parent, environment=self._environment)
        processes.wait_ready(self._process, self._serves, self._name, log, _PATIENCE)

    def stop(self) -> None:
        """End it in order; nothing happens if it does not run."""
        self._end(processes.stop)

    def kill(self) -> None:
        """End it and its children as a crash would; nothing happens if it does not run."""
        self._end(_kill_group)

    def _end(self, end: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        end(process)
        # A child outlives its parent by a moment, in which it has the ports.
        deadline = time.monotonic() + 15.0
        while any(map(listens, self._ports)):
            if time.monotonic() > deadline:
                raise ProcessError(f"{self._name} ended, but its ports {self._ports} still listen")
            time.sleep(0.02)

    def _serves(self) -> bool:
        return all(map(listens, self._ports)) and self._is_ready()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
