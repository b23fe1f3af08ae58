"""The ledger of loads: what loading a version did on this machine, so that a poisonous one is left alone.

It is kept in files by the identity of a version, beside the artifacts, and outlives the processes that write
it. An attempt to load holds a lock of a file of its own: the system lets go of it when the process dies,
whatever ends it, and nobody else can be taken for it.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from udfs.code_version import CODE_VERSION
from udfs.errors import ArtifactError, ModelCrashedError
from udfs.models.private_folder import make_private
from udfs.models.trial import Trial

MOST_DEATHS = 2
"""A version whose loading ended so many processes is not tried again."""
MOST_DEATHS_AFTER_A_TRIAL = 4
"""The same of one that passed its trial: what ends a job's own process while it loads is seldom its fault."""
_ATTEMPT = ".attempt"
_TURN_SECONDS = 0.1
_FORGET_SECONDS = 30 * 24 * 60 * 60.0


class _Entry(msgspec.Struct):
    """What is known of one version."""

    deaths: int = 0
    """Since it was last loaded in order."""
    trial: Trial | None = None
    code_version: str = ""
    """The code that the trial ran."""
    library: str = ""
    """What of its format's library the trial ran."""


_decoder = msgspec.json.Decoder(_Entry)


class LoadLedger:
    """Attempts and deaths by the identity of a version. Used by any thread; the folder is shared.

    Args:
        folder: the artifacts' cache; the ledger is in its folder ``loads``.
    """

    def __init__(self, folder: Path) -> None:
        self._cache = folder
        self._folder = folder / "loads"
        self._turns = self._folder / "trial.lock"
        # Nothing to forget, or nothing that may be forgotten, is no reason not to start.
        with suppress(ArtifactError):
            self._forget_old()

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """Have the only turn of a machine to try a version, once those before have had theirs.

        Args:
            check: called ten times a second meanwhile; what it raises ends the waiting.

        Raises:
            ArtifactError: the ledger can't be written.
        """
        with self._locked():
            descriptor = os.open(self._turns, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while not _lock(descriptor):
                check()
                time.sleep(_TURN_SECONDS)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def attempt(self, identity: str) -> Iterator[Callable[[], None]]:
        """While a version is loaded in this process: if the process dies, that counts as a death.

        A load that succeeds also takes the deaths before it from the count.

        Yields:
            What lets the attempt go before its end: from then on a death of the process is not its own.

        Raises:
            ArtifactError: the ledger can't be written.
        """
        with self._locked():
            descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=f"{identity}-", suffix=_ATTEMPT)
            fcntl.flock(descriptor, fcntl.LOCK_EX)

        def let_go() -> None:
            with suppress(OSError):
                os.unlink(name)

        try:
            yield let_go
            with suppress(ArtifactError):  # what was loaded may serve all the same
                self._forget_deaths(identity)
        finally:
            let_go()
            os.close(descriptor)

    def deaths(self, identity: str) -> int:
        """How many times loading a version ended a process since it was last loaded in order.

        What died since the last look counts once: a process takes all of its attempts with it, and its
        job's other processes are ended for it.

        Raises:
            ArtifactError: the ledger can't be read or written.
        """
        with self._locked():
            entry = self._read(identity)
            if self._remove_dead(identity):
                entry.deaths += 1
                self._write(identity, entry)
            return entry.deaths

    def record_death(self, identity: str) -> None:
        """Count a process that a version ended elsewhere: in its trial.

        Raises:
            ArtifactError: the ledger can't be written.
        """
        with self._locked():
            entry = self._read(identity)
            entry.deaths += 1
            self._write(identity, entry)

    def check(self, identity: str) -> None:
        """See that a version may be tried.

        Raises:
            ModelCrashedError: loading it ended too many processes.
            ArtifactError: the ledger can't be read or written.
        """
        deaths = self.deaths(identity)
        if deaths >= MOST_DEATHS and deaths >= self._most_deaths(identity):
            raise ModelCrashedError(
                f"loading it ended its process {deaths} times, so it is not tried again on this machine; "
                f"to have it tried again remove {self._path(identity)}"
            )

    def record_trial(self, identity: str, trial: Trial, library: str) -> None:
        """Remember that a version passed its trial.

        Args:
            identity: the version.
            trial: what it found.
            library: the version of its format's library.

        Raises:
            ArtifactError: the ledger can't be written.
        """
        with self._locked():
            entry = self._read(identity)
            entry.trial, entry.code_version, entry.library = trial, CODE_VERSION, library
            self._write(identity, entry)

    def passed(self, identity: str, library: str) -> Trial | None:
        """What a version's trial found on this machine, with this code and this library of its format.

        Returns:
            None where it has not passed one.

        Raises:
            ArtifactError: the ledger can't be read.
        """
        with self._locked():
            entry = self._read(identity)
        return entry.trial if (entry.code_version, entry.library) == (CODE_VERSION, library) else None

    def _most_deaths(self, identity: str) -> int:
        with self._locked():
            entry = self._read(identity)
        has_passed = entry.trial is not None and entry.code_version == CODE_VERSION
        return MOST_DEATHS_AFTER_A_TRIAL if has_passed else MOST_DEATHS

    def _forget_deaths(self, identity: str) -> None:
        with self._locked():
            entry = self._read(identity)
            if entry.deaths:
                entry.deaths = 0
                self._write(identity, entry)

    def _path(self, identity: str) -> Path:
        return self._folder / f"{identity}.json"

    def _read(self, identity: str) -> _Entry:
        try:
            return _decoder.decode(self._path(identity).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return _Entry()  # a file that can't be read says nothing, and is replaced

    def _write(self, identity: str, entry: _Entry) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix="writing-")
        try:
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(entry))
            os.replace(name, self._path(identity))
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise

    def _remove_dead(self, identity: str) -> bool:
        """Remove the attempts whose process died; whether there were any."""
        attempts = self._folder.glob(f"{identity}-*{_ATTEMPT}")
        return sum(_remove_if_dead(path) for path in attempts) > 0

    def _forget_old(self) -> None:
        oldest = time.time() - _FORGET_SECONDS
        with self._locked():
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    if path != self._turns and path.stat().st_mtime < oldest:
                        _remove_if_dead(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_private(self._cache)
            make_private(self._folder)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ArtifactError(f"{self._folder}: {error.strerror}; see artifacts.cache_folder") from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_dead(path: Path) -> bool:
    """Remove a file unless a process holds it. Only under the ledger's lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    return True
