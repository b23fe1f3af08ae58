"""Artifacts: a model's bytes as a local file, always checked against their sha256."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from udfs.errors import ArtifactError
from udfs.models.artifact_cache import ArtifactCache
from udfs.models.downloads import Received, download
from udfs.models.places import AllowedPlaces, shown
from udfs.models.private_folder import make_private
from udfs.models.updates import Artifact


class ArtifactSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where artifacts may come from and where they are kept."""

    folder: str | None
    max_bytes: int
    cache_max_bytes: int = 10 * 1024**3
    """Most bytes in the folder; what is being loaded stays beyond it."""
    timeout: float = 60.0
    """Seconds that the fetch of one artifact may take, as a whole."""
    allow: tuple[str, ...] = ()
    """URIs of the places that artifacts may come from; none: inline only."""
    allow_private_addresses: tuple[str, ...] = ()
    """Host names that may have loopback, private or link-local addresses."""
    s3: dict[str, Any] = {}
    """Options of s3fs."""


class ArtifactStore:
    """Keeps the bytes of artifacts in a folder, by their sha256. Used by one thread; the folder is shared.

    Args:
        settings: where from, and where to.

    Raises:
        ArtifactError: an allowed place is no URI.
    """

    def __init__(self, settings: ArtifactSettings) -> None:
        self._settings = settings
        own = Path(tempfile.gettempdir()) / f"modelstream-artifacts-{os.getuid()}"
        self._folder = Path(settings.folder) if settings.folder else own
        self._cache = ArtifactCache(self._folder, settings.cache_max_bytes)
        self._places = AllowedPlaces(settings.allow, settings.allow_private_addresses)

    @property
    def folder(self) -> Path:
        """Where artifacts are kept."""
        return self._folder

    def fetch(self, artifact: Artifact) -> Path:
        """The artifact as a local file, which stays until the next call; fetched where it is not there yet.

        Raises:
            ArtifactError: it can't be had, is too large, has other bytes than its sha256 says, or
                comes from a place that is not allowed.
        """
        if artifact.uri is not None:
            self._places.check(artifact.uri)  # also where its bytes are here already
        with self._writable():
            if artifact.uri is not None:
                path = self._cache.take(artifact.sha256)
                if path is not None and path.stat().st_size <= self._settings.max_bytes:
                    return path
            return self._keep(artifact)

    def take(self, sha256: str) -> Path | None:
        """A file that is in the folder, which stays until the next call; None where it is not there.

        Raises:
            ArtifactError: the folder can't be used.
        """
        with self._writable():
            return self._cache.take(sha256)

    @contextmanager
    def new_file(self) -> Iterator[BinaryIO]:
        """A file to write; it is gone afterwards, unless it was kept.

        Raises:
            ArtifactError: the folder can't be used.
        """
        with self._writable(), self._cache.new_file() as file:
            yield file

    def keep(self, file: BinaryIO, sha256: str) -> Path:
        """Keep a new file, which stays until the next call.

        Args:
            file: written whole.
            sha256: what is said of its bytes.

        Raises:
            ArtifactError: it has other bytes, or the folder can't be used.
        """
        with self._writable():
            with open(file.name, "rb") as written:
                actual = hashlib.file_digest(written, "sha256").hexdigest()
            if actual != sha256:
                raise ArtifactError(f"what a trial made has the sha256 {actual}, not {sha256} as it says")
            return self._cache.keep(file, sha256)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            make_private(self._folder)
            yield
        except OSError as error:
            path = error.filename or self._folder
            raise ArtifactError(f"{path}: {error.strerror}; see artifacts.cache_folder") from error

    def _keep(self, artifact: Artifact) -> Path:
        settings = self._settings
        with self._cache.new_file() as file:
            if artifact.uri is None:
                received = Received(file, settings.max_bytes, "the inline artifact")
                received.take(artifact.inline or b"")
            else:
                received = Received(file, settings.max_bytes, shown(artifact.uri))
                download(artifact.uri, self._places, received, settings.timeout, settings.s3)
            received.check(artifact.sha256)
            return self._cache.keep(file, artifact.sha256)
