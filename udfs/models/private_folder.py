"""Folders whose files decide what is loaded: this user's alone."""

import os
from pathlib import Path

from udfs.errors import ArtifactError


def make_private(folder: Path) -> None:
    """Make a folder that only this user may use, where it is not there; see that others may not write there.

    Raises:
        ArtifactError: others may.
        OSError: it can't be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ArtifactError(
            f"{folder}: others may write there, and could change what was checked; see artifacts.cache_folder"
        )
