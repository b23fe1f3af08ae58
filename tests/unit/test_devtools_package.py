"""What `make package` builds for `flink run`."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from devtools import ROOT
from devtools.package import zip_packages


def test_the_zip_is_the_same_bytes_for_the_same_code(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        zip_packages(tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_the_zip_holds_python_only(tmp_path: Path) -> None:
    zip_packages(tmp_path / "packed.zip")
    names = ZipFile(tmp_path / "packed.zip").namelist()
    assert {Path(name).suffix for name in names} == {".py", ".typed"}
    assert {name.partition("/")[0] for name in names} == {"cli", "connectors", "jobs", "udfs"}


def test_the_job_imports_from_the_zip_alone(tmp_path: Path) -> None:
    zip_packages(tmp_path / "packed.zip")
    script = "import jobs.config, udfs.engine; print(jobs.config.__file__)"
    environment = {"PYTHONPATH": str(tmp_path / "packed.zip")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_the_connectors_sources_stay_out(tmp_path: Path) -> None:
    assert (ROOT / "connectors" / "java").is_dir()
    zip_packages(tmp_path / "packed.zip")
    assert not any(name.startswith("connectors/java") for name in ZipFile(tmp_path / "packed.zip").namelist())
