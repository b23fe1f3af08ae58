"""The job on a local MiniCluster: until it ends, fails or is interrupted; then nothing of it is left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from py4j.protocol import Py4JJavaError
from pyflink.datastream import StreamExecutionEnvironment

from connectors import _java
from jobs.config import JobConfig
from jobs.score_events import prepare, state_folder
from udfs.errors import JobError

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 15.0


def run_until_interrupted(config: JobConfig, started: Callable[[], object] = lambda: None) -> str | None:
    """Run the job. A KeyboardInterrupt stops it with a savepoint: outputs committed, what is held kept.

    Args:
        config: the job's configuration.
        started: called once, when Flink has taken the job.

    Returns:
        The savepoint's address, None when the job ended by itself.

    Raises:
        ConfigError: the job can't start.
        JobError: it failed, or could not be stopped with a savepoint.
    """
    with _java_ended():
        return _run(prepare(config), config, started)


def _run(env: StreamExecutionEnvironment, config: JobConfig, started: Callable[[], object]) -> str | None:
    client = env.execute_async(config.name)._j_job_client
    try:
        started()
        # Looking now and then, where waiting in Java would keep Ctrl-C from arriving.
        while not client.getJobStatus().get().isGloballyTerminalState():
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        canonical = _java.jvm().org.apache.flink.core.execution.SavepointFormatType.CANONICAL
        try:
            return str(client.stopWithSavepoint(False, state_folder(config), canonical).get())
        except Py4JJavaError as error:
            raise JobError(f"the job could not be stopped with a savepoint: {_cause(error)}") from error
    try:
        client.getJobExecutionResult().get()
    except Py4JJavaError as error:
        raise JobError(f"the job failed: {_cause(error)}") from error
    return None


def _cause(error: Py4JJavaError) -> str:
    return ": ".join(_java.root_cause(error))


@contextmanager
def _java_ended() -> Iterator[None]:
    """End the Java that PyFlink starts, with all that it started, before this process goes on."""
    try:
        yield
    finally:
        children = psutil.Process().children(recursive=True)
        _java.disconnect()
        for child in children:
            if child.name() == "java":
                child.terminate()  # in order: its hooks remove its temporary folders
        _, alive = psutil.wait_procs(children, _PATIENCE_SECONDS)
        for child in alive:
            child.kill()
