"""Archives that would write elsewhere or fill the disk; `tests/unit/test_tensorflow_scorer.py` has more."""

import gzip
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.hostile.artifacts import tar_of, zip_of, zip_that_lies, zip_with_link
from tests.hostile.refusals import Surroundings, refusal
from udfs.scorers import _tensorflow_archive as archives

MANY = b"\0" * 4_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the scorer unpacks to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "artifact"
    path.write_bytes(content)
    return refusal("tensorflow", path)


@pytest.mark.parametrize(
    "name", ["../written", "a/../../written", "{absolute}", "..\\written", "C:\\written"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leads_out_is_refused(
    tmp_path: Path, folder: Path, surroundings: Surroundings, name: str, kind: str
) -> None:
    name = name.format(absolute=surroundings.written)
    content = zip_of({name: b"x"}) if kind == "zip" else tar_of([(name, b"x")])
    assert "a path that leads out of it" in refused(tmp_path, content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "temporary"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_file_behind_a_link_is_refused(
    tmp_path: Path, folder: Path, surroundings: Surroundings, kind: bytes
) -> None:
    target = str(surroundings.written.parent)
    content = tar_of([("variables", (kind, target)), ("variables/written", b"x")])
    assert "'variables', which is no file and no folder" in refused(tmp_path, content)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_and_a_pipe_are_refused(tmp_path: Path, folder: Path, kind: bytes) -> None:
    assert "no file and no folder" in refused(tmp_path, tar_of([("saved_model.pb", (kind, ""))]))


def test_a_link_in_a_zip_is_unpacked_as_a_file_and_followed_by_nothing(
    tmp_path: Path, folder: Path, surroundings: Surroundings
) -> None:
    (tmp_path / "artifact.zip").write_bytes(zip_with_link("a/saved_model.pb", str(surroundings.secret)))
    unpacked = archives.unpack_saved_model(tmp_path / "artifact.zip", folder) / "saved_model.pb"
    assert not unpacked.is_symlink()
    assert unpacked.read_text() == str(surroundings.secret)


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_a_bomb_is_refused_with_little_of_it_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    content = zip_of({"bomb": MANY}) if kind == "zip" else tar_of([("bomb", MANY)], kind)
    assert "unpacks to more than" in refused(tmp_path, content)
    assert list(folder.iterdir()) == []


def test_a_bomb_of_many_small_members_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    content = zip_of({f"{number}": b"\0" * 500_000 for number in range(100)})
    assert "unpacks to more than" in refused(tmp_path, content)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_in_a_header_is_refused_unread(tmp_path: Path, folder: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 7 << 30
    assert "a header of more than 4194304 bytes" in refused(tmp_path, gzip.compress(header.tobuf()))


def test_a_bomb_inside_an_archive_stays_packed(tmp_path: Path, folder: Path) -> None:
    assert "no saved_model.pb" in refused(tmp_path, zip_of({"inner.zip": zip_of({"saved_model.pb": MANY})}))


def test_a_member_that_is_larger_than_it_says_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "can't be unpacked" in refused(tmp_path, zip_that_lies("saved_model.pb", 3_000_001, 5))


def test_a_file_twice_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zip_of([("saved_model.pb", b"good"), ("saved_model.pb", b"evil")])
    assert "can't be unpacked" in refused(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zip_of({"ä/config.json": b"x" * 99}).replace("ä".encode(), b"\xff\xfe"), id="a name"),
        pytest.param(zip_of({"saved_model.pb": b"x" * 99})[:-30], id="its end"),
        pytest.param(
            zip_of({"config.json": bytes(range(256))}).replace(bytes(range(20)), b"?" * 20), id="a member"
        ),
        pytest.param(tar_of([("saved_model.pb", bytes(9_999))], "xz")[:-40], id="a tar"),
        pytest.param(zip_of({f"{'a' * 300}": b"x"}), id="a name too long"),
        pytest.param(zip_of({"a": b"x", "a/b": b"x"}), id="a file that is a folder"),
    ],
)
def test_a_damaged_archive_is_a_load_error(tmp_path: Path, folder: Path, content: bytes) -> None:
    assert refused(tmp_path, content)


def test_a_member_that_needs_a_password_is_refused(tmp_path: Path, folder: Path) -> None:
    content = bytearray(zip_of({"saved_model.pb": b"x" * 99}))
    for start in (content.index(b"PK\3\4") + 6, content.index(b"PK\1\2") + 8):
        content[start] |= 1
    assert "password required" in refused(tmp_path, bytes(content))
