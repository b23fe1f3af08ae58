"""The first load of a version in a process of its own: what passes, and whatever a load may do instead."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from onnx import TensorProto, helper

from examples.iris import train
from tests.leftovers import open_files
from tests.poisonous_models import LOADER
from tests.waiting import wait_until
from udfs.errors import ModelCrashedError, ModelLoadError
from udfs.models import trial
from udfs.models.trial import Trial, try_load
from udfs.models.updates import Artifact, Check, PublishModel
from udfs.records import ModelId

MIB = 2**20


class Tries:
    """Tries versions, with settings that let every good one pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prepared = folder / "prepared"

    def poison(
        self,
        does: str,
        *checks: Check,
        deadline: float = 60,
        max_memory: int = 1024 * MIB,
        formats: tuple[str, ...] = ("poison",),
        is_cancelled: Callable[[], bool] = lambda: False,
        load_scorer: str = LOADER,
    ) -> Trial:
        artifact = self.folder / "a model"
        artifact.write_text(does)
        return try_load(
            publish("poison", *checks),
            artifact,
            formats=formats,
            deadline=deadline,
            max_memory=max_memory,
            prepared=self.prepared,
            is_cancelled=is_cancelled,
            load_scorer=load_scorer,
        )

    def model(self, format_name: str, artifact: Path, max_memory: int = 4096 * MIB) -> Trial:
        return try_load(
            publish(format_name),
            artifact,
            formats=["onnx", "pfa", "pmml", "tensorflow"],
            deadline=240,
            max_memory=max_memory,
            prepared=self.prepared,
        )


def publish(format_name: str, *checks: Check) -> PublishModel:
    return PublishModel(
        ModelId("m", 1), format_name, Artifact("0" * 64, inline=b"not read: the file is"), checks=checks
    )


@pytest.fixture
def tries(tmp_path: Path) -> Tries:
    return Tries(tmp_path)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """The ids of the processes that a model started, which says them."""
    path = tmp_path / "started"
    monkeypatch.setenv("POISON_SAYS", str(path))
    return lambda: [int(pid) for pid in path.read_text().split()] if path.exists() else []


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_gone(pids: list[int]) -> bool:
    return not any(map(is_there, pids))


@contextmanager
def tries_in_a_process(folder: Path, does: str) -> Iterator[subprocess.Popen[bytes]]:
    program = (
        "import sys; from pathlib import Path; from tests.unit.test_trial import Tries; "
        "Tries(Path(sys.argv[1])).poison(sys.argv[2])"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        (sys.executable, "-c", program, str(folder), does),
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    ) as parent:
        try:
            yield parent
        finally:
            parent.kill()


class TestGoodVersions:
    def test_a_good_version_passes(self, tries: Tries) -> None:
        assert tries.poison("good").load_ms > 0

    def test_the_memory_that_a_version_keeps_is_measured(self, tries: Tries) -> None:
        assert 64 * MIB <= tries.poison("remembers 64 MiB").memory_bytes < 80 * MIB

    def test_a_version_that_passes_its_checks_passes(self, tries: Tries) -> None:
        tries.poison("good", Check([1], None), Check(2, 4))

    def test_inputs_of_checks_arrive_as_they_were_published(self, tries: Tries) -> None:
        tries.poison("echoes", Check([1.5, 10**18, "ü\u2028"], [1.5, 10**18, "ü\u2028"]))

    def test_not_a_number_in_a_check_is_kept(self, tries: Tries) -> None:
        tries.poison("finds NaN", Check(float("nan"), True))

    def test_what_a_model_says_is_no_report(self, tries: Tries) -> None:
        assert tries.poison("says much").memory_bytes < 2**40

    def test_a_model_reads_nothing(self, tries: Tries) -> None:
        tries.poison("reads")


class TestBadVersions:
    """They are refused in the words of a load in the job's own process."""

    def test_a_model_that_its_format_refuses(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match=r"^no model: line 1$"):
            tries.poison("refused")

    def test_a_load_that_raises(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match=r"^m:1: ZeroDivisionError: integer division"):
            tries.poison("raises")

    def test_a_check_that_differs(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match=r"^check 2 differs: outputs: expected 5, got 4$"):
            tries.poison("good", Check(1, 2), Check(2, 5))

    def test_a_model_that_keeps_state(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match="keeps state of its own between events"):
            tries.poison("counter")

    def test_a_format_that_is_not_allowed(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match=r"'poison' is not allowed here; models.formats: onnx, pfa"):
            tries.poison("null pointer", formats=("onnx", "pfa"))

    def test_checks_that_are_nested_too_deeply_to_hand_over(self, tries: Tries) -> None:
        data: list[object] = []
        for _ in range(2000):
            data = [data]
        with pytest.raises(ModelLoadError, match="nested too deeply"):
            tries.poison("good", Check(data, None))

    @pytest.mark.parametrize("does", ["refused", "counter"])
    def test_none_of_them_crashed(self, tries: Tries, does: str) -> None:
        with pytest.raises(ModelLoadError) as caught:
            tries.poison(does)
        assert not isinstance(caught.value, ModelCrashedError)


class TestCrashes:
    @pytest.mark.parametrize(
        ("does", "how"),
        [
            ("null pointer", "SIGSEGV"),
            ("aborts", "SIGABRT, after it said: terminate called"),
            ("exits", "exit code 3"),
            ("out of memory", "SIGKILL"),
            ("crashes in scoring", "SIGBUS"),
            ("crashes in closing", "SIGABRT"),
        ],
    )
    def test_a_crash_is_told_with_how_the_process_ended(self, tries: Tries, does: str, how: str) -> None:
        with pytest.raises(ModelCrashedError) as caught:
            tries.poison(does)
        assert str(caught.value) == f"m:1: loading it ended its trial's process by {how}"

    def test_the_next_version_passes(self, tries: Tries) -> None:
        with pytest.raises(ModelCrashedError):
            tries.poison("null pointer")
        tries.poison("good")


class TestLimits:
    def test_a_load_that_takes_too_much_memory_is_ended(self, tries: Tries) -> None:
        limit = 256 * MIB
        with pytest.raises(ModelLoadError, match=f"more than {limit} bytes of memory; see loading.max_mem"):
            tries.poison("grows", max_memory=limit)

    def test_memory_of_what_a_model_starts_counts(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match="bytes of memory"):
            tries.poison("starts one that grows", max_memory=256 * MIB)

    def test_a_load_that_never_ends_is_ended(self, tries: Tries) -> None:
        with pytest.raises(ModelLoadError, match=r"^m:1: not loaded in 0.5 s; see loading.deadline$"):
            tries.poison("hangs", deadline=0.5)

    def test_a_trial_that_nobody_needs_any_more_is_ended(
        self, tries: Tries, started: Callable[[], list[int]]
    ) -> None:
        with pytest.raises(ModelLoadError, match=r"^m:1: its trial was cancelled$"):
            tries.poison("starts children and hangs", is_cancelled=lambda: bool(started()))


class TestNothingIsLeft:
    def gone_with_its_trial(self, pids: list[int]) -> None:
        assert len(pids) == 2
        wait_until(lambda: all_gone(pids), what="the end of what it started")

    def test_what_a_model_starts_ends_with_its_trial(
        self, tries: Tries, started: Callable[[], list[int]]
    ) -> None:
        tries.poison("starts children")
        self.gone_with_its_trial(started())

    def test_what_a_model_starts_ends_with_its_crash(
        self, tries: Tries, started: Callable[[], list[int]]
    ) -> None:
        with pytest.raises(ModelCrashedError):
            tries.poison("starts children and crashes")
        self.gone_with_its_trial(started())

    def test_what_a_model_starts_ends_with_its_deadline(
        self, tries: Tries, started: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Time:
            @staticmethod
            def monotonic() -> float:
                return 60.5 if started() else 0.0

        monkeypatch.setattr(trial, "time", Time)
        with pytest.raises(ModelLoadError, match=r"^m:1: not loaded in 60 s"):
            tries.poison("starts children and hangs", deadline=60)
        self.gone_with_its_trial(started())

    @pytest.mark.parametrize("does", ["leaves files", "leaves files and crashes"])
    def test_the_files_that_a_model_leaves_are_gone(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        with suppress(ModelCrashedError):
            tries.poison(does)
        assert list(temporary.iterdir()) == []

    def test_what_a_model_starts_ends_also_where_the_parent_is_killed(
        self, tmp_path: Path, started: Callable[[], list[int]]
    ) -> None:
        with tries_in_a_process(tmp_path, "starts children and hangs") as parent:
            pids = wait_until(started, what="the trial")
            parent.kill()
        wait_until(lambda: all_gone(pids), what="the end of what it started")

    def test_what_a_model_starts_ends_also_where_it_ended_what_watches_it(
        self, tries: Tries, started: Callable[[], list[int]]
    ) -> None:
        with pytest.raises(ModelLoadError, match="what watches it has ended"):
            tries.poison("ends what watches it and starts children and hangs")
        wait_until(lambda: all_gone(started()), what="the end of what it started")

    def test_a_flood_of_reports_is_no_end_of_memory(self, tries: Tries) -> None:
        with pytest.raises(ModelCrashedError):
            tries.poison("floods its reports")

    def test_no_descriptor_is_left(self, tries: Tries) -> None:
        before = open_files()
        tries.poison("good")
        with pytest.raises(ModelCrashedError):
            tries.poison("null pointer")
        wait_until(lambda: not open_files() - before, what="the end of what a trial had open")

    def test_a_trial_ends_with_its_parent(self, tmp_path: Path, started: Callable[[], list[int]]) -> None:
        with tries_in_a_process(tmp_path, "says who it is and hangs") as parent:
            pids = wait_until(started, what="the trial")
            parent.kill()
        assert len(pids) == 1
        wait_until(lambda: all_gone(pids), what="the end of the trial")


class TestTheProcess:
    def test_it_takes_what_others_leave_of_a_core_goes_first_when_memory_runs_out_and_dumps_none(
        self, tries: Tries
    ) -> None:
        told = {"nice": 10, "cores": 1, "oom_score_adj": 1000, "core": 0}
        tries.poison("tells of its process", Check(None, told))

    @pytest.mark.parametrize("executable", ["", "/usr/bin/java"])
    def test_it_is_found_where_another_program_embeds_python(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, executable: str
    ) -> None:
        monkeypatch.setattr(sys, "executable", executable)
        tries.poison("good")

    def test_without_any_python_the_error_says_what_to_do(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "executable", "")
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ModelLoadError, match=r"put python3 on the PATH; see loading.trial_process"):
            tries.poison("good")

    @pytest.mark.parametrize(
        ("first_line", "cause"),
        [("#!/bin/false", "it ended by exit code 1;"), ("#!/nowhere", "No such file or directory;")],
    )
    def test_a_process_that_does_not_start_is_no_crash_of_the_model(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first_line: str, cause: str
    ) -> None:
        python = tmp_path / "python3"
        python.write_text(first_line + "\n")
        python.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(ModelLoadError, match=f"^no trial's process can be started: {cause}") as caught:
            tries.poison("good")
        assert not isinstance(caught.value, ModelCrashedError)

    def test_it_finds_code_whose_place_only_this_process_knows(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        shipped = tmp_path / "shipped"
        shipped.mkdir()
        (shipped / "shipped_format.py").write_text("from tests.poisonous_models import load_poison as load")
        monkeypatch.syspath_prepend(shipped)
        tries.poison("good", load_scorer="shipped_format:load")

    def test_it_does_not_run_what_lies_in_the_working_folder(
        self, tries: Tries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        other = tmp_path / "checkout"
        (other / "udfs").mkdir(parents=True)
        (other / "udfs" / "__init__.py").write_text("raise SystemExit('other code')")
        monkeypatch.chdir(other)
        tries.poison("good")


class TestRealModels:
    """Each format's library, in a process of its own."""

    @pytest.mark.parametrize(
        ("format_name", "write"),
        [
            ("onnx", lambda path: train.write_onnx(train.fit_logistic_regression(), path)),
            ("pfa", lambda path: train.write_pfa(train.fit_logistic_regression(), path)),
            ("pmml", lambda path: train.write_pmml(train.fit_logistic_regression(), path)),
            ("tensorflow", lambda path: train.write_tensorflow(path)),
        ],
    )
    def test_a_model_passes_and_its_library_is_not_its_memory(
        self, tries: Tries, tmp_path: Path, format_name: str, write: Callable[[Path], None]
    ) -> None:
        path = tmp_path / "iris.zip"
        write(path)
        assert tries.model(format_name, path).memory_bytes < 512 * MIB

    def test_a_giant_of_a_few_bytes_is_ended_before_it_has_its_memory(
        self, tries: Tries, tmp_path: Path
    ) -> None:
        length = helper.make_tensor("length", TensorProto.INT64, [1], [2**29])
        graph = helper.make_graph(
            [
                helper.make_node("ConstantOfShape", ["length"], ["giant"]),
                helper.make_node("ReduceSum", ["giant"], ["sum"], keepdims=0),
                helper.make_node("Add", ["x", "sum"], ["y"]),
            ],
            "giant",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
            [length],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / "giant.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelLoadError, match="bytes of memory"):
            tries.model("onnx", path, max_memory=512 * MIB)
