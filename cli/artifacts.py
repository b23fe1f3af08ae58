"""A model's file as an artifact to publish: inline where it is small, else where the job can fetch it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from udfs.errors import ArtifactError, ConfigError
from udfs.models.places import ARTIFACT_SCHEMES, Location, shown
from udfs.models.updates import Artifact
from udfs.remotes import REMOTES
from udfs.scorers import FORMATS

LARGEST_INLINE = 512 * 1024
"""Bytes; in base64, and with a few checks, it fits Kafka's usual limit of a record."""
_CHUNK_BYTES = 4 * 1024 * 1024


def make_source(
    format_name: str,
    file: Path | None,
    *,
    upload: str | None = None,
    uri: str | None = None,
    s3: Mapping[str, Any] | None = None,
) -> Artifact | None:
    """Make what a version of a format is loaded from: an artifact, or none where a server scores it.

    Args:
        format_name: the format.
        file: the model's file, None where none was named.
        upload: see `make_artifact`, as for the others.
        uri: where the same bytes are already.
        s3: options of s3fs.

    Raises:
        ConfigError: no such format, one that needs a file and has none, or the other way round.
        ArtifactError: the artifact can't be made.
        OSError: the file can't be read.
    """
    if format_name in FORMATS:
        if file is None:
            raise ConfigError(f"format {format_name} needs ARTIFACT, the model's file")
        return make_artifact(file, upload=upload, uri=uri, s3=s3)
    if format_name not in REMOTES:
        known = ", ".join((*FORMATS, *REMOTES))
        raise ConfigError(f"unknown format {format_name!r}; there are {known}")
    place = file or upload or uri
    if place is not None:
        raise ConfigError(
            f"{place}: format {format_name} has no artifact: the server has the model; leave it out, and say "
            f"with --option url=... where the server is"
        )
    return None


def make_artifact(
    file: Path, *, upload: str | None = None, uri: str | None = None, s3: Mapping[str, Any] | None = None
) -> Artifact:
    """Hash a model's file and put it where the job will find it.

    Args:
        file: the file.
        upload: a folder's URI, ``file:`` or ``s3:``; the file is copied there under its sha256.
        uri: where the same bytes are already.
        s3: options of s3fs, as in ``artifacts.s3`` of the configuration.

    Raises:
        ArtifactError: too large to be inline and no place was named, or it can't be put there.
        OSError: the file can't be read.
    """
    if upload is not None and uri is not None:
        raise ArtifactError("--upload and --uri: only one of them says where the artifact is")
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if uri is not None:
        Location.parse(uri, ARTIFACT_SCHEMES)
        return Artifact(sha256=sha256, uri=uri)
    if upload is not None:
        target = f"{upload.rstrip('/')}/{sha256}"
        _upload(file, target, s3 or {})
        return Artifact(sha256=sha256, uri=target)
    size = file.stat().st_size
    if size > LARGEST_INLINE:
        raise ArtifactError(
            f"{file}: {size} bytes are too many for an update ({LARGEST_INLINE}); --upload URI puts the file "
            f"where the job can fetch it (file: or s3:), --uri URI says where it already is"
        )
    return Artifact(sha256=sha256, inline=file.read_bytes())


def _upload(file: Path, uri: str, s3: Mapping[str, Any]) -> None:
    location = Location.parse(uri)
    try:
        if location.scheme == "file":
            _copy_to_file(file, Path("/", *location.segments))
        elif location.scheme == "s3":
            _copy_to_s3(file, "/".join((location.host, *location.segments)), s3)
        else:
            raise ArtifactError(
                f"--upload {shown(uri)}: files can be put at file: and s3: URIs; "
                f"one that is elsewhere already is published with --uri"
            )
    except ArtifactError:
        raise
    except ImportError as error:
        raise ArtifactError(
            f"{shown(uri)}: needs s3fs, which is not installed: pip install 'modelstream[s3]'"
        ) from error
    except Exception as error:  # the edge to s3fs, botocore and aiohttp
        raise ArtifactError(f"{shown(uri)}: {type(error).__name__}: {error}") from error


def _copy_to_file(file: Path, target: Path) -> None:
    if target.is_file() and target.stat().st_size == file.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name is the content's: nobody must find half of it there.
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        os.replace(shutil.copyfile(file, Path(beside, target.name)), target)


def _copy_to_s3(file: Path, target: str, options: Mapping[str, Any]) -> None:
    import fsspec  # a slow import, and most models are small

    settings = dict(options)
    if "region" in settings:
        settings["client_kwargs"] = {
            "region_name": settings.pop("region"),
            **settings.get("client_kwargs", {}),
        }
    filesystem: Any = fsspec.filesystem("s3", **settings)
    if filesystem.exists(target) and filesystem.size(target) == file.stat().st_size:
        return
    with filesystem.transaction, file.open("rb") as source, filesystem.open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, _CHUNK_BYTES)
