"""What watches a trial's memory and ends what it leaves behind, in a process of its own.

Both are looks at every process of the machine, which would hold up the process that scores.

    python -P -m udfs.models.trial_watch PID MARK MAX_BYTES

writes a byte to its standard output once the process PID and all that it started have more resident memory
than MAX_BYTES. When its standard input ends, it ends every process that has MARK in its environment, and
then itself.
"""

import os
import select
import sys
from contextlib import suppress

import psutil

MARK = "MODELSTREAM_TRIAL"
"""The variable of the environment whose value is the mark: what a trial starts inherits it."""
WATCH_SECONDS = 0.1


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
    pid, mark, max_bytes = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    is_over = False
    while not select.select([sys.stdin], [], [], WATCH_SECONDS)[0]:
        if not is_over and resident_bytes(pid) > max_bytes:
            is_over = True
            with suppress(BrokenPipeError):
                os.write(sys.stdout.fileno(), b"!")
    end_marked(mark)


if __name__ == "__main__":
    main()
