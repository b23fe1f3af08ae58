"""What a test may leave behind: child processes and open files of this process."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil


def children_with(word: str) -> list[psutil.Process]:
    """The processes below this one whose command line has a word. One that ends meanwhile is none."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(word in argument for argument in child.cmdline()):
                found.append(child)
    return found


def open_files() -> Counter[str]:
    """What this process has open, by the names that Linux gives: files' paths, numbers of pipes and sockets.

    Other threads open and close files of their own meanwhile: compare by name, not by how many.
    """
    files: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            files[os.readlink(descriptor)] += 1
    return files
