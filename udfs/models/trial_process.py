"""The process that a trial runs in, see `udfs.models.trial`; and what the two say to each other.

It reads a request from its standard input and writes reports, one a line, to its channel, a pipe.
"""

import hashlib
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from udfs.errors import ModelstreamError
from udfs.json_values import read_struct
from udfs.models.child_process import begin_as_child
from udfs.models.child_watch import resident_bytes
from udfs.models.load_request import LoadRequest
from udfs.models.loaded import close_scorer, load_version
from udfs.records import Sha256
from udfs.scorers import FORMATS, load_prepared, prepare, warm_up_imports


class Request(LoadRequest, frozen=True, kw_only=True):
    """What to try."""

    prepared: str
    """Where to write a file that loads with less work, see `udfs.scorers.prepare`."""


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The process is there and knows what to try: what ends it from now on is the version."""


class Trial(msgspec.Struct, frozen=True, tag="passed"):
    """What was found of a version that can be loaded and passes its checks."""

    memory_bytes: int
    """What loading added to the resident memory, its format's library left aside."""
    load_ms: float
    """How long loading and checking took, the import of its format's library left aside."""
    prepared: Sha256 | None = None
    """The sha256 of the file that loads in the artifact's place, where there is one."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why a version can't be served."""

    cause: str


Report = Started | Trial | Refused


def main() -> None:
    """Try one version and end."""
    reports = begin_as_child()
    request = read_struct(msgspec.json.Decoder(Request), sys.stdin.buffer.read())
    with open(reports, "wb", buffering=0) as pipe:
        pipe.write(msgspec.json.encode(Started()) + b"\n")
        pipe.write(msgspec.json.encode(_try(request)) + b"\n")
    # Nothing is left to do, and native libraries may take seconds to take themselves down.
    os._exit(0)


def _try(request: Request) -> Trial | Refused:
    load_scorer = request.find_loader()
    with suppress(Exception):  # the edge to a library; loading meets the same fault and reports it
        warm_up_imports([request.published.format])
    before, started = resident_bytes(os.getpid()), time.perf_counter()
    try:
        prepared = _prepare(request)
        if prepared is None:
            path = Path(request.artifact)
        else:
            path, load_scorer = Path(request.prepared), load_prepared
        scorer = load_version(request.published, path, load_scorer, request.formats)
    except ModelstreamError as error:
        return Refused(str(error))
    load_ms = (time.perf_counter() - started) * 1000
    memory_bytes = max(resident_bytes(os.getpid()) - before, 0)
    close_scorer(scorer)
    return Trial(memory_bytes, load_ms, prepared)


def _prepare(request: Request) -> str | None:
    """The sha256 of the file to load in the artifact's place, where there is one."""
    artifact, prepared = Path(request.artifact), Path(request.prepared)
    if request.published.format not in FORMATS or not prepare(request.published.format, artifact, prepared):
        return None
    with prepared.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
