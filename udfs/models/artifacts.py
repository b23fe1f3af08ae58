"""Artifacts: a model's bytes as a local file, always checked against their sha256."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from udfs.errors import ArtifactError
from udfs.models.downloads import CHUNK_BYTES, Received, download
from udfs.models.places import AllowedPlaces, shown
from udfs.models.updates import Artifact


class ArtifactSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where artifacts may come from and where they are kept."""

    folder: str | None
    max_bytes: int
    timeout: float = 60.0
    """Seconds that the fetch of one artifact may take, as a whole."""
    allow: tuple[str, ...] = ()
    """URIs of the places that artifacts may come from; none: inline only."""
    allow_private_addresses: tuple[str, ...] = ()
    """Host names that may have loopback, private or link-local addresses."""
    s3: dict[str, Any] = {}
    """Options of s3fs."""


class ArtifactStore:
    """Keeps the bytes of artifacts in a folder, by their sha256. Safe to share between subtasks.

    Args:
        settings: where from, and where to.

    Raises:
        ArtifactError: an allowed place is no URI.
    """

    def __init__(self, settings: ArtifactSettings) -> None:
        self._settings = settings
        own = Path(tempfile.gettempdir()) / f"modelstream-artifacts-{os.getuid()}"
        self._folder = Path(settings.folder) if settings.folder else own
        self._places = AllowedPlaces(settings.allow, settings.allow_private_addresses)

    def fetch(self, artifact: Artifact) -> Path:
        """The artifact as a local file; fetched where the folder does not have it yet.

        Raises:
            ArtifactError: it can't be had, is too large, has other bytes than its sha256 says, or
                comes from a place that is not allowed.
        """
        path = self._folder / artifact.sha256
        if artifact.uri is not None:
            self._places.check(artifact.uri)  # also where its bytes are here already
        try:
            if artifact.inline is not None or not self._is_kept(path, artifact.sha256):
                self._keep(path, artifact)
        except OSError as error:
            raise ArtifactError(f"{path}: {error.strerror}; see artifacts.cache_folder") from error
        return path

    def _is_kept(self, path: Path, sha256: str) -> bool:
        digest = hashlib.sha256()
        try:
            if path.stat().st_size > self._settings.max_bytes:
                return False
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == sha256

    def _keep(self, path: Path, artifact: Artifact) -> None:
        settings = self._settings
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise ArtifactError(
                f"{self._folder}: others may write there, and could change what was checked; "
                f"see artifacts.cache_folder"
            )
        descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix="fetching-")
        try:
            with open(descriptor, "wb") as file:
                if artifact.uri is None:
                    received = Received(file, settings.max_bytes, "the inline artifact")
                    received.take(artifact.inline or b"")
                else:
                    received = Received(file, settings.max_bytes, shown(artifact.uri))
                    download(artifact.uri, self._places, received, settings.timeout, settings.s3)
            received.check(artifact.sha256)
            # Renaming is what makes the file whole for a subtask that looks at the same moment.
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
