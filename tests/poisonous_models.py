"""A format for tests of trials: each artifact is the name of what loading it does."""

import ctypes
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tests.waiting import wait_until
from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.scorers import Options

LOADER = f"{__name__}:load_poison"


class Doubler:
    """Doubles numbers."""

    stateful = False

    def __init__(self, kept: object = None) -> None:
        self._kept = kept

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return [2 * one if isinstance(one, int) else None for one in inputs]

    def close(self) -> None:
        pass


class Counter(Doubler):
    """Keeps state."""

    stateful = True


class Echo(Doubler):
    """Gives back what it gets."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return list(inputs)


class FindsNaN(Doubler):
    """Says whether an input is not a number."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return [isinstance(one, float) and math.isnan(one) for one in inputs]


class TellsOfItsProcess(Doubler):
    """Gives what the system knows of the process that scores."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        oom_score = int(Path("/proc/self/oom_score_adj").read_text())
        core = resource.getrlimit(resource.RLIMIT_CORE)[0]
        session = Path("/proc/self/autogroup")  # not on every Linux
        told = {
            "nice": int(session.read_text().split()[-1]) if session.exists() else os.nice(0),
            "cores": len(os.sched_getaffinity(0)),
            "oom_score_adj": oom_score,
            "core": core,
        }
        return [told] * len(inputs)


class CrashesInScoring(Doubler):
    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        os.kill(os.getpid(), signal.SIGBUS)
        return []


class CrashesInClosing(Doubler):
    def close(self) -> None:
        os.abort()


def _use_a_null_pointer() -> None:
    ctypes.string_at(0)


def grow() -> None:
    """Take more and more memory."""
    kept = []
    while True:
        kept.append(b"x" * 2**24)


def _hang() -> None:
    while True:
        signal.pause()


def _start_one_that_grows() -> None:
    grow = f"from {__name__} import grow; grow()"
    subprocess.run((sys.executable, "-c", grow), start_new_session=True, check=True)


def _tell(*pids: int) -> None:
    path = Path(os.environ["POISON_SAYS"])
    part = path.with_suffix(".part")
    part.write_text(" ".join(map(str, pids)))
    part.rename(path)


def _tell_and_hang() -> None:
    _tell(os.getpid())
    _hang()


def _start_children(then: Callable[[], None]) -> Doubler:
    """Start a child of the same group and one of its own, say their ids, and go on."""
    sleep = (sys.executable, "-S", "-c", "import signal; signal.pause()")
    children = [subprocess.Popen(sleep, start_new_session=own) for own in (False, True)]
    _tell(*(child.pid for child in children))
    then()
    return Doubler(children)


def _refuse() -> None:
    raise ModelLoadError("no model: line 1")


def _say_much() -> Doubler:
    for stream in (sys.stdout, sys.stderr):
        stream.write('{"type": "passed"}\n' * 20_000)
        stream.flush()
    return Doubler()


def _end_watch_and_start_children() -> Doubler:
    def watches() -> list[psutil.Process]:
        watch = ["udfs.models.child_watch", str(os.getpid())]
        return [one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[3:5] == watch]

    def end_watch_and_hang() -> None:
        wait_until(watches, what="the watch")[0].kill()
        _hang()

    return _start_children(end_watch_and_hang)


def _leave_files() -> Doubler:
    (Path(tempfile.mkdtemp()) / "file").write_text("left")
    return Doubler()


def _leave_files_and_crash() -> None:
    _leave_files()
    _use_a_null_pointer()


def _flood_reports() -> None:
    reports = int(sys.argv[1])
    while True:
        os.write(reports, b"x" * 4096)


def _say_and_abort() -> None:
    sys.stderr.write("terminate called\n\n")
    sys.stderr.flush()
    os.abort()


_POISONS: dict[str, Callable[[], object]] = {
    "good": Doubler,
    "remembers 64 MiB": lambda: Doubler(b"x" * 2**26),
    "counter": Counter,
    "refused": _refuse,
    "raises": lambda: 1 // 0,
    "null pointer": _use_a_null_pointer,
    "aborts": _say_and_abort,
    "exits": lambda: os._exit(3),
    "out of memory": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crashes in scoring": CrashesInScoring,
    "crashes in closing": CrashesInClosing,
    "grows": grow,
    "starts one that grows": _start_one_that_grows,
    "says who it is and hangs": _tell_and_hang,
    "echoes": Echo,
    "finds NaN": FindsNaN,
    "tells of its process": TellsOfItsProcess,
    "hangs": _hang,
    "starts children": lambda: _start_children(lambda: None),
    "starts children and hangs": lambda: _start_children(_hang),
    "starts children and crashes": lambda: _start_children(_use_a_null_pointer),
    "says much": _say_much,
    "ends what watches it and starts children and hangs": _end_watch_and_start_children,
    "leaves files": _leave_files,
    "leaves files and crashes": _leave_files_and_crash,
    "floods its reports": _flood_reports,
    "reads": lambda: Doubler(sys.stdin.read()),
}


def load_poison(format_name: str, artifact: Path, options: Options) -> Doubler:
    """Do what an artifact says."""
    scorer = _POISONS[artifact.read_text()]()
    assert isinstance(scorer, Doubler)
    return scorer
