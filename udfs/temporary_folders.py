"""Temporary folders that are gone afterwards, whatever becomes of the process that made them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "modelstream-temporary-"


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Make a folder, and remove it afterwards.

    Args:
        purpose: a word of its name.

    Raises:
        OSError: it can't be made.
    """
    remove_left_folders()
    folder, descriptor = _make(f"{_PREFIX}{purpose}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_left_folders() -> None:
    """Remove the folders that killed processes have left.

    A folder in use is locked, and the system lets go of a lock when its process dies.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_left(left)


def _make(prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with suppress(FileNotFoundError):  # before it was locked, it looked like one that was left
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _remove_left(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, or of another user
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use
        return
    finally:
        os.close(descriptor)
