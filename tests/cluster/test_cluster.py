"""The standalone cluster of devtools: what the job is tested on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from devtools.cluster import Cluster
from devtools.processes import ProcessError
from tests.cluster.job import lives
from tests.waiting import wait_until

COUNTING = """
import sys
from pyflink.common import Configuration, Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.datastream.functions import MapFunction

pause = float(sys.argv[2])

class Pause(MapFunction):
    def map(self, value):
        import time
        time.sleep(pause)
        return str(value)

configuration = Configuration()
configuration.set_string("python.execution-mode", sys.argv[1])
configuration.set_string("python.fn-execution.bundle.size", "1")
env = StreamExecutionEnvironment.get_execution_environment(configuration)
env.set_parallelism(1)
numbers = env.from_collection(list(range(int(sys.argv[3]))), Types.INT())
numbers.map(Pause(), Types.STRING()).print()
env.execute("counting")
"""

ENDLESS = ["process", "0.1", "10000"]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = tmp_path_factory.mktemp("job") / "counting.py"
    job.write_text(COUNTING)
    return job


@contextmanager
def submitted(cluster: Cluster, job: Path, *arguments: str) -> Iterator[str]:
    """Submits a job, and sees it end well."""
    number = cluster.run(job, arguments)
    try:
        yield number
        failures = f"/jobs/{number}/exceptions"
        wait_until(
            lambda: (
                cluster.state(number) == "FINISHED" or cluster.get(failures)["exceptionHistory"]["entries"]
            ),
            180,
            "the end of the job",
        )
        assert cluster.state(number) == "FINISHED", cluster.get(failures)
    finally:
        if cluster.state(number) != "FINISHED":
            cluster.cancel(number)


def test_python_runs_in_a_process_beside_the_task_manager(cluster: Cluster, counting: Path) -> None:
    with submitted(cluster, counting, "process", "0.2", "20"):
        wait_until(cluster.python_workers, 120, "a Python worker")
    wait_until(lambda: not cluster.python_workers(), 60, "the end of the Python workers")


def test_python_runs_inside_the_task_manager_also_for_a_second_job(cluster: Cluster, counting: Path) -> None:
    for _ in range(2):
        with submitted(cluster, counting, "thread", "0", "20"):
            pass
    assert cluster.python_workers() == []


def test_a_stopped_job_leaves_a_savepoint(cluster: Cluster, counting: Path) -> None:
    job = cluster.run(counting, ENDLESS)
    wait_until(lambda: cluster.running(job), 120, "the start of the job")
    savepoint = cluster.stop_job(job)
    assert (Path(savepoint.removeprefix("file:")) / "_metadata").is_file()


def test_a_cancelled_job_ends(cluster: Cluster, counting: Path) -> None:
    job = cluster.run(counting, ENDLESS)
    wait_until(lambda: cluster.running(job), 120, "the start of the job")
    cluster.cancel(job)
    wait_until(lambda: cluster.state(job) == "CANCELED", 60, "the end of the job")


def test_a_job_that_cannot_be_submitted_shows_what_flink_said(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("raise SystemExit('no bootstrap servers')")
    with pytest.raises(ProcessError, match=r"flink run ended with status \d+:(?s:.*)no bootstrap servers"):
        cluster.run(wrong)


def test_no_jar_is_taken_from_the_web_page(cluster: Cluster) -> None:
    features = cluster.get("/config")["features"]
    assert features["web-submit"] is False


def test_a_killed_task_manager_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    with Cluster.start(tmp_path) as own:
        (pid,) = own.task_manager_pids()
        own.kill_task_manager()
        assert not psutil.pid_exists(pid)
        own.start_task_manager()
        after = [psutil.Process(one) for one in own.task_manager_pids()]
        assert len(after) == 1
    assert not any(process.is_running() for process in after)
    assert list(tmp_path.iterdir()) == []


def test_workers_orphaned_by_a_kill_end_with_the_cluster(tmp_path: Path, counting: Path) -> None:
    with Cluster.start(tmp_path) as own:
        job = own.run(counting, ENDLESS)
        wait_until(lambda: own.running(job), 120, "the start of the job")
        own.kill_task_manager()
        orphans = own.python_workers()
        assert orphans
    assert [process for process in orphans if lives(process)] == []
