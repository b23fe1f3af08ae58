"""The process that Python runs in: a TaskManager's own, or a worker beside it."""

import gc
import os
import sys
import threading
import time

import psutil

from udfs.code_version import CODE_VERSION

_WATCH_SECONDS = 1.0


def check_code_version(submitted: str) -> None:
    """Refuse to run other code than what was submitted.

    A TaskManager that embeds Python keeps the modules that it imported for an earlier job.

    Raises:
        RuntimeError: this interpreter has other code than the job.
    """
    if submitted != CODE_VERSION:
        raise RuntimeError(
            f"this TaskManager runs modelstream code {CODE_VERSION}, the job was submitted with {submitted}: "
            f"an embedded interpreter keeps the code of earlier jobs; restart the TaskManagers, or submit "
            f"with execution: process"
        )


def end_with_task_manager() -> None:
    """In a worker process, watch the TaskManager and end with it.

    PyFlink's worker is a grandchild of the TaskManager (a shell script is between them) and does not
    notice when that is killed. Does nothing where Python shares a process with Flink or its client.
    """
    task_manager = _task_manager_of(psutil.Process())
    if task_manager is None or any(thread.name == _WATCHER for thread in threading.enumerate()):
        return
    threading.Thread(target=_watch, args=(task_manager,), name=_WATCHER, daemon=True).start()


def settle_memory() -> None:
    """Take what is imported by now out of the garbage collector's sight.

    A full collection walks all objects that it knows: with Flink's and the formats' libraries imported
    that takes a tenth of a second and more, in which no event is scored.
    """
    # What an earlier attempt in this process left behind must still be found.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


_WATCHER = "task-manager-watcher"


def _task_manager_of(process: psutil.Process) -> psutil.Process | None:
    if "pyflink.fn_execution.beam.beam_boot" not in " ".join(sys.orig_argv):
        return None
    return next((parent for parent in process.parents() if parent.name() == "java"), None)


def _watch(task_manager: psutil.Process) -> None:
    while _is_alive(task_manager):
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:  # it ended between the two questions
        return False
