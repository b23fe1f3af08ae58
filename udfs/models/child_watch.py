"""What watches a child's memory and ends what it leaves behind, in a process of its own.

Both are looks at every process of the machine, which would hold up the process that scores.

    python -P -m udfs.models.child_watch PID MARK MAX_BYTES FOLDER

writes a byte to its standard output once the process PID and all that it started have more resident memory
than MAX_BYTES. When its standard input ends, it ends every process that has MARK in its environment, removes
FOLDER, and then ends itself.
"""

import os
import select
import shutil
import sys
import time
from contextlib import suppress

import psutil

MARK = "MODELSTREAM_CHILD"
"""The variable of the environment whose value is the mark: what a child starts inherits it."""
WATCH_SECONDS = 0.1
_PAUSES_A_LOOK = 20
"""On a machine of many processes a look takes long: how much longer, at least, the pause after it is."""


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and all that it started, as far as they are there."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def end_marked(mark: str) -> None:
    """End every process with a mark, until there is none: they may start others meanwhile."""
    found = True
    while found:
        found = False
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                    process.kill()
                    found = True


def main() -> None:
    """Watch until the standard input ends."""
    pid, mark, max_bytes, folder = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    is_over, pause = False, WATCH_SECONDS
    while not select.select([sys.stdin], [], [], pause)[0]:
        began = time.monotonic()
        if not is_over and resident_bytes(pid) > max_bytes:
            is_over = True
            with suppress(BrokenPipeError):
                os.write(sys.stdout.fileno(), b"!")
        pause = max(WATCH_SECONDS, _PAUSES_A_LOOK * (time.monotonic() - began))
    end_marked(mark)
    # Whoever made it may have been killed.
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
