"""Loads models in a process of its own, so that what kills or hangs it is seen and hurts no test."""

import json
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from udfs.errors import ModelLoadError
from udfs.scorers import load_scorer

_START_SECONDS = 120.0


class LoaderProcess:
    """A Python process that loads a file as a format and says what came of it.

    Args:
        format_name: the format.
        inputs: what a model that loads is to score.
        folder: where the file is put.
    """

    def __init__(self, format_name: str, inputs: list[Any], folder: Path) -> None:
        self._command = [sys.executable, "-m", "tests.fuzz.loader", format_name, json.dumps(inputs)]
        self._path = folder / "artifact"
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop()

    def load(self, artifact: bytes, seconds: float) -> str:
        """What came of an artifact: ``loaded``, ``refused``, or the error that should not have come.

        A process that hangs or dies is another one the next time.
        """
        self._path.write_bytes(artifact)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._path}\n".encode())
        self._process.stdin.flush()
        return self._answer(seconds)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        said = self._answer(_START_SECONDS)
        assert said == "ready", said

    def _stop(self) -> int:
        self._process.kill()
        with self._process:
            return self._process.wait()

    def _answer(self, seconds: float) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        if line:
            said: str = json.loads(line)
            return said
        hung = not ready
        code = self._stop()
        self._start()
        return f"hung for {seconds:g} s" if hung else f"the process died: {code}"


def _try_load(format_name: str, path: Path, inputs: list[Any]) -> str:
    try:
        scorer = load_scorer(format_name, path, {})
    except ModelLoadError as error:
        return "refused" if str(error) else "refused without a reason"
    try:
        results = scorer.score_batch(inputs)
        assert len(results) == len(inputs)
    finally:
        scorer.close()
    return "loaded"


def _serve(format_name: str, inputs: list[Any]) -> None:
    # What libraries print must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        load_scorer(format_name, Path("/nowhere"), {})
    except (ModelLoadError, OSError):
        print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        try:
            said = _try_load(format_name, Path(line.rstrip("\n")), inputs)
        except Exception as error:  # noqa: BLE001 - what should not have come
            said = f"{type(error).__name__}: {error}"
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]))
