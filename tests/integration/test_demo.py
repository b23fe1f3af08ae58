"""`make demo`, as a newcomer runs it and as one who loses patience does."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from devtools import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not (ROOT / "build" / "iris").is_dir(), reason="no models: run `make setup`")

MLSERVER = "bin/mlserver"
WORKER = "udfs.offload.worker_process"
"""Parts of the command lines of the server and of the heavy model's process."""


class Demo:
    """The demo, whose temporary folders are made in a folder and whose output is its file ``screen``."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._temporary = folder / "temporary"
        self._screen = folder / "screen"
        self._seen: dict[psutil.Process, str] = {}

    @property
    def said(self) -> str:
        """All that it wrote so far."""
        return self._screen.read_text()

    def has_started(self, part: str) -> bool:
        """Whether a process was seen with that in its command line, as of now."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    self._seen[child] = " ".join(child.cmdline())
        return any(part in command for command in self._seen.values())

    def has_left_nothing(self) -> bool:
        """Whether all that was seen is gone, and so are its files."""
        return not any(child.is_running() for child in self._seen) and not list(self._temporary.iterdir())


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    (folder / "temporary").mkdir()
    with (folder / "screen").open("wb") as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder / "temporary")},
            stdout=screen,
            stderr=screen,
        )
    try:
        yield Demo(folder, process)
    finally:
        process.kill()
        process.wait()


def test_the_demo_ends_by_itself_with_sums_that_add_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: running.has_started(WORKER), 240, "the heavy model's process")
        assert running.has_started(MLSERVER)
        assert running.process.wait(240) == 0, running.said

    sums = re.search(
        r"([\d,]+) events = ([\d,]+) predictions \+ ([\d,]+) dead letters: adds up", running.said
    )
    assert sums is not None, running.said
    events, predictions, dead_letters = (int(number.replace(",", "")) for number in sums.groups())
    assert events == predictions + dead_letters
    assert re.search(r"iris-onnx:2 +onnx +inline +[1-9]", running.said)
    assert re.search(r"iris-heavy:1 +onnx +worker process +[1-9]", running.said)
    assert re.search(r"iris-remote:1 +open-inference +MLServer +[1-9]", running.said)
    wait_until(running.has_left_nothing, what="the end of all that it started")


@pytest.mark.parametrize("part", [MLSERVER, WORKER])
def test_ctrl_c_ends_all_that_the_demo_started(tmp_path: Path, part: str) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: running.has_started(part), 240, part)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(120) == 130, running.said

    assert "Traceback" not in running.said
    wait_until(running.has_left_nothing, what="the end of all that it started")


def test_a_kept_demo_says_what_to_try_next_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as running:
        wait_until(lambda: "In another terminal" in running.said, 300, "what to try")
        config = re.search(r"export MS=(\S+)", running.said)
        assert config is not None
        assert Path(config[1]).is_file()
        assert running.has_started(MLSERVER)
        assert running.has_started(WORKER)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(120) == 130

    wait_until(running.has_left_nothing, what="the end of all that it started")
