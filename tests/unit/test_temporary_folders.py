"""Temporary folders are gone afterwards, also where their process was killed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from udfs.temporary_folders import remove_left_folders, temporary_folder

KILLED = """
import os, signal
from udfs.temporary_folders import temporary_folder
with temporary_folder("test") as folder:
    (folder / "file").write_text("left")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leave_one(parent: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(parent)}
    subprocess.run((sys.executable, "-c", KILLED), env=environment, check=False)
    assert len(list(parent.iterdir())) == 1


def test_a_folder_is_gone_afterwards(parent: Path) -> None:
    with temporary_folder("test") as folder:
        (folder / "inner").mkdir()
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_is_gone_with_the_next_one(parent: Path) -> None:
    leave_one(parent)
    with temporary_folder("test") as folder:
        assert list(parent.iterdir()) == [folder]


def test_a_folder_in_use_stays(parent: Path) -> None:
    with temporary_folder("test") as one, temporary_folder("test") as other:
        assert set(parent.iterdir()) == {one, other}


def test_what_a_killed_process_left_can_be_removed_without_a_next_one(parent: Path) -> None:
    leave_one(parent)
    remove_left_folders()
    assert list(parent.iterdir()) == []


def test_other_folders_stay(parent: Path) -> None:
    (parent / "modelstream-artifacts-0").mkdir()
    remove_left_folders()
    assert len(list(parent.iterdir())) == 1


def test_a_link_of_such_a_name_is_not_followed(parent: Path) -> None:
    target = parent / "target"
    target.mkdir()
    (target / "file").write_text("not mine")
    (parent / "modelstream-temporary-test-link").symlink_to(target)
    with temporary_folder("test"):
        assert (target / "file").exists()
