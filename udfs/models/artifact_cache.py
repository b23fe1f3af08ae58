"""The folder of artifacts: whole files by their sha256, shared by all subtasks of a machine, and bounded.

Who uses a file holds a shared lock of it, and what someone holds is never removed. Files come and go
under the folder's own lock: while it is held, a name stands for one file.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = "fetching-"
_UNFINISHED_SECONDS = 60.0
"""A file that is older and that nobody holds was left: whoever makes one locks it at once."""
_ARTIFACT = re.compile("[0-9a-f]{64}")


class ArtifactCache:
    """Artifacts by their sha256. Used by one thread; other caches may have the same folder.

    What was taken or kept last stays held, for it is being loaded.

    Args:
        folder: where they are; made when the first is kept.
        max_bytes: beyond it the least recently used are removed.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._let_go: Callable[[], object] = lambda: None
        # Nothing to clean, or nothing that may be cleaned, is no reason not to start.
        with suppress(OSError), self._locked_folder():
            self._remove_unfinished()
            self._make_room()

    def take(self, sha256: str) -> Path | None:
        """Hold an artifact; None where it is not there, or not whole.

        Raises:
            OSError: the folder can't be read.
        """
        self._let_go()
        path = self._folder / sha256
        descriptor = _open_shared(path)
        if descriptor is None:
            return None
        self._hold(descriptor)
        if _sha256(descriptor) != sha256:
            self._let_go()
            return None
        with suppress(OSError):  # a folder that was filled by someone else
            os.utime(descriptor)
        return path

    @contextmanager
    def new_file(self) -> Iterator[BinaryIO]:
        """A file to write an artifact to; it is gone afterwards, unless it was kept.

        Raises:
            OSError: it can't be made.
        """
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=_UNFINISHED)
        os.close(descriptor)  # a file that is opened by its name knows it
        try:
            with open(name, "wb") as file:
                # The lock comes before the artifact's name, so that no one finds it without.
                fcntl.flock(file, fcntl.LOCK_SH)
                yield file
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)

    def keep(self, file: BinaryIO, sha256: str) -> Path:
        """Hold an artifact that was written whole, and make room for it.

        Args:
            file: a new file, with the bytes.
            sha256: that of the bytes.

        Raises:
            OSError: it can't be kept.
        """
        file.flush()
        with self._locked_folder():
            # Another subtask may have been faster, and be loading its file: that one stays.
            path = self.take(sha256)
            if path is None:
                path = self._folder / sha256
                os.replace(file.name, path)
                self._hold(os.dup(file.fileno()))
            self._make_room()
        return path

    def _hold(self, descriptor: int) -> None:
        # The lock ends with the last descriptor of the open file, at the latest with this object.
        self._let_go = weakref.finalize(self, os.close, descriptor)

    def _remove_unfinished(self) -> None:
        oldest = time.time() - _UNFINISHED_SECONDS
        for path in self._folder.glob(f"{_UNFINISHED}*"):
            with suppress(FileNotFoundError):  # a fetch that ended
                if path.stat().st_mtime < oldest:
                    _remove_unused(path)

    def _make_room(self) -> None:
        artifacts = [path for path in self._folder.iterdir() if _ARTIFACT.fullmatch(path.name)]
        used = sorted(
            (status.st_mtime_ns, status.st_size, path) for path in artifacts if (status := path.stat())
        )
        total = sum(size for _, size, _ in used)
        for _, size, path in used:
            if total <= self._max_bytes:
                return
            if _remove_unused(path):
                total -= size

    @contextmanager
    def _locked_folder(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _open_shared(path: Path) -> int | None:
    """A descriptor of the file that has this name, with a shared lock; None where there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        is_current = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Before the lock it may have been removed, or have got a successor.
            with suppress(FileNotFoundError):
                is_current = os.path.samestat(os.fstat(descriptor), path.stat())
        finally:
            if not is_current:
                os.close(descriptor)
        if is_current:
            return descriptor


def _sha256(descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_unused(path: Path) -> bool:
    """Remove a file or a folder unless someone holds it. Only under the folder's lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
