"""Processes of devtools end when they are told to, and with whoever started them."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devtools import ROOT, processes
from devtools.processes import ProcessError
from tests.waiting import wait_until

DEAF = "trap '' TERM; echo deaf; while true; do sleep 1; done"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "process.log"


@pytest.fixture
def sleeper(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = processes.start(["sleep", "60"], log)
    yield process
    processes.kill(process)


def test_the_pid_is_that_of_the_program_itself(sleeper: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: psutil.Process(sleeper.pid).name() == "sleep")


def test_stop_ends_a_process_in_order(sleeper: subprocess.Popen[bytes]) -> None:
    processes.stop(sleeper)
    assert sleeper.returncode == -signal.SIGTERM


def test_stop_kills_a_process_that_does_not_listen(log: Path) -> None:
    process = processes.start(["bash", "-c", DEAF], log)
    wait_until(lambda: "deaf" in processes.end_of(log))
    processes.stop(process, patience=0.2)
    assert process.returncode == -signal.SIGKILL


def test_a_session_ends_with_what_a_process_left_in_it(log: Path) -> None:
    process = processes.start(["bash", "-c", "sleep 60 & echo $!"], log)
    process.wait()
    left = psutil.Process(int(processes.end_of(log)))
    processes.kill_session(process)
    wait_until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE, what="its end")


def test_output_and_errors_go_to_the_log(log: Path) -> None:
    processes.start(["bash", "-c", "echo out; echo err >&2"], log).wait()
    assert processes.end_of(log) == "out\nerr"


def test_waiting_for_a_process_that_ended_shows_the_end_of_its_log(log: Path) -> None:
    process = processes.start(["bash", "-c", "echo no such topic; exit 3"], log)
    with pytest.raises(
        ProcessError, match=r"the job ended with status 3; the end of its log:\nno such topic"
    ):
        processes.wait_ready(process, lambda: False, "the job", log, timeout=60)


def test_waiting_has_a_deadline(sleeper: subprocess.Popen[bytes], log: Path) -> None:
    with pytest.raises(ProcessError, match=r"the job was not ready in 0\.2 s"):
        processes.wait_ready(sleeper, lambda: False, "the job", log, timeout=0.2)


def test_a_process_ends_with_a_parent_that_was_killed(log: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from devtools import processes
        print(processes.start(["sleep", "60"], Path(sys.argv[1])).pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: child.name() == "sleep")
        parent.kill()
    wait_until(lambda: not child.is_running(), what="the end of the child")


def test_free_ports_are_different_and_free() -> None:
    ports = processes.free_ports(20)
    assert len(set(ports)) == 20
    assert not any(processes.listens(port) for port in ports)
