"""Child processes that end when they are told to, and never outlive whoever started them."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class ProcessError(Exception):
    """A process could not be started, or ended on its own. The text ends with the end of its log."""


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that is killed when the calling thread ends, whatever it ends of.

    Linux ties a child to the thread that made it: call this from a thread that lives as long as
    the process is wanted. The child has a session of its own, so that Ctrl-C in a terminal
    reaches the caller alone, who then stops its processes in order.

    Args:
        command: program and arguments; the process keeps the pid of the returned object.
        log: file that its output is appended to.
        folder: its working folder.
        environment: variables, over the caller's own.
    """
    with log.open("ab") as output:
        # A launcher instead of preexec_fn: Python code between fork and exec can deadlock when
        # the caller has threads.
        return subprocess.Popen(
            [sys.executable, "-I", __file__, str(os.getpid()), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], patience: float = 15.0) -> None:
    """End a process: ask, and after ``patience`` seconds kill."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            kill(process)
    process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, as a crash would (SIGKILL)."""
    process.kill()
    process.wait()


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a process at once, and all that it started and left: a JVM that hangs while it exits, say."""
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], what: str, log: Path, timeout: float
) -> None:
    """Wait until a process that was just started can be used.

    Args:
        process: the process.
        ready: says whether it can be used; called a few times a second.
        what: what it is, for errors.
        log: its log.
        timeout: seconds.

    Raises:
        ProcessError: it ended, or was not ready in time.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        status = process.poll()
        if status is not None:
            raise ProcessError(f"{what} ended with status {status}; the end of its log:\n{end_of(log)}")
        if time.monotonic() > deadline:
            raise ProcessError(f"{what} was not ready in {timeout:g} s; the end of its log:\n{end_of(log)}")
        time.sleep(0.1)


def end_of(log: Path, lines: int = 30) -> str:
    """The last lines of a log file."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nothing listened on a moment ago."""
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def java() -> str:
    """The ``java`` to run: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def _launch(parent: int, command: list[str]) -> None:
    """Become ``command``, having asked the kernel for a SIGKILL when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.getppid() == parent:
        os.execvp(command[0], command)


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
