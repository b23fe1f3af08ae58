"""Which code this is: a TaskManager that embeds Python keeps the modules of earlier jobs."""

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parent


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


CODE_VERSION = _fingerprint()
"""Fingerprint of the modules of `udfs`, as they were when this interpreter imported them."""
