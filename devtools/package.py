"""Build what ``flink run`` needs: ``python -m devtools.package JAR FOLDER``.

The folder then holds ``modelstream.zip`` (the Python packages, for ``-pyfs``), ``modelstream-flink.jar``
(for ``-j``) and ``score_events.py`` (the job, for ``-py``)::

    flink run -d -py score_events.py -pyfs modelstream.zip -j modelstream-flink.jar --config job.yaml
"""

import shutil
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from devtools import ROOT

PACKAGES = ("cli", "connectors", "jobs", "udfs")

_EPOCH = (1980, 1, 1, 0, 0, 0)


def zip_packages(archive: Path) -> None:
    """Write the Python packages to a zip file: the same bytes for the same code.

    Args:
        archive: the file to write.
    """
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if _is_source(path)]
    with ZipFile(archive, "w") as packed:
        for path in sorted(sources):
            # A fixed time: a worker compares the code it runs with the code that was submitted.
            entry = ZipInfo(path.relative_to(ROOT).as_posix(), _EPOCH)
            entry.compress_type = ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())


def package(jar: Path, folder: Path) -> None:
    """Put all that ``flink run`` needs into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    zip_packages(folder / "modelstream.zip")
    shutil.copy(jar, folder / "modelstream-flink.jar")
    shutil.copy(ROOT / "jobs" / "score_events.py", folder)


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" or path.name == "py.typed"


if __name__ == "__main__":
    package(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{sys.argv[2]}: modelstream.zip, modelstream-flink.jar, score_events.py\n")
