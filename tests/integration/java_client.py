"""Calls functions in a Python process of its own, which may then start PyFlink's JVM and takes it along.

Run as a program, it is that process: it reads pickled calls from stdin and writes pickled answers.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, ParamSpec, Self, TypeVar

from devtools import ROOT

P = ParamSpec("P")
T = TypeVar("T")


class JavaClient:
    """The other end of that process, for the length of a ``with`` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        return self

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function there, and return or raise here what it returns or raises."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        pickle.dump((function, args, kwargs), stdin)
        stdin.flush()
        result, error = pickle.load(stdout)
        if error is not None:
            raise error
        returned: T = result
        return returned

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its stdin, which ends it, and waits
            pass


def _answer_calls(calls: IO[bytes], answers: IO[bytes]) -> None:
    _load_jar()
    while calls.peek(1):  # type: ignore[attr-defined]  # a BufferedReader has it
        function, args, kwargs = pickle.load(calls)
        outcome: tuple[Any, Exception | None]
        try:
            outcome = function(*args, **kwargs), None
        except Exception as error:  # noqa: BLE001  # raised again on the other side
            outcome = None, error
        pickle.dump(outcome, answers)
        answers.flush()


def _load_jar() -> None:
    from pyflink.datastream import StreamExecutionEnvironment

    from connectors import _java

    _java.add_jar(StreamExecutionEnvironment.get_execution_environment())


if __name__ == "__main__":
    # What PyFlink's JVM prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _answer_calls(sys.stdin.buffer, answers)
