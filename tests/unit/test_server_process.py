"""Servers of devtools end, crash and start again at their ports."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devtools.processes import ProcessError, free_ports, listens
from devtools.server_process import ServerProcess
from tests.waiting import wait_until

LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()[0].close()
"""
WITH_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def server(tmp_path: Path, port: int, *before: str) -> ServerProcess:
    command = [sys.executable, *before, "-c", LISTEN, str(port)]
    return ServerProcess("the server", command, [port], tmp_path / "server.log", {})


@pytest.fixture
def process(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    process = server(tmp_path, port)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def parent(tmp_path: Path, port: int) -> Iterator[ServerProcess]:
    """A server whose child listens."""
    process = server(tmp_path, port, "-c", WITH_A_CHILD)
    process.start()
    yield process
    process.kill()


def test_a_server_serves_when_start_returns(process: ServerProcess, port: int) -> None:
    assert listens(port)


def test_a_stopped_server_listens_no_more(process: ServerProcess, port: int) -> None:
    process.stop()
    assert not listens(port)


def test_a_killed_server_listens_no_more(process: ServerProcess, port: int) -> None:
    process.kill()
    assert not listens(port)


def test_a_killed_server_starts_again_at_its_port(process: ServerProcess, port: int) -> None:
    before = process.pid
    process.kill()
    process.start()
    assert listens(port)
    assert process.pid != before


def test_starting_what_runs_leaves_it_alone(process: ServerProcess) -> None:
    before = process.pid
    process.start()
    assert process.pid == before


def test_a_server_that_does_not_run_has_no_process(process: ServerProcess) -> None:
    process.stop()
    with pytest.raises(ProcessError, match="the server is not running"):
        _ = process.pid


def test_a_server_can_be_stopped_twice(process: ServerProcess) -> None:
    process.stop()
    process.stop()


def test_the_children_of_a_killed_server_end_with_it(parent: ServerProcess, port: int) -> None:
    [child] = psutil.Process(parent.pid).children()
    parent.kill()
    wait_until(lambda: not child.is_running())


def test_a_server_that_ends_at_its_start_shows_its_log(tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    process = ServerProcess("the server", command, [port], tmp_path / "server.log", {})
    with pytest.raises(ProcessError, match=r"(?s)the server ended with status 1.*no such model"):
        process.start()
    process.stop()


def test_a_server_is_not_ready_before_it_says_so(tmp_path: Path, port: int) -> None:
    answers = iter([False, False, True])
    command = [sys.executable, "-c", LISTEN, str(port)]
    process = ServerProcess("it", command, [port], tmp_path / "it.log", {}, lambda: next(answers))
    process.start()
    process.stop()
    assert list(answers) == []
