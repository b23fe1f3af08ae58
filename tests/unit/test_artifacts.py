"""The artifact store: bytes are those of their sha256, kept once, and only from where they may come."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.config import load_config
from jobs.settings import serving_settings
from udfs.errors import ArtifactError, ConfigError
from udfs.models.artifact_cache import ArtifactCache
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.updates import Artifact
from udfs.outputs import OutputLimits

MODEL = b"a model" * 1000
SHA256 = hashlib.sha256(MODEL).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"another").hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An allowed folder with a model in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "iris").write_bytes(MODEL)
    return folder


def make_store(cache: Path, *allow: Path, **settings: Any) -> ArtifactStore:
    places = tuple(path.as_uri() for path in allow)
    return ArtifactStore(
        ArtifactSettings(folder=str(cache), allow=places, **{"max_bytes": 2**20, **settings})
    )


def by_uri(folder: Path, sha256: str = SHA256) -> Artifact:
    return Artifact(sha256, uri=f"{folder.as_uri()}/iris")


class TestInline:
    def test_the_bytes_become_a_file(self, cache: Path) -> None:
        assert make_store(cache).fetch(Artifact(SHA256, inline=MODEL)).read_bytes() == MODEL

    def test_other_bytes_than_the_sha256_says_are_refused(self, cache: Path) -> None:
        with pytest.raises(ArtifactError, match=f"its sha256 is {SHA256}, the update says {OTHER_SHA256}"):
            make_store(cache).fetch(Artifact(OTHER_SHA256, inline=MODEL))

    def test_other_bytes_are_refused_though_the_right_ones_are_kept(self, cache: Path) -> None:
        store = make_store(cache)
        store.fetch(Artifact(SHA256, inline=MODEL))
        with pytest.raises(ArtifactError, match="its sha256 is"):
            store.fetch(Artifact(SHA256, inline=b"another"))

    def test_too_many_bytes_are_refused(self, cache: Path) -> None:
        with pytest.raises(ArtifactError, match=r"7000 bytes or more, over artifacts\.max_bytes \(100\)"):
            make_store(cache, max_bytes=100).fetch(Artifact(SHA256, inline=MODEL))


class TestByUri:
    def test_the_bytes_become_a_file(self, cache: Path, place: Path) -> None:
        assert make_store(cache, place).fetch(by_uri(place)).read_bytes() == MODEL

    def test_without_places_it_is_refused(self, cache: Path, place: Path) -> None:
        with pytest.raises(ArtifactError, match="artifacts come inline only"):
            make_store(cache).fetch(by_uri(place))

    def test_what_is_kept_is_refused_too_where_its_place_is_not_allowed(
        self, cache: Path, place: Path
    ) -> None:
        make_store(cache, place).fetch(by_uri(place))
        with pytest.raises(ArtifactError, match="in none of the allowed places"):
            make_store(cache, place.parent / "elsewhere").fetch(by_uri(place))

    def test_other_bytes_than_the_sha256_says_are_refused(self, cache: Path, place: Path) -> None:
        with pytest.raises(ArtifactError, match=f"iris: its sha256 is {SHA256}, the update says"):
            make_store(cache, place).fetch(by_uri(place, OTHER_SHA256))

    def test_what_was_fetched_is_not_fetched_again(self, cache: Path, place: Path) -> None:
        path = make_store(cache, place).fetch(by_uri(place))
        (place / "iris").unlink()
        assert make_store(cache, place).fetch(by_uri(place)) == path

    @pytest.mark.parametrize("damaged", [b"", MODEL[:-1], MODEL[:-1] + b"!"])
    def test_a_damaged_file_of_the_cache_is_fetched_again(
        self, cache: Path, place: Path, damaged: bytes
    ) -> None:
        store = make_store(cache, place)
        store.fetch(by_uri(place)).write_bytes(damaged)
        assert store.fetch(by_uri(place)).read_bytes() == MODEL

    def test_what_is_kept_is_refused_too_where_it_is_too_large(self, cache: Path, place: Path) -> None:
        make_store(cache, place).fetch(by_uri(place))
        with pytest.raises(ArtifactError, match=r"over artifacts\.max_bytes"):
            make_store(cache, place, max_bytes=100).fetch(by_uri(place))


@pytest.mark.parametrize("settings", [{}, {"max_bytes": 100}])
def test_a_fetch_that_fails_leaves_no_file(cache: Path, place: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        make_store(cache, place, **settings).fetch(by_uri(place, OTHER_SHA256))
    assert list(cache.iterdir()) == []


def test_a_fetch_leaves_only_the_file(cache: Path, place: Path) -> None:
    path = make_store(cache, place).fetch(by_uri(place))
    assert list(cache.iterdir()) == [path]


def test_subtasks_that_fetch_at_once_all_get_the_whole_file(cache: Path, place: Path) -> None:
    start = threading.Barrier(8)

    def fetch() -> bytes:
        start.wait(60)
        return make_store(cache, place).fetch(by_uri(place)).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        fetched = [pool.submit(fetch) for _ in range(8)]
        assert [future.result() for future in fetched] == [MODEL] * 8
    assert [path.name for path in cache.iterdir()] == [SHA256]


def test_a_cache_that_cannot_be_written_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"see artifacts\.cache_folder"):
        make_store(tmp_path / "file" / "cache").fetch(Artifact(SHA256, inline=MODEL))


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_cache_that_others_may_change_is_refused_though_it_has_the_artifact(
    cache: Path, place: Path, mode: int
) -> None:
    store = make_store(cache, place)
    store.fetch(by_uri(place))
    cache.chmod(mode)
    with pytest.raises(ArtifactError, match="others may write there"):
        store.fetch(by_uri(place))


class Many:
    """Artifacts of a thousand bytes, each fetched by a store that then ends."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def fetch(self, number: int, max_bytes: int, store: ArtifactStore | None = None) -> Path:
        store = store or make_store(self.cache, cache_max_bytes=max_bytes)
        return store.fetch(thousand_bytes(number))

    def fill(self, count: int) -> None:
        """Keep artifacts, the first of which was used longest ago."""
        for number in range(count):
            path = self.fetch(number, 2**20)
            os.utime(path, ns=(number, number))

    def kept(self) -> set[int]:
        names = {thousand_bytes(number).sha256: number for number in range(10)}
        return {names[path.name] for path in self.cache.iterdir()}


def thousand_bytes(number: int) -> Artifact:
    content = b"%d" % number * 1000
    return Artifact(hashlib.sha256(content).hexdigest(), inline=content)


class TestBound:
    @pytest.fixture
    def many(self, cache: Path) -> Many:
        return Many(cache)

    def test_the_least_recently_used_are_removed(self, many: Many) -> None:
        many.fill(4)
        many.fetch(5, max_bytes=3000)
        assert many.kept() == {2, 3, 5}

    def test_what_is_used_again_is_no_longer_the_least_recent(
        self, many: Many, cache: Path, place: Path
    ) -> None:
        old = make_store(cache, place).fetch(by_uri(place))
        os.utime(old, ns=(0, 0))
        many.fill(2)
        make_store(cache, place).fetch(by_uri(place))

        many.fetch(2, max_bytes=len(MODEL) + 1000)

        assert old.exists()
        assert len(list(cache.iterdir())) == 2

    def test_a_cache_within_its_bound_loses_nothing(self, many: Many) -> None:
        many.fill(3)
        many.fetch(3, max_bytes=4000)
        assert many.kept() == {0, 1, 2, 3}

    def test_a_bound_that_was_lowered_holds_from_the_opening(self, many: Many, cache: Path) -> None:
        many.fill(4)
        make_store(cache, cache_max_bytes=2000)
        assert many.kept() == {2, 3}

    def test_what_another_subtask_is_loading_stays(self, many: Many, cache: Path) -> None:
        other = make_store(cache)
        loading = other.fetch(thousand_bytes(0))
        os.utime(loading, ns=(0, 0))
        many.fill(3)

        many.fetch(4, max_bytes=1000)

        assert many.kept() == {0, 4}
        other.fetch(thousand_bytes(4))
        many.fetch(5, max_bytes=1000)
        assert 0 not in many.kept()

    def test_what_another_process_is_loading_stays(self, many: Many, cache: Path) -> None:
        many.fill(2)
        holding = (
            "import sys, pathlib; from udfs.models.artifact_cache import ArtifactCache\n"
            "cache = ArtifactCache(pathlib.Path(sys.argv[1]), 2**20)\n"
            "print(cache.take(sys.argv[2]), flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", holding, str(cache), thousand_bytes(0).sha256]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            os.utime(cache / thousand_bytes(0).sha256, ns=(0, 0))
            many.fetch(2, max_bytes=1000)
            assert many.kept() == {0, 2}
            other.communicate()
        many.fetch(3, max_bytes=1000)
        assert many.kept() == {3}

    def test_an_artifact_over_the_bound_is_there_while_it_is_loaded(self, cache: Path) -> None:
        store = make_store(cache, cache_max_bytes=10)
        assert store.fetch(Artifact(SHA256, inline=MODEL)).read_bytes() == MODEL

    def test_files_that_are_no_artifacts_are_left_alone(self, many: Many, cache: Path) -> None:
        cache.mkdir(mode=0o700)
        (cache / "notes").write_bytes(bytes(5000))
        many.fetch(1, max_bytes=1000)
        many.fetch(2, max_bytes=1000)
        assert {path.name for path in cache.iterdir()} == {"notes", thousand_bytes(2).sha256}

    def test_subtasks_that_push_each_other_out_always_load_whole_files(
        self, cache: Path, place: Path
    ) -> None:
        contents = [b"%d" % number * 1000 for number in range(4)]
        artifacts = []
        for number, content in enumerate(contents):
            (place / str(number)).write_bytes(content)
            artifacts.append(Artifact(hashlib.sha256(content).hexdigest(), uri=f"{place.as_uri()}/{number}"))

        def load(seed: int) -> bool:
            store = make_store(cache, place, cache_max_bytes=2000)
            order = random.Random(seed).choices(range(4), k=150)
            return all(store.fetch(artifacts[one]).read_bytes() == contents[one] for one in order)

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(load, range(6)))
        make_store(cache, cache_max_bytes=2000)
        assert sum(path.stat().st_size for path in cache.iterdir()) <= 2000


class TestInterruptedFetches:
    @staticmethod
    def leave(cache: Path, seconds: float) -> Path:
        cache.mkdir(mode=0o700)
        path = cache / "fetching-abc"
        path.write_bytes(b"half")
        then = time.time() - seconds
        os.utime(path, (then, then))
        return path

    def test_what_is_older_than_a_minute_is_removed_at_the_opening(self, cache: Path) -> None:
        left = self.leave(cache, seconds=90)
        make_store(cache)
        assert not left.exists()

    def test_a_folder_that_old_is_removed_too(self, cache: Path) -> None:
        left = self.leave(cache, seconds=90)
        folder = cache / "fetching-abc-def"
        folder.mkdir()
        (folder / "weights").write_bytes(b"half")
        os.utime(folder, (left.stat().st_mtime,) * 2)
        make_store(cache)
        assert not folder.exists()

    def test_what_is_younger_may_be_under_way_and_stays(self, cache: Path) -> None:
        left = self.leave(cache, seconds=5)
        make_store(cache)
        assert left.exists()

    def test_what_is_under_way_stays_however_old_it_looks(self, cache: Path) -> None:
        cache.mkdir(mode=0o700)
        with ArtifactCache(cache, 1000).new_file() as file:
            os.utime(file.name, (0, 0))
            make_store(cache)
            assert Path(file.name).exists()


class TestConfiguration:
    def test_the_bound_of_the_cache_is_read(self) -> None:
        config = load_config(None, ["artifacts.cache_max_bytes=2GiB"])
        assert serving_settings(config, OutputLimits(1, 1)).artifacts.cache_max_bytes == 2 * 1024**3

    def test_by_default_the_cache_has_at_most_10_gib(self) -> None:
        assert load_config(None).artifacts.cache_max_bytes == 10 * 1024**3

    def test_by_default_artifacts_come_inline_only(self) -> None:
        assert load_config(None).artifacts.allow == ()

    def test_the_settings_are_read(self) -> None:
        settings = ["allow=['s3://b/m', 'file:///srv']", "timeout=5s", "s3.endpoint_url=http://s3.internal"]
        artifacts = load_config(None, [f"artifacts.{setting}" for setting in settings]).artifacts
        assert artifacts.allow == ("s3://b/m", "file:///srv")
        assert (artifacts.timeout, artifacts.s3) == (5.0, {"endpoint_url": "http://s3.internal"})

    @pytest.mark.parametrize("place", ["/srv", "ftp://h/x", "https://u:p@h/x", "https://h/../x"])
    def test_a_place_that_is_no_uri_is_an_error_before_anything_starts(self, place: str) -> None:
        with pytest.raises(ConfigError, match=r"^artifacts: allow: "):
            load_config(None, [f"artifacts.allow=['{place}']"])
