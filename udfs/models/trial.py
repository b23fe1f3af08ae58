"""A trial: the first load of a version, in a process of its own, whose end hurts nobody.

A load may take its process with it (a fault of native code), take all memory, or never end. A trial meets
that in the job's place, and leaves no process behind whatever it met.
"""

import os
import selectors
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from io import RawIOBase
from pathlib import Path

import msgspec

from udfs.errors import ModelCrashedError, ModelLoadError
from udfs.models.child_process import ChildProcess, usable_cores
from udfs.models.child_watch import WATCH_SECONDS
from udfs.models.load_request import without_bytes
from udfs.models.loaded import check_format
from udfs.models.trial_process import Refused, Report, Request, Started, Trial
from udfs.models.updates import PublishModel

__all__ = ["Trial", "try_load"]

_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
_REPORTS = 2
"""That it started, and what it found."""
_MOST_REPORTED = 1 << 20
"""Bytes of reports; the model's code may write there too."""


def try_load(
    published: PublishModel,
    artifact: Path,
    *,
    formats: Collection[str],
    deadline: float,
    max_memory: int,
    prepared: Path,
    is_cancelled: Callable[[], bool] = lambda: False,
    load_scorer: str = "udfs.scorers:load_scorer",
) -> Trial:
    """Load a version, run its checks and warm it up in a process of its own, and wait for what comes of it.

    The process ends with the calling thread at the latest.

    Args:
        published: the version.
        artifact: its file, local and verified.
        formats: formats that may be served.
        deadline: seconds that it may take.
        max_memory: bytes of resident memory that the process may use, with all that it starts.
        prepared: where to write the file that loads in the artifact's place, where the format has such a
            one; the trial then has its sha256.
        is_cancelled: asked ten times a second; true ends the trial.
        load_scorer: ``module:function`` that loads a file with its format's scorer.

    Raises:
        ModelCrashedError: the process died.
        ModelLoadError: the version can't be loaded or a check differs, in the words of `load_version`; it
            took too long or too much memory, or was cancelled; or the process can't be started.
    """
    check_format(published, formats)
    request = Request(
        published=without_bytes(published, artifact),
        artifact=str(artifact),
        formats=tuple(formats),
        load_scorer=load_scorer,
        prepared=str(prepared),
    )
    ends_at = time.monotonic() + deadline
    with _started(request, max_memory) as process:
        while not process.has_ended():
            if is_cancelled():
                raise ModelLoadError(f"{published.model}: its trial was cancelled")
            if time.monotonic() > ends_at:
                raise ModelLoadError(
                    f"{published.model}: not loaded in {deadline:.3g} s; see loading.deadline"
                )
            if process.is_too_large():
                raise ModelLoadError(
                    f"{published.model}: loading it took more than {max_memory} bytes of memory; "
                    f"see loading.max_memory"
                )
            process.listen(WATCH_SECONDS)
        return process.outcome(str(published.model))


@contextmanager
def _started(request: Request, max_memory: int) -> Iterator["_Process"]:
    """A trial's process; nothing of it is left afterwards, neither processes nor files."""
    try:
        read_end, write_end = os.pipe()
    except OSError as error:
        raise _not_started(error.strerror) from error
    with open(read_end, "rb", buffering=0) as reports:
        try:
            with tempfile.TemporaryFile() as stdin:  # unlike a pipe, it never lets the writer wait
                stdin.write(request.encode())
                stdin.seek(0)
                child = ChildProcess.start(
                    "udfs.models.trial_process",
                    write_end,
                    stdin=stdin,
                    max_memory=max_memory,
                    cores={max(usable_cores())},
                )
        except OSError as error:
            raise _not_started(error.strerror) from error
        finally:
            os.close(write_end)
        with closing(child), selectors.DefaultSelector() as selector:
            yield _Process(child, reports, selector)


def _not_started(why: str | None) -> ModelLoadError:
    return ModelLoadError(f"no trial's process can be started: {why}; see loading.trial_process")


class _Process:
    """A process that runs, and what it reported.

    Args:
        child: the process.
        reports: the end of a pipe.
        selector: for whatever it says.
    """

    def __init__(self, child: ChildProcess, reports: RawIOBase, selector: selectors.BaseSelector) -> None:
        self._child = child
        self._reports = reports
        self._reported = b""
        self._is_alarmed = False
        self._selector = selector
        selector.register(reports, selectors.EVENT_READ, self._read_reports)
        selector.register(child.output, selectors.EVENT_READ, child.hear)
        selector.register(child.alarm, selectors.EVENT_READ, self._read_alarm)

    def has_ended(self) -> bool:
        """Whether it said all that it has to say, or is gone."""
        said_all = self._reported.count(b"\n") >= _REPORTS or len(self._reported) > _MOST_REPORTED
        return said_all or self._child.is_gone()

    def is_too_large(self) -> bool:
        """Whether it uses more memory than it may, with all that it started.

        Raises:
            ModelLoadError: it runs, and nobody watches it.
        """
        if self._reported and not self._child.is_watched():
            raise _not_started("what watches it has ended")
        return self._is_alarmed

    def listen(self, seconds: float) -> bool:
        """Take what it says, waiting so long at most; whether there was something."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if not key.data():
                self._selector.unregister(key.fileobj)
        return bool(ready)

    def outcome(self, model: str) -> Trial:
        """What came of it, once it has ended.

        Raises:
            ModelCrashedError, ModelLoadError: the version can't be served.
        """
        if self._child.alarm in self._selector.get_map():
            self._selector.unregister(self._child.alarm)
        self._child.end()
        while self.listen(0):
            pass
        *lines, _ = self._reported.split(b"\n")
        match [_decode(line) for line in lines[:_REPORTS]]:
            case [Started(), Trial() as trial]:
                return trial
            case [Started(), Refused(cause)]:
                raise ModelLoadError(cause)
            case [Started(), *_]:
                raise ModelCrashedError(
                    f"{model}: loading it ended its trial's process by {self._child.end_said()}"
                )
            case _:
                raise _not_started(f"it ended by {self._child.end_said()}")

    def _read_reports(self) -> bytes:
        chunk = os.read(self._reports.fileno(), 65536)
        self._reported += chunk
        return chunk

    def _read_alarm(self) -> bytes:
        chunk = os.read(self._child.alarm.fileno(), 1)
        self._is_alarmed |= bool(chunk)
        return chunk


def _decode(line: bytes) -> Report | None:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None
