"""The packaged job, as it is, and changed."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from connectors._java import JAR
from devtools.package import package


class Package:
    """What `make package` makes, in a folder of its own.

    Args:
        folder: where; made.
        message_header: another name of the header with a dead letter's cause, which the packaged code
            alone writes: it tells whether that code runs, or this checkout's.
    """

    def __init__(self, folder: Path, message_header: str | None = None) -> None:
        package(JAR, folder)
        self.job = folder / "score_events.py"
        self.jar = folder / "modelstream-flink.jar"
        self.code = folder / "modelstream.zip"
        if message_header is not None:
            self.replace("udfs/records.py", '"ms-message"', f'"{message_header}"')

    def replace(self, path: str, old: str, new: str) -> None:
        """Change the text of a packaged file, which has what is replaced once."""
        with zipfile.ZipFile(self.code) as archive:
            sources = {entry: archive.read(entry) for entry in archive.namelist()}
        assert sources[path].count(old.encode()) == 1
        sources[path] = sources[path].replace(old.encode(), new.encode())
        with zipfile.ZipFile(self.code, "w") as archive:
            for entry, source in sources.items():
                archive.writestr(entry, source)


def zip_environment(folder: Path) -> Path:
    """A virtual environment as `-pyarch` takes it: copies, because links do not survive.

    It stays small by having the packages of this one, where they are.
    """
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", environment], check=True)
    packages = environment / "lib" / "python3.11" / "site-packages"
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return Path(shutil.make_archive(str(environment), "zip", folder, "venv"))
