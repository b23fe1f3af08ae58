"""Artifacts made to hurt: each function writes one file, or gives its bytes."""

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class _WritesWhenLoaded:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self._path, "unpickled"))


def pickled_code(writes: Path, protocol: int = 4) -> bytes:
    """A pickle that writes a file when it is loaded."""
    return pickle.dumps(_WritesWhenLoaded(writes), protocol)


def zip_of(members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """A zip of members; a sequence may have a name twice."""
    pairs = members.items() if isinstance(members, Mapping) else members
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs:
            # As ZipInfo: writestr would take a leading slash away.
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return made.getvalue()


def zip_with_link(name: str, target: str) -> bytes:
    """A zip whose only member is a symbolic link."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return made.getvalue()


def zip_that_lies(name: str, size: int, said: int) -> bytes:
    """A zip of zeros that says it has fewer."""
    archive = zip_of({name: bytes(size)})
    return archive.replace(struct.pack("<I", size), struct.pack("<I", said))


def tar_of(members: Sequence[tuple[str, bytes | tuple[bytes, str]]], mode: str = "gz") -> bytes:
    """A tar of files, and of links and devices: (kind, target) in place of the bytes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return made.getvalue()


def changed_keras(path: Path, change: Mapping[str, Any], members: Mapping[str, bytes] | None = None) -> Path:
    """A Keras file with its second layer changed, and members added or replaced.

    Args:
        path: a file that `keras_classifier` wrote.
        change: keys of the layer.
        members: by their names.
    """
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    configuration = json.loads(parts["config.json"])
    configuration["config"]["layers"][1] |= change
    parts["config.json"] = json.dumps(configuration).encode()
    path.write_bytes(zip_of(parts | dict(members or {})))
    return path
