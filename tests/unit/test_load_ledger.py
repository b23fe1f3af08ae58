"""What the ledger of loads remembers of a version over the deaths of the processes that load it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from udfs.errors import ArtifactError, ModelCrashedError, ModelLoadError
from udfs.models import load_ledger
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.load_ledger import LoadLedger
from udfs.models.trial import Trial
from udfs.models.updates import Artifact

ONE, OTHER = "1" * 64, "2" * 64
TRIAL = Trial(memory_bytes=5_000_000, load_ms=12.5)
EMPTY = hashlib.sha256(b"").hexdigest()
LIBRARY = "onnxruntime 1.32.0"
DAY = 24 * 60 * 60.0

ATTEMPT = """
import sys
from contextlib import ExitStack
from pathlib import Path
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.load_ledger import LoadLedger
with ExitStack() as attempts:
    for identity in sys.argv[2:]:
        attempts.enter_context(LoadLedger(Path(sys.argv[1])).attempt(identity))
    print("loading", flush=True)
    sys.stdin.read()
"""


@contextmanager
def loading(folder: Path, *identities: str, source: str = ATTEMPT) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is loading versions, until it is killed or its input ends."""
    command = (sys.executable, "-c", source, str(folder), *identities)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"loading\n"
            yield process
        finally:
            process.kill()


def die_loading(folder: Path, *identities: str) -> None:
    with loading(folder, *identities) as process:
        process.kill()


def age(path: Path, days: float) -> None:
    then = path.stat().st_mtime - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def ledger(tmp_path: Path) -> LoadLedger:
    return LoadLedger(tmp_path)


class TestDeaths:
    def test_a_version_that_was_never_tried_may_be_tried(self, ledger: LoadLedger) -> None:
        ledger.check(ONE)
        assert ledger.deaths(ONE) == 0

    def test_a_load_that_succeeds_is_no_death(self, ledger: LoadLedger) -> None:
        with ledger.attempt(ONE):
            pass
        assert ledger.deaths(ONE) == 0

    def test_a_load_that_fails_in_order_is_no_death(self, ledger: LoadLedger) -> None:
        with pytest.raises(ModelLoadError), ledger.attempt(ONE):
            raise ModelLoadError("no model")
        assert ledger.deaths(ONE) == 0

    def test_a_process_that_dies_while_it_loads_is_a_death(self, ledger: LoadLedger, tmp_path: Path) -> None:
        die_loading(tmp_path, ONE)
        assert ledger.deaths(ONE) == 1

    def test_a_process_that_goes_on_loading_is_no_death(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with loading(tmp_path, ONE):
            assert ledger.deaths(ONE) == 0

    def test_a_load_that_goes_on_in_this_process_is_no_death(self, ledger: LoadLedger) -> None:
        with ledger.attempt(ONE), ledger.attempt(ONE):
            assert ledger.deaths(ONE) == 0

    def test_a_death_is_told_from_a_load_that_goes_on_elsewhere(
        self, ledger: LoadLedger, tmp_path: Path
    ) -> None:
        with loading(tmp_path, ONE), ledger.attempt(ONE):
            die_loading(tmp_path, ONE)
            assert ledger.deaths(ONE) == 1

    def test_attempts_that_die_together_are_one_death(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with ExitStack() as stack:
            for process in [stack.enter_context(loading(tmp_path, ONE, ONE)) for _ in range(2)]:
                process.kill()
        assert ledger.deaths(ONE) == 1

    def test_a_death_is_counted_once_however_often_one_looks(
        self, ledger: LoadLedger, tmp_path: Path
    ) -> None:
        die_loading(tmp_path, ONE)
        assert [ledger.deaths(ONE), LoadLedger(tmp_path).deaths(ONE)] == [1, 1]

    def test_a_death_is_that_of_its_version_alone(self, ledger: LoadLedger, tmp_path: Path) -> None:
        die_loading(tmp_path, ONE)
        assert ledger.deaths(OTHER) == 0

    def test_a_recorded_death_counts(self, ledger: LoadLedger, tmp_path: Path) -> None:
        ledger.record_death(ONE)
        die_loading(tmp_path, ONE)
        assert ledger.deaths(ONE) == 2

    def test_after_one_death_a_version_is_tried_again(self, ledger: LoadLedger) -> None:
        ledger.record_death(ONE)
        ledger.check(ONE)

    def test_after_two_deaths_a_version_is_not_tried_again(self, ledger: LoadLedger) -> None:
        ledger.record_death(ONE)
        ledger.record_death(ONE)
        with pytest.raises(ModelCrashedError, match="2 times, so it is not tried again"):
            ledger.check(ONE)

    def test_the_file_that_the_error_names_is_the_one_to_remove(
        self, ledger: LoadLedger, tmp_path: Path
    ) -> None:
        for _ in range(2):
            die_loading(tmp_path, ONE)
            ledger.deaths(ONE)
        with pytest.raises(ModelCrashedError) as caught:
            ledger.check(ONE)
        Path(str(caught.value).rpartition("remove ")[2]).unlink()
        ledger.check(ONE)

    def test_a_load_that_succeeds_shows_that_earlier_deaths_were_not_its_own(
        self, ledger: LoadLedger
    ) -> None:
        ledger.record_death(ONE)
        with ledger.attempt(ONE):
            pass
        assert ledger.deaths(ONE) == 0

    def test_a_load_that_fails_in_order_leaves_earlier_deaths_counted(self, ledger: LoadLedger) -> None:
        ledger.record_death(ONE)
        with pytest.raises(ModelLoadError), ledger.attempt(ONE):
            raise ModelLoadError("no model")
        assert ledger.deaths(ONE) == 1

    def test_an_attempt_that_was_let_go_is_no_death(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with ledger.attempt(ONE) as let_go:
            let_go()
            assert list((tmp_path / "loads").iterdir()) == []

    def test_attempts_that_ended_leave_no_files(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with ledger.attempt(ONE):
            pass
        assert list((tmp_path / "loads").iterdir()) == []


class TestTrials:
    def test_a_version_without_a_trial_has_not_passed(self, ledger: LoadLedger) -> None:
        assert ledger.passed(ONE, LIBRARY) is None

    def test_a_trial_that_was_passed_is_remembered(self, ledger: LoadLedger, tmp_path: Path) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        assert LoadLedger(tmp_path).passed(ONE, LIBRARY) == TRIAL

    def test_a_trial_is_that_of_its_version_alone(self, ledger: LoadLedger) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        assert ledger.passed(OTHER, LIBRARY) is None

    def test_other_code_tries_again(self, ledger: LoadLedger, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        monkeypatch.setattr(load_ledger, "CODE_VERSION", "0" * 16)
        assert ledger.passed(ONE, LIBRARY) is None

    def test_another_library_tries_again(self, ledger: LoadLedger) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        assert ledger.passed(ONE, "onnxruntime 1.33.0") is None

    def test_what_was_written_without_a_library_tries_again(self, ledger: LoadLedger, tmp_path: Path) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        path = tmp_path / "loads" / f"{ONE}.json"
        entry = json.loads(path.read_bytes())
        del entry["library"]
        path.write_text(json.dumps(entry))
        assert ledger.passed(ONE, LIBRARY) is None

    def test_a_version_that_passed_its_trial_has_two_more_deaths(self, ledger: LoadLedger) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        for _ in range(3):
            ledger.record_death(ONE)
        ledger.check(ONE)
        ledger.record_death(ONE)
        with pytest.raises(ModelCrashedError, match="4 times"):
            ledger.check(ONE)

    def test_a_trial_and_deaths_are_remembered_beside_each_other(self, ledger: LoadLedger) -> None:
        ledger.record_trial(ONE, TRIAL, LIBRARY)
        ledger.record_death(ONE)
        assert (ledger.passed(ONE, LIBRARY), ledger.deaths(ONE)) == (TRIAL, 1)


class TestTurns:
    def test_one_has_its_turn_at_a_time(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with ledger.turn(never), pytest.raises(TimeoutError), LoadLedger(tmp_path).turn(give_up):
            pass

    def test_the_next_has_its_turn_afterwards(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with ledger.turn(never):
            pass
        with LoadLedger(tmp_path).turn(never):
            pass

    def test_a_process_that_dies_loses_its_turn(self, ledger: LoadLedger, tmp_path: Path) -> None:
        source = ATTEMPT.replace(".attempt(identity)", ".turn(lambda: None)")
        with loading(tmp_path, ONE, source=source) as process:
            with pytest.raises(TimeoutError), ledger.turn(give_up):
                pass
            process.kill()
        with ledger.turn(never):
            pass

    def test_a_file_that_can_not_be_is_an_error_that_says_where(
        self, ledger: LoadLedger, tmp_path: Path
    ) -> None:
        (tmp_path / "loads" / "trial.lock").mkdir(parents=True)
        with pytest.raises(ArtifactError, match=r"loads: Is a directory; see art"), ledger.turn(never):
            pass


def never() -> None:
    raise AssertionError("nobody else has the turn")


def give_up() -> None:
    raise TimeoutError


class TestFolders:
    @pytest.fixture(autouse=True)
    def umask_of_a_group(self) -> Iterator[None]:
        before = os.umask(0o002)
        yield
        os.umask(before)

    def test_the_cache_is_the_users_own_whoever_makes_it_first(self, tmp_path: Path) -> None:
        cache = tmp_path / "some" / "cache"
        LoadLedger(cache).check(ONE)
        ArtifactStore(ArtifactSettings(folder=str(cache), max_bytes=10)).fetch(Artifact(EMPTY, inline=b""))
        assert (cache.stat().st_mode & 0o777, (cache / "loads").stat().st_mode & 0o777) == (0o700, 0o700)

    @pytest.mark.parametrize("folder", ["cache", "cache/loads"])
    def test_a_ledger_that_others_may_change_is_refused(self, tmp_path: Path, folder: str) -> None:
        ledger = LoadLedger(tmp_path / "cache")
        (tmp_path / folder).chmod(0o770)
        with pytest.raises(ArtifactError, match=f"{folder}: others may write there"):
            ledger.check(ONE)


class TestFiles:
    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b'{"deaths": "two"}', b'{"deaths": 9, "trial": 1}', b"\xff\xfe", b"\0" * 100],
    )
    def test_a_file_that_says_nothing_is_replaced(
        self, ledger: LoadLedger, tmp_path: Path, content: bytes
    ) -> None:
        ledger.record_death(ONE)
        (tmp_path / "loads" / f"{ONE}.json").write_bytes(content)
        assert (ledger.deaths(ONE), ledger.passed(ONE, LIBRARY)) == (0, None)
        ledger.record_death(ONE)
        assert ledger.deaths(ONE) == 1

    def test_a_folder_that_can_not_be_is_an_error_that_says_where(self, tmp_path: Path) -> None:
        (tmp_path / "loads").write_text("a file")
        ledger = LoadLedger(tmp_path)
        with pytest.raises(ArtifactError, match=r"loads: .*; see artifacts.cache_folder"):
            ledger.check(ONE)

    def test_what_is_older_than_30_days_is_forgotten(self, ledger: LoadLedger, tmp_path: Path) -> None:
        ledger.record_death(ONE)
        age(tmp_path / "loads" / f"{ONE}.json", 31)
        assert LoadLedger(tmp_path).deaths(ONE) == 0

    def test_what_is_younger_than_30_days_is_not(self, ledger: LoadLedger, tmp_path: Path) -> None:
        ledger.record_death(ONE)
        age(tmp_path / "loads" / f"{ONE}.json", 29)
        assert LoadLedger(tmp_path).deaths(ONE) == 1

    def test_an_attempt_that_goes_on_is_not_forgotten(self, ledger: LoadLedger, tmp_path: Path) -> None:
        with loading(tmp_path, ONE) as process:
            [path] = (tmp_path / "loads").glob("*.attempt")
            age(path, 31)
            LoadLedger(tmp_path)
            process.kill()
            process.wait()
            assert ledger.deaths(ONE) == 1
