"""A load as a whole: fetched again where that can help, tried in a process of its own, counted."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.loads import Clock
from tests.poisonous_models import LOADER, load_poison
from tests.waiting import wait_until
from udfs.errors import ArtifactError, ArtifactUnavailableError, ModelCrashedError, ModelLoadError
from udfs.models import version_loading
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.load_ledger import LoadLedger
from udfs.models.load_watch import LoadWatch
from udfs.models.trial import Trial, try_load
from udfs.models.updates import Artifact, PublishModel
from udfs.models.version_loading import LoadedVersion, LoadingSettings, VersionLoader
from udfs.records import ModelId
from udfs.scorers import FORMATS, Options, Scorer, load_prepared, load_scorer
from udfs.scorers._tensorflow_archive import is_keras


class Bench:
    """A loader of artifacts that lie in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        trial_process: bool = True,
        attempts: int = 3,
        deadline: float = 200,
        max_memory: int = 4 * 1024**3,
    ) -> None:
        self.folder = folder
        self.fetched = 0
        self.faults = 0
        self.said: list[str] = []
        self.prepared: list[Path] = []
        self.cancelled = False
        self.ledger = LoadLedger(folder / "cache")
        self.settings = LoadingSettings(
            trial_process=trial_process,
            deadline=deadline,
            fetch_attempts=attempts,
            max_memory=max_memory,
        )

    def load(self, content: bytes, watch: LoadWatch | None = None) -> LoadedVersion:
        loader = VersionLoader(
            lambda: _FaultyStore(self), load_poison, self.ledger, ("poison",), self.settings, LOADER
        )
        return loader.load(publish("poison", content), watch or self.watch())

    def load_as_jobs_do(self, published: PublishModel) -> LoadedVersion:
        loader = VersionLoader(
            self.store,
            load_scorer,
            self.ledger,
            FORMATS,
            self.settings,
            load_prepared=self.load_prepared,
        )
        return loader.load(published, self.watch())

    def watch(self) -> LoadWatch:
        watch = LoadWatch(self.said.append)
        if self.cancelled:
            watch.give_up()
        return watch

    def store(self) -> ArtifactStore:
        return ArtifactStore(ArtifactSettings(folder=str(self.folder / "cache"), max_bytes=2**30))

    def load_prepared(self, format_name: str, prepared: Path, options: Options) -> Scorer:
        self.prepared.append(prepared)
        return load_prepared(format_name, prepared, options)


class _FaultyStore(ArtifactStore):
    """Fails as often as its bench says."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(ArtifactSettings(folder=str(bench.folder / "cache"), max_bytes=2**20))
        self._bench = bench

    def fetch(self, artifact: Artifact) -> Path:
        self._bench.fetched += 1
        if self._bench.fetched <= self._bench.faults:
            raise ArtifactUnavailableError("the server is away")
        return super().fetch(artifact)


def publish(format_name: str, content: bytes) -> PublishModel:
    artifact = Artifact(hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId("m", 1), format_name, artifact)


def test_a_version_is_tried_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, bench = Tried(monkeypatch), Bench(tmp_path)

    first, again = bench.load(b"good"), bench.load(b"good")

    assert first.memory_bytes == again.memory_bytes
    assert tried.count == 1


def test_what_ends_its_process_twice_is_not_tried_a_third_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(2):
        with pytest.raises(ModelCrashedError, match="ended its trial's process by SIGSEGV"):
            bench.load(b"null pointer")

    with pytest.raises(ModelCrashedError, match="ended its process 2 times"):
        bench.load(b"null pointer")


def test_an_artifact_that_is_away_is_fetched_again_and_that_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, trial_process=False)
    bench.faults = 1

    bench.load(b"good")

    assert bench.fetched == 2
    assert bench.said[0].startswith("the server is away; attempt 1 of 3, again in")


def test_a_load_that_is_given_up_fetches_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.faults, bench.cancelled = 3, True

    with pytest.raises(ModelLoadError, match="cancelled"):
        bench.load(b"good")

    assert bench.fetched == 1


def test_without_a_trial_the_size_of_the_artifact_stands_for_its_memory(tmp_path: Path) -> None:
    assert Bench(tmp_path, trial_process=False).load(b"good").memory_bytes == len(b"good")


class Tried:
    """Counts trials."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.deadlines: list[float] = []
        monkeypatch.setattr(version_loading, "try_load", self.try_load)

    def try_load(self, *args: Any, deadline: float, **options: Any) -> Trial:
        self.count += 1
        self.deadlines.append(deadline)
        return try_load(*args, deadline=deadline, **options)


def load_at_once(folder: Path, content: bytes, count: int) -> list[LoadedVersion | ModelLoadError]:
    """What subtasks of a job come to, which all load a version at the same time."""

    def load(bench: Bench) -> LoadedVersion | ModelLoadError:
        try:
            return bench.load(content)
        except ModelLoadError as error:
            return error

    with ThreadPoolExecutor(count) as subtasks:
        return list(subtasks.map(load, [Bench(folder) for _ in range(count)]))


def test_subtasks_that_load_a_good_version_at_once_try_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Tried(monkeypatch)

    results = load_at_once(tmp_path, b"good", 4)

    assert [type(one) for one in results] == [LoadedVersion] * 4
    assert tried.count == 1


def test_subtasks_that_load_a_poisonous_version_at_once_try_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Tried(monkeypatch)

    results = load_at_once(tmp_path, b"null pointer", 4)

    assert [type(one) for one in results] == [ModelCrashedError] * 4
    assert tried.count == 2


def test_waiting_for_the_turn_to_try_is_not_of_the_loads_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, bench = Tried(monkeypatch), Bench(tmp_path, deadline=60.0)
    clock = Clock()
    watch = LoadWatch(bench.said.append, 60.0, clock)

    with ThreadPoolExecutor(1) as subtask:
        with bench.ledger.turn(lambda: None):
            loading = subtask.submit(bench.load, b"good", watch)
            wait_until(lambda: watch.is_waiting, what="the load to wait for its turn")
            clock.seconds = 1000.0
            assert not watch.is_late()
        loading.result(120)

    assert not watch.is_late()
    assert tried.deadlines[0] > 30.0


def test_a_load_that_is_given_up_waits_for_its_turn_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    watch = LoadWatch(bench.said.append)

    with ThreadPoolExecutor(1) as subtask, bench.ledger.turn(lambda: None):
        loading = subtask.submit(bench.load, b"good", watch)
        wait_until(lambda: watch.is_waiting, what="the load to wait for its turn")
        watch.give_up()
        with pytest.raises(ModelLoadError, match="cancelled"):
            loading.result(30)


def test_a_version_that_took_more_memory_than_is_allowed_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, content = Tried(monkeypatch), b"remembers 64 MiB"
    Bench(tmp_path).load(content)

    with pytest.raises(ModelLoadError, match="bytes of memory"):
        Bench(tmp_path, max_memory=2**25).load(content)

    assert tried.count == 2


def test_a_prepared_file_with_other_bytes_than_its_trial_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(*_: object, prepared: Path, **__: object) -> Trial:
        prepared.write_bytes(b"other bytes")
        return Trial(1, 1.0, "0" * 64)

    monkeypatch.setattr(version_loading, "try_load", lie)
    with pytest.raises(ArtifactError, match="what a trial made has the sha256"):
        Bench(tmp_path).load(b"good")


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model, written by a process of its own."""
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    source = (
        "import keras, sys; i = keras.Input((2,)); keras.Model(i, keras.layers.Dense(1)(i)).save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", source, path], check=True, capture_output=True)
    return path.read_bytes()


def test_a_keras_file_is_made_a_saved_model_by_its_trial_and_loaded_as_such(
    tmp_path: Path, keras_file: bytes
) -> None:
    bench, published = Bench(tmp_path), publish("tensorflow", keras_file)

    loaded = bench.load_as_jobs_do(published)

    assert not is_keras(bench.prepared[0])
    assert published.artifact is not None
    as_published = load_scorer("tensorflow", bench.store().fetch(published.artifact), {})
    assert loaded.scorer.score_batch([[1.5, 2.5]]) == as_published.score_batch([[1.5, 2.5]])


def test_what_a_trial_made_is_loaded_again_without_a_trial(
    tmp_path: Path, keras_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, bench, published = Tried(monkeypatch), Bench(tmp_path), publish("tensorflow", keras_file)

    bench.load_as_jobs_do(published)
    bench.load_as_jobs_do(published)

    assert bench.prepared[0] == bench.prepared[1]
    assert tried.count == 1


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_what_a_trial_made_is_made_again_where_the_cache_lost_or_damaged_it(
    tmp_path: Path, keras_file: bytes, harm: Callable[[Path], object]
) -> None:
    bench, published = Bench(tmp_path), publish("tensorflow", keras_file)
    bench.load_as_jobs_do(published)
    harm(bench.prepared[0])

    assert bench.load_as_jobs_do(published).scorer.score_batch([[1.5, 2.5]])
