"""The artifact store: bytes are those of their sha256, kept once, and only from where they may come."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.config import load_config
from udfs.errors import ArtifactError, ConfigError
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.updates import Artifact

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
        start.wait(10)
        return make_store(cache, place).fetch(by_uri(place)).read_bytes()

    with ThreadPoolExecutor(8) as pool:
        fetched = [pool.submit(fetch) for _ in range(8)]
        assert [future.result() for future in fetched] == [MODEL] * 8
    assert [path.name for path in cache.iterdir()] == [SHA256]


def test_a_cache_that_cannot_be_written_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"see artifacts\.cache_folder"):
        make_store(tmp_path / "file" / "cache").fetch(Artifact(SHA256, inline=MODEL))


class TestConfiguration:
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
