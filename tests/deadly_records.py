"""A format for tests of worker pools: each record is what scoring it does to its process."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.poisonous_models import grow
from tests.waiting import wait_until
from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options

LOADER = f"{__name__}:load_deadly"


def _abort() -> None:
    print("terminate called", file=sys.stderr, flush=True)  # noqa: T201  # the worker's last words
    os.abort()


def _hang() -> None:
    while True:
        signal.pause()


def _write_much() -> None:
    for number in range(20_000):
        print(f"line {number}", flush=True)  # noqa: T201


def _answer_garbage() -> None:
    os.write(int(sys.argv[1]), b"\0\0\0\4what")
    _hang()


def _answer_without_end() -> None:
    while True:
        os.write(int(sys.argv[1]), b"\xff" * 4096)


def _tell_of_process() -> dict[str, JsonValue]:
    session = Path("/proc/self/autogroup")  # not on every Linux
    return {
        "nice": int(session.read_text().split()[-1]) if session.exists() else os.nice(0),
        "cores": len(os.sched_getaffinity(0)),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }


def _start_child() -> int:
    sleep = (sys.executable, "-S", "-c", "import signal; signal.pause()")
    return subprocess.Popen(sleep, start_new_session=True).pid


def _nested() -> JsonValue:
    value: JsonValue = 0
    for _ in range(2000):
        value = [value]
    return value


_DEEDS: dict[str, Callable[[], object]] = {
    "who": os.getpid,
    "abort": _abort,
    "exit": lambda: os._exit(3),
    "hang": _hang,
    "grow": grow,
    "write much": _write_much,
    "answer garbage": _answer_garbage,
    "answer without end": _answer_without_end,
    "tell of your process": _tell_of_process,
    "start a child": _start_child,
    "bad": lambda: ScoreError("bad"),
    "nested": _nested,
    "no JSON": object,
    "long": lambda: "x" * (40 << 20),
}


class Deadly:
    """Does what strings say, waits with ``{"meet": [mine, other]}``, and gives back what else it gets."""

    notes = ("mind the records",)

    def __init__(self, options: Options) -> None:
        self._options = options

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue | ScoreError]:
        return [self._do(one) for one in inputs]  # type: ignore[misc]  # some of it is no JSON, on purpose

    def close(self) -> None:
        pass

    def _do(self, record: JsonValue) -> object:
        match record:
            case "options":
                return dict(self._options)
            case str():
                return _DEEDS[record]()
            case {"meet": [str(mine), str(other)]}:
                Path(mine).touch()
                wait_until(Path(other).exists, what="the other")
                return os.getpid()
            case {"abort but once": str(path)}:
                if not Path(path).exists():
                    Path(path).touch()
                    os.abort()
                return "scored"
            case {"tell and hang": str(path)}:
                Path(path).with_suffix(".part").write_text(str(os.getpid()))
                Path(path).with_suffix(".part").rename(path)
                _hang()
        return record


def load_deadly(format_name: str, artifact: Path, options: Options) -> Deadly:
    """Load it, where the artifact says that it is good."""
    if artifact.read_text() != "good":
        raise ModelLoadError("no good model")
    return Deadly(options)
