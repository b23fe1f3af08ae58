"""`make demo`, as a newcomer runs it and as one who loses patience does."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from devtools import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not (ROOT / "build" / "iris").is_dir(), reason="no models: run `make setup`")


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo, whose temporary folders are made in a folder and whose output is its file ``screen``."""
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
        yield process
    finally:
        process.kill()
        process.wait()


def said(folder: Path) -> str:
    return (folder / "screen").read_text()


def nothing_is_left(folder: Path, children: list[psutil.Process]) -> bool:
    return not any(child.is_running() for child in children) and not list((folder / "temporary").iterdir())


def test_the_demo_ends_by_itself_with_sums_that_add_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    children: list[psutil.Process] = []
    with demo(tmp_path) as process:
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2, 60, "the broker and the job")
        children += psutil.Process(process.pid).children(recursive=True)
        assert process.wait(120) == 0, said(tmp_path)

    sums = re.search(
        r"([\d,]+) events = ([\d,]+) predictions \+ ([\d,]+) dead letters: adds up", said(tmp_path)
    )
    assert sums is not None, said(tmp_path)
    events, predictions, dead_letters = (int(number.replace(",", "")) for number in sums.groups())
    assert events == predictions + dead_letters
    assert "iris-onnx:2" in said(tmp_path)
    assert children
    wait_until(lambda: nothing_is_left(tmp_path, children), what="the end of all that it started")


def test_ctrl_c_ends_all_that_the_demo_started(tmp_path: Path) -> None:
    children: list[psutil.Process] = []
    with demo(tmp_path) as process:
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2, 60, "the broker and the job")
        children += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, said(tmp_path)

    assert "Traceback" not in said(tmp_path)
    wait_until(lambda: nothing_is_left(tmp_path, children), what="the end of all that it started")


def test_a_kept_demo_says_what_to_try_next(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as process:
        wait_until(lambda: "In another terminal" in said(tmp_path), 150, "what to try")
        config = re.search(r"export MS=(\S+)", said(tmp_path))
        assert config is not None
        assert Path(config[1]).is_file()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
