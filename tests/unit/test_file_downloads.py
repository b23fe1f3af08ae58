"""Models that are fetched from files: what is fetched, and each thing that must be refused."""

import os
from io import BytesIO
from pathlib import Path

import pytest

from tests.downloading import MODEL, failure, fetch
from udfs.errors import ArtifactError
from udfs.models.downloads import Received, download
from udfs.models.places import AllowedPlaces


class TestFiles:
    def test_a_file_is_fetched(self, tmp_path: Path) -> None:
        (tmp_path / "a model").write_bytes(MODEL)
        assert fetch(f"{tmp_path.as_uri()}/a%20model", tmp_path.as_uri()) == MODEL

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        assert "x: No such file or directory" in failure(f"{tmp_path.as_uri()}/x", tmp_path.as_uri())

    def test_a_folder_is_an_error(self, tmp_path: Path) -> None:
        assert "Is a directory" in failure(tmp_path.as_uri(), tmp_path.as_uri())

    def test_a_named_pipe_is_an_error_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in failure(f"{tmp_path.as_uri()}/pipe", tmp_path.as_uri())

    def test_a_file_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(MODEL)
        assert f"{len(MODEL)} bytes or more, over artifacts.max_bytes" in failure(
            f"{tmp_path.as_uri()}/x", tmp_path.as_uri(), max_bytes=len(MODEL) - 1
        )

    def test_a_link_that_takes_the_place_of_a_checked_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / "x").write_bytes(b"model")
        (tmp_path / "secret").write_bytes(b"secret")
        places = AllowedPlaces([folder.as_uri()])
        location = places.check(f"{folder.as_uri()}/x")
        (folder / "x").unlink()
        (folder / "x").symlink_to(tmp_path / "secret")
        monkeypatch.setattr(places, "check", lambda _: location)
        with pytest.raises(ArtifactError, match="symbolic link"):
            download(f"{folder.as_uri()}/x", places, Received(BytesIO(), 100, "x"), 10, {})

    def test_a_link_that_takes_the_place_of_a_checked_folder_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, others = tmp_path / "models" / "iris", tmp_path / "others"
        for one in (folder, others):
            one.mkdir(parents=True)
            (one / "x").write_bytes(b"model")
        places = AllowedPlaces([folder.parent.as_uri()])
        location = places.check(f"{folder.as_uri()}/x")
        folder.rename(tmp_path / "moved")
        folder.symlink_to(others)
        monkeypatch.setattr(places, "check", lambda _: location)
        with pytest.raises(ArtifactError, match="another file took its place"):
            download(f"{folder.as_uri()}/x", places, Received(BytesIO(), 100, "x"), 10, {})
