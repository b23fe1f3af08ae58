"""Say in one line each what this machine has, and how to get what is missing.

Runs with any Python 3 and without any package: ``python3 devtools/doctor.py``. Ends with status 1 when
something is missing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DISK_GIB = 8
MEMORY_GIB = 6


class Finding(NamedTuple):
    """What was found of one thing that is needed; ``remedy`` is empty when it is there."""

    need: str
    found: str
    remedy: str = ""


def python() -> Finding:
    """Python 3.11, with the module that makes virtual environments."""
    need = "Python 3.11"
    version = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    found = [(name, _output([name, "-c", version])) for name in ("python3.11", "python3", "python")]
    right = next((pair for pair in found if pair[1].startswith("3.11.")), None)
    if right is None:
        other = next((text for _, text in found if text), "none")
        return Finding(
            need, other, "apt install python3.11-venv, brew install python@3.11, or pyenv install 3.11"
        )
    if not _output([right[0], "-c", "import ensurepip, venv; print('both')"]):
        return Finding(need, f"{right[1]} without venv", "apt install python3.11-venv")
    return Finding(need, right[1])


def java() -> Finding:
    """JDK 17: its ``java`` and its ``javac``."""
    need = "JDK 17"
    remedy = "apt install openjdk-17-jdk or brew install openjdk@17; JAVA_HOME, if set, must be that JDK"
    home = os.environ.get("JAVA_HOME")
    folder = str(Path(home, "bin")) + os.sep if home else ""
    runtime = re.search(r'version "([^"]+)"', _output([f"{folder}java", "-version"]))
    compiler = re.search(r"javac (\S+)", _output([f"{folder}javac", "-version"]))
    if runtime is None:
        return Finding(need, "none", remedy)
    if runtime[1].partition(".")[0] != "17":
        return Finding(need, f"java {runtime[1]}", remedy)
    if compiler is None or compiler[1].partition(".")[0] != "17":
        return Finding(need, f"java {runtime[1]}, javac {compiler[1] if compiler else 'missing'}", remedy)
    return Finding(need, runtime[1])


def maven() -> Finding:
    """Maven 3.6 or newer."""
    need, remedy = "Maven 3.6", "apt install maven or brew install maven"
    version = re.search(r"Apache Maven (\d+)\.(\d+)\S*", _output(["mvn", "--version"]))
    if version is None:
        return Finding(need, "none", remedy)
    old = (int(version[1]), int(version[2])) < (3, 6)
    return Finding(need, version[0].rpartition(" ")[2], remedy if old else "")


def disk(folder: Path) -> Finding:
    """Room for the virtual environment, the jars and a broker's data."""
    free = shutil.disk_usage(folder).free / 2**30
    remedy = f"free some on the disk of {folder}" if free < DISK_GIB else ""
    return Finding(f"{DISK_GIB} GiB of disk", f"{free:.1f} GiB free", remedy)


def memory() -> Finding:
    """Memory for a broker, a Flink cluster and four formats' libraries at once."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    # A machine sold as 6 GiB shows a little less.
    remedy = "use a larger machine" if total < MEMORY_GIB * 0.9 else ""
    return Finding(f"{MEMORY_GIB} GiB of memory", f"{total:.1f} GiB", remedy)


def main() -> int:
    """Print a line for each thing needed.

    Returns:
        0 when all is there, else 1.
    """
    findings = [python(), java(), maven(), disk(Path(__file__).resolve().parent), memory()]
    for finding in findings:
        mark, advice = ("missing", f"; {finding.remedy}") if finding.remedy else ("ok", "")
        sys.stdout.write(f"{mark:8}{finding.need:18}{finding.found}{advice}\n")
    return int(any(finding.remedy for finding in findings))


def _output(command: Sequence[str]) -> str:
    """What a command writes, both streams; empty when it is not there or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    text = done.stdout.decode("utf-8", "replace")
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
