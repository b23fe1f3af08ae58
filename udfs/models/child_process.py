"""Processes for what may hurt the one it runs in: a version's first load, and scoring beside the event path.

A child may die, take all memory or start others. Whatever it does, it ends with the thread that started it
at the latest, and with it all that it started and its temporary files.
"""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

from udfs.errors import ModelLoadError
from udfs.models.child_watch import MARK, end_marked
from udfs.temporary_folders import temporary_folder

NICENESS = 10
_PACKAGES = Path(__file__).parents[2]
_LONGEST_LAST_LINE = 200
_MOST_LAST_WORDS = 2000
"""Bytes kept of what a process wrote to its standard output and error."""
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


class ChildProcess:
    """A process that runs a module of this project, and a second one that watches it.

    It leads a session of its own, has a folder of its own for temporary files, is the first that the system
    ends when memory runs out, and takes what others leave of its cores.
    """

    def __init__(
        self, popen: subprocess.Popen[bytes], watch: subprocess.Popen[bytes], mark: str, held: ExitStack
    ) -> None:
        """Made by `start`."""
        assert popen.stdout is not None
        assert watch.stdout is not None
        self.pid = popen.pid
        self.output = popen.stdout
        """What it writes to its standard output and error; read by `hear` when it is readable."""
        self.alarm = watch.stdout
        """Readable once it uses more memory than it may, or nobody watches it any more."""
        self._popen = popen
        self._watch = watch
        self._mark = mark
        self._held = held
        self._last_words = b""

    @classmethod
    def start(
        cls,
        module: str,
        channel: int,
        *,
        stdin: int | IO[bytes],
        max_memory: int,
        cores: Collection[int],
    ) -> Self:
        """Start ``python -P -m MODULE CHANNEL PARENT``, whose first act is `begin_as_child`.

        Args:
            module: what it runs.
            channel: a file descriptor that it inherits, by the same number.
            stdin: its standard input.
            max_memory: bytes of resident memory that it may use, with all that it starts.
            cores: those that it may use, with all its threads to be.

        Raises:
            OSError: it can't be started.
            ModelLoadError: there is no Python to run it.
        """
        python, mark = find_python(), uuid4().hex
        environment = {**os.environ, "PYTHONPATH": _module_path()}
        with ExitStack() as held:
            folder = held.enter_context(temporary_folder("child"))
            popen = subprocess.Popen(
                (python, "-P", "-m", module, str(channel), str(os.getpid())),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(channel,),
                start_new_session=True,
                env={**environment, "TMPDIR": str(folder), MARK: mark},
            )
            held.enter_context(popen)
            try:
                _let_others_go_first(popen.pid, cores)
                watch = subprocess.Popen(
                    (python, "-P", "-m", _WATCH, str(popen.pid), mark, str(max_memory), str(folder)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=environment,
                )
            except BaseException:
                _kill_group(popen)
                end_marked(mark)
                raise
            held.enter_context(watch)
            _let_others_go_first(watch.pid, {max(usable_cores())})
            return cls(popen, watch, mark, held.pop_all())

    def hear(self) -> bytes:
        """Take some of what it wrote; nothing at the end. Waits where `output` is not readable."""
        chunk = os.read(self.output.fileno(), 65536)
        self._last_words = (self._last_words + chunk)[-_MOST_LAST_WORDS:]
        return chunk

    def is_gone(self) -> bool:
        """Whether it has ended."""
        # It stays a zombie, whose id, and so that of its group, no other process gets.
        if self._popen.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def is_watched(self) -> bool:
        """Whether its memory is watched: not where something has ended what watches it."""
        return self._watch.poll() is None

    def end(self) -> None:
        """End it, all that it started, and what watches it. Its last words can still be heard."""
        if self._popen.returncode is not None:
            return
        _kill_group(self._popen)
        self._watch.communicate()
        # What a model starts may have a group of its own, and outlive its parent.
        if self._watch.returncode != 0:
            end_marked(self._mark)

    def close(self) -> None:
        """End it and free what it holds; called once."""
        self.end()
        self._held.close()

    def end_said(self) -> str:
        """How it ended and its last words, as people read it; known once it was ended."""
        code = self._popen.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines = self._last_words.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = "".join(character for character in said if character.isprintable())
        return f"{how}, after it said: {said[-_LONGEST_LAST_LINE:]}" if said else how


_WATCH = "udfs.models.child_watch"


def begin_as_child() -> int:
    """What a child does first; gives the file descriptor of its channel."""
    channel, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(channel, False)
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)
    with suppress(OSError):  # where /proc can't be written
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is reported, not dumped
    return channel


def usable_cores() -> set[int]:
    """The cores that this process may use, whichever the calling thread keeps to."""
    return os.sched_getaffinity(os.getpid())


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
    raise ModelLoadError("no Python for models is found: put python3 on the PATH; see loading.trial_process")


def _kill_group(popen: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def _let_others_go_first(pid: int, cores: Collection[int]) -> None:
    """Have a process that has just begun take what others leave of some cores, with all its threads to be.

    It is told from here: the imports that a child begins with take a second of a core.

    Source: https://man7.org/linux/man-pages/man7/sched.7.html ("The autogroup feature": among sessions the
    nice value of a process counts for nothing, that of its group does)
    """
    with suppress(OSError):  # without it the process runs all the same
        os.sched_setaffinity(pid, cores)
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS))


def _module_path() -> str:
    """Where this process finds its modules: what Flink ships is nowhere else written."""
    places = (str(_PACKAGES), *(place or os.getcwd() for place in sys.path))
    return os.pathsep.join(dict.fromkeys(places))
