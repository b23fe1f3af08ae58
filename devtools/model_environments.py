"""Environments of their own for the model servers, beside the project's: ``build/servers/NAME``.

``python -m devtools.model_environments`` makes them all, as `make setup` does; `environment` and `models`
make what is missing when it is used first.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devtools import BUILD, ROOT
from devtools.processes import ProcessError

SOURCES = ROOT / "devtools" / "model-servers"
"""The environments' locks, and the programs that run in them."""

NAMES = ("kserve", "mlflow", "mlserver", "rest")
"""The environments; each has a lock, ``NAME.lock``."""

FITTED = ("mlflow", "mlserver")
"""Those whose models are fitted before the server starts, by ``NAME_models.py``."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment variables that keep a server's numeric libraries to one core."""

_FOLDER = BUILD / "servers"


def environment(name: str) -> Path:
    """The virtual environment of a server, made now if it is missing or its lock has changed.

    Args:
        name: one of `NAMES`.

    Raises:
        ProcessError: a package can't be installed.
    """
    lock = SOURCES / f"{name}.lock"

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        # Python compiles the modules that a server imports when it first does; all others would be most.
        options = ["--quiet", "--no-compile", "--require-hashes", "--no-deps", "-r", str(lock)]
        _run([sys.executable, "-m", "pip", "--python", str(folder), "install", *options])

    return made(_FOLDER / name, [lock], install, f"Installing a model server into build/servers/{name} ...")


def models(name: str) -> Path:
    """A folder with the models of a server, fitted now if they are missing or their program has changed.

    Args:
        name: one of `FITTED`.

    Raises:
        ProcessError: an environment can't be made, or the models can't be fitted.
    """

    def write(folder: Path) -> None:
        folder.mkdir()
        _run([str(environment(name) / "bin" / "python"), str(SOURCES / f"{name}_models.py"), str(folder)])

    sources = [SOURCES / f"{name}.lock", SOURCES / "irises.py", *sorted(SOURCES.glob(f"{name}_*.py"))]
    return made(_FOLDER / f"{name}-models", sources, write, f"Fitting the models of {name} ...")


def made(folder: Path, sources: Sequence[Path], make: Callable[[Path], None], progress: str) -> Path:
    """A folder, made if it isn't yet, or was of other sources, or not to the end; by one process at a time.

    Args:
        folder: the folder.
        sources: files that it is made of.
        make: makes it, where there is nothing.
        progress: a line to say before.

    Returns:
        The folder.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp = folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.busy").open("w") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            print(progress, file=sys.stderr, flush=True)  # noqa: T201
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            stamp.write_text(digest)
    return folder


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode != 0:
        raise ProcessError(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-4000:]}")


def main() -> None:
    """Make all environments and models."""
    try:
        for name in NAMES:
            environment(name)
        for name in FITTED:
            models(name)
    except ProcessError as error:
        sys.exit(f"python -m devtools.model_environments: {error}")


if __name__ == "__main__":
    main()
