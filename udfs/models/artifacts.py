"""Artifacts: a model's bytes as a local file, always checked against their sha256."""

import hashlib
import os
import tempfile
from pathlib import Path

from udfs.errors import ArtifactError
from udfs.models.updates import Artifact


class ArtifactStore:
    """Keeps the bytes of artifacts in a folder, by their sha256. Safe to share between subtasks.

    Args:
        folder: where files are kept; made when it is missing.
        max_bytes: largest artifact.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def fetch(self, artifact: Artifact) -> Path:
        """The artifact as a local file.

        Raises:
            ArtifactError: too large, other bytes than its sha256 says, or not inline.
        """
        if artifact.inline is None:
            raise ArtifactError(f"{artifact.uri}: artifacts by URI are not fetched yet; publish it inline")
        if len(artifact.inline) > self._max_bytes:
            raise ArtifactError(
                f"the artifact has {len(artifact.inline)} bytes, over artifacts.max_bytes ({self._max_bytes})"
            )
        actual = hashlib.sha256(artifact.inline).hexdigest()
        if actual != artifact.sha256:
            raise ArtifactError(f"the artifact's sha256 is {actual}, the update says {artifact.sha256}")
        path = self._folder / artifact.sha256
        try:
            if not path.is_file() or path.read_bytes() != artifact.inline:
                self._write(path, artifact.inline)
        except OSError as error:
            raise ArtifactError(f"{path}: {error.strerror}; see artifacts.cache_folder") from error
        return path

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Renaming is what makes the file whole for a subtask that looks at the same moment.
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
