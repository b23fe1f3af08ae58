"""A SavedModel or a Keras file out of an archive: nothing outside the folder, nothing but files, bounded."""

import bz2
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from udfs.errors import ModelLoadError

MOST_BYTES = 8 << 30
"""Of all unpacked files together."""
MOST_FILES = 10_000

MOST_TIMES = 200
"""How many times the archive's own size all unpacked files together may have, beyond `FREE_BYTES`."""
FREE_BYTES = 256 << 20

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
_MOST_AT_ONCE = 4 << 20
_UNPACKERS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_SAVED_MODEL = "saved_model.pb"
_KERAS = "config.json"


def is_keras(artifact: Path) -> bool:
    """Whether a file is a ``.keras`` file: a zip with the layers' configuration at its top."""
    try:
        if not zipfile.is_zipfile(artifact):
            return False
        with zipfile.ZipFile(artifact) as archive:
            return _KERAS in archive.namelist() and _SAVED_MODEL not in archive.namelist()
    except _DAMAGED as error:
        raise ModelLoadError(f"the archive can't be read: {error}") from error


def unpack_saved_model(artifact: Path, folder: Path) -> Path:
    """Unpack an archive.

    Args:
        artifact: a zip or tar file, gzipped or not.
        folder: where to; exists, and is empty.

    Returns:
        The folder that has ``saved_model.pb``: the top, or the only one below it that has.

    Raises:
        ModelLoadError: no archive, damaged, without a SavedModel, too large, or with a member that has
            no business there: a path outside the folder, a link, a device.
    """
    try:
        most_bytes = _most_bytes(artifact)
        if zipfile.is_zipfile(artifact):
            with zipfile.ZipFile(artifact) as zipped, closing(_zip_members(zipped)) as members:
                _unpack(members, folder, most_bytes)
        else:
            with _open_tar(artifact) as tarred, closing(_tar_members(tarred)) as members:
                _unpack(members, folder, most_bytes)
    except _DAMAGED as error:
        raise ModelLoadError(f"the archive can't be unpacked: {error}") from error
    found = sorted(folder.rglob(_SAVED_MODEL))
    if len(found) != 1:
        raise ModelLoadError(f"the archive has {len(found) or 'no'} {_SAVED_MODEL}, expected one")
    return found[0].parent


def pack_saved_model(folder: Path, archive: Path) -> None:
    """Write a SavedModel's folder as an archive that `unpack_saved_model` takes."""
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, path.relative_to(folder))


_Member = tuple[str, IO[bytes]]


class _TarReader:
    """An unpacked tar. tarfile reads a header's extension at once, whatever size it says."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.seek = stream.seek
        self.tell = stream.tell
        self._read = stream.read

    def read(self, size: int) -> bytes:
        if size > _MOST_AT_ONCE:
            raise ModelLoadError(f"the archive has a header of more than {_MOST_AT_ONCE} bytes")
        return self._read(size)


@contextmanager
def _open_tar(artifact: Path) -> Iterator[tarfile.TarFile]:
    with artifact.open("rb") as file:
        head = file.read(6)
    unpacked = next((opened for mark, opened in _UNPACKERS.items() if head.startswith(mark)), open)
    with unpacked(artifact, "rb") as stream:
        try:
            archive = tarfile.TarFile(fileobj=cast(IO[bytes], _TarReader(stream)))
        except tarfile.ReadError as error:
            raise ModelLoadError("not a SavedModel (as .zip or .tar.gz) nor a .keras file") from error
        with archive:
            yield archive


def _zip_members(archive: zipfile.ZipFile) -> Generator[_Member, None, None]:
    for info in archive.infolist():
        if not info.is_dir():
            with archive.open(info) as content:
                yield info.filename, content


def _tar_members(archive: tarfile.TarFile) -> Generator[_Member, None, None]:
    for info in archive:
        if info.isdir():
            continue
        content = archive.extractfile(info) if info.isreg() else None
        if content is None:
            raise ModelLoadError(f"the archive has {info.name!r}, which is no file and no folder")
        yield info.name, content


def _most_bytes(artifact: Path) -> int:
    return min(MOST_BYTES, max(FREE_BYTES, MOST_TIMES * artifact.stat().st_size))


def _unpack(members: Iterator[_Member], folder: Path, most_bytes: int) -> None:
    left = most_bytes
    for number, (name, content) in enumerate(members):
        if number >= MOST_FILES:
            raise ModelLoadError(f"the archive has more than {MOST_FILES} files")
        target = folder / _inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            # What the archive says of a file's size is not believed.
            while chunk := content.read(min(left + 1, 1 << 20)):
                left -= len(chunk)
                if left < 0:
                    raise ModelLoadError(f"the archive unpacks to more than {most_bytes} bytes")
                file.write(chunk)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ModelLoadError(f"the archive has {name!r}, a path that leads out of it")
    return path


def copy_keras(artifact: Path, folder: Path) -> Path:
    """The same file under a name that Keras accepts.

    Raises:
        ModelLoadError: it is too large when unpacked, or has a path that leads out of it.
    """
    most_bytes = _most_bytes(artifact)
    with zipfile.ZipFile(artifact) as archive:
        for info in archive.infolist():
            _inside(info.filename)
        if sum(info.file_size for info in archive.infolist()) > most_bytes:
            raise ModelLoadError(f"the archive unpacks to more than {most_bytes} bytes")
    path = folder / "model.keras"
    shutil.copyfile(artifact, path)
    return path
