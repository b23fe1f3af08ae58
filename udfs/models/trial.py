"""A trial: the first load of a version, in a process of its own, whose end hurts nobody.

A load may take its process with it (a fault of native code), take all memory, or never end. A trial meets
that in the job's place, and leaves no process behind whatever it met.
"""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import Self
from uuid import uuid4

import msgspec

from udfs.errors import ModelCrashedError, ModelLoadError
from udfs.models.loaded import check_format
from udfs.models.trial_process import Refused, Report, Request, Started, Trial
from udfs.models.trial_watch import MARK, WATCH_SECONDS, end_marked
from udfs.models.updates import Artifact, PublishModel
from udfs.temporary_folders import temporary_folder

__all__ = ["Trial", "find_python", "try_load"]

_decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
NICENESS = 10
_REPORTS = 2
"""That it started, and what it found."""
_MOST_REPORTED = 1 << 20
"""Bytes of reports; the model's code may write there too."""
_PACKAGES = Path(__file__).parents[2]
_LONGEST_LAST_LINE = 200
_MOST_LAST_WORDS = 2000
"""Bytes kept of what a process wrote to its standard error."""


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
        # The file has the bytes.
        published=msgspec.structs.replace(
            published, artifact=Artifact(published.artifact.sha256, uri=artifact.as_uri())
        ),
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


def find_python() -> str:
    """The Python that runs this code. Inside a TaskManager's JVM `sys.executable` may name another program.

    Raises:
        ModelLoadError: there is none.
    """
    candidates = (
        sys.executable if Path(sys.executable or "").name.startswith("python") else None,
        os.path.join(sys.prefix, "bin", "python3"),
        shutil.which("python3"),
    )
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise ModelLoadError("no Python for trials is found: put python3 on the PATH; see loading.trial_process")


@contextmanager
def _started(request: Request, max_memory: int) -> Iterator["_Process"]:
    """A trial's process; nothing of it is left afterwards, neither processes nor files."""
    python, mark = find_python(), uuid4().hex
    try:
        read_end, write_end = os.pipe()
    except OSError as error:
        raise _not_started(error.strerror) from error
    with ExitStack() as stack:
        reports = stack.enter_context(open(read_end, "rb", buffering=0))
        try:
            with tempfile.TemporaryFile() as stdin:  # unlike a pipe, it never lets the writer wait
                stdin.write(request.encode())
                stdin.seek(0)
                files = stack.enter_context(temporary_folder("trial"))
                environment = {**os.environ, "PYTHONPATH": _module_path()}
                popen = subprocess.Popen(
                    (python, "-P", "-m", "udfs.models.trial_process", str(write_end), str(os.getpid())),
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(write_end,),
                    start_new_session=True,
                    env={**environment, "TMPDIR": str(files), MARK: mark},
                )
            _let_others_go_first(popen.pid)
            process = stack.enter_context(_Process(stack.enter_context(popen), mark, reports))
            watch = subprocess.Popen(
                (python, "-P", "-m", "udfs.models.trial_watch", str(popen.pid), mark, str(max_memory)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
            _let_others_go_first(watch.pid)
            process.watched_by(watch)
        except OSError as error:
            raise _not_started(error.strerror) from error
        finally:
            os.close(write_end)
        yield process


def _let_others_go_first(pid: int) -> None:
    """Have a process that has just begun take what others leave of one core, with all its threads to be.

    It is told from here: the imports that a trial begins with take a second of a core.

    Source: https://man7.org/linux/man-pages/man7/sched.7.html ("The autogroup feature": among sessions the
    nice value of a process counts for nothing, that of its group does)
    """
    with suppress(OSError):  # without it the version is tried all the same
        os.sched_setaffinity(pid, {max(os.sched_getaffinity(pid))})
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def _not_started(why: str | None) -> ModelLoadError:
    return ModelLoadError(f"no trial's process can be started: {why}; see loading.trial_process")


def _module_path() -> str:
    """Where this process finds its modules: what Flink ships is nowhere else written."""
    places = (str(_PACKAGES), *(place or os.getcwd() for place in sys.path))
    return os.pathsep.join(dict.fromkeys(places))


class _Process:
    """A process that runs, what it reported, and what it started.

    Args:
        popen: with a pipe for its standard error; leads a group of its own.
        mark: the value of a variable of its environment, which what it starts inherits.
        reports: the end of a pipe.
    """

    def __init__(self, popen: subprocess.Popen[bytes], mark: str, reports: RawIOBase) -> None:
        self._popen = popen
        self._mark = mark
        self._watch: subprocess.Popen[bytes] | None = None
        self._reported = bytearray()
        self._alarm = bytearray()
        self._last_words = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(reports, selectors.EVENT_READ, self._reported)
        assert popen.stderr is not None
        self._selector.register(popen.stderr, selectors.EVENT_READ, self._last_words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._selector.close()

    def watched_by(self, watch: subprocess.Popen[bytes]) -> None:
        """Have it watched by a process that runs `udfs.models.trial_watch`."""
        self._watch = watch
        assert watch.stdout is not None
        self._selector.register(watch.stdout, selectors.EVENT_READ, self._alarm)

    def has_ended(self) -> bool:
        """Whether it said all that it has to say, or is gone."""
        said_all = self._reported.count(b"\n") >= _REPORTS or len(self._reported) > _MOST_REPORTED
        return said_all or self._is_gone()

    def is_too_large(self) -> bool:
        """Whether it uses more memory than it may, with all that it started.

        Raises:
            ModelLoadError: it runs, and nobody watches it.
        """
        if self._reported and self._watch is not None and self._watch.poll() is not None:
            raise _not_started("what watches it has ended")
        return bool(self._alarm)

    def listen(self, seconds: float) -> bool:
        """Take what it says, waiting so long at most; whether there was something."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            chunk = os.read(key.fd, 65536)
            key.data.extend(chunk)
            if not chunk:
                self._selector.unregister(key.fileobj)
        del self._last_words[:-_MOST_LAST_WORDS]
        return bool(ready)

    def outcome(self, model: str) -> Trial:
        """What came of it, once it has ended.

        Raises:
            ModelCrashedError, ModelLoadError: the version can't be served.
        """
        self._end()
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
                    f"{model}: loading it ended its trial's process by {self._end_said()}"
                )
            case _:
                raise _not_started(f"it ended by {self._end_said()}")

    def _is_gone(self) -> bool:
        # It stays a zombie, whose id, and so that of its group, no other process gets.
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _end(self) -> None:
        if self._popen.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        # What a model starts may have a group of its own, and outlive its parent.
        if self._watch is None or not self._has_ended_all(self._watch):
            end_marked(self._mark)

    def _has_ended_all(self, watch: subprocess.Popen[bytes]) -> bool:
        with suppress(KeyError):
            self._selector.unregister(watch.stdout or -1)
        watch.communicate()
        return watch.returncode == 0

    def _end_said(self) -> str:
        code = self._popen.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = bytes(self._last_words).decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = "".join(character for character in said if character.isprintable())
        return f"{how}, after it said: {said[-_LONGEST_LAST_LINE:]}" if said else how


def _decode(line: bytearray) -> Report | None:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None
