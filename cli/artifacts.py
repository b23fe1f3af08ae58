"""A model's file as an artifact to publish: inline where it is small, else where the job can fetch it."""

import hashlib
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from udfs.errors import ArtifactError
from udfs.models.updates import Artifact

LARGEST_INLINE = 512 * 1024
"""Bytes; in base64, and with a few checks, it fits Kafka's usual limit of a record."""
_UPLOADS = {"file", "s3"}


def make_artifact(file: Path, *, upload: str | None = None, uri: str | None = None) -> Artifact:
    """Hash a model's file and put it where the job will find it.

    Args:
        file: the file.
        upload: a folder's URI, ``file:`` or ``s3:``; the file is copied there under its sha256.
        uri: where the same bytes are already.

    Raises:
        ArtifactError: too large to be inline and no place was named, or it can't be put there.
        OSError: the file can't be read.
    """
    if upload is not None and uri is not None:
        raise ArtifactError("--upload and --uri: only one of them says where the artifact is")
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if uri is not None:
        if not urlsplit(uri).scheme:
            raise ArtifactError(f"--uri {uri}: expected a URI, such as https://models.example/iris.onnx")
        return Artifact(sha256=sha256, uri=uri)
    if upload is not None:
        return Artifact(sha256=sha256, uri=_upload(file, upload, sha256))
    size = file.stat().st_size
    if size > LARGEST_INLINE:
        raise ArtifactError(
            f"{file}: {size} bytes are too many for an update ({LARGEST_INLINE}); --upload URI puts the file "
            f"where the job can fetch it (file: or s3:), --uri URI says where it already is"
        )
    return Artifact(sha256=sha256, inline=file.read_bytes())


def _upload(file: Path, folder: str, sha256: str) -> str:
    parts = urlsplit(folder)
    if parts.scheme not in _UPLOADS:
        raise ArtifactError(
            f"--upload {folder}: files can be put at file: and s3: URIs; "
            f"one that is elsewhere already is published with --uri"
        )
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise ArtifactError(f"--upload {folder}: expected file:///, and the folder's whole path")
    target = f"{folder.rstrip('/')}/{sha256}"
    try:
        _copy(file, target)
    except ImportError as error:
        raise ArtifactError(f"{target}: {error}; install modelstream[s3]") from error
    except Exception as error:  # the stores' libraries raise errors of many families
        raise ArtifactError(f"{target}: {type(error).__name__}: {error}") from error
    return target


def _copy(file: Path, target: str) -> None:
    # The slowest import of the command, and most models are small.
    from fsspec.core import url_to_fs

    filesystem: Any
    filesystem, path = url_to_fs(target)
    if filesystem.exists(path) and filesystem.size(path) == file.stat().st_size:
        return
    filesystem.makedirs(filesystem._parent(path), exist_ok=True)
    # The name is the content's: nobody must find half of it there.
    with filesystem.transaction, file.open("rb") as source, filesystem.open(path, "wb") as copy:
        shutil.copyfileobj(source, copy, 4 * 1024 * 1024)
