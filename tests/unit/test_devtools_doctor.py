"""The doctor names what is missing, and how to get it."""

import subprocess
import sys
from pathlib import Path

import pytest

from devtools import ROOT, doctor


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH: programs are what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def add(folder: Path, name: str, says: str, status: int = 0) -> None:
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    program.chmod(0o755)


def test_python_3_11_is_found_under_any_of_its_names(tools: Path) -> None:
    add(tools, "python3", "3.11.9")
    assert doctor.python() == doctor.Finding("Python 3.11", "3.11.9")


def test_another_python_is_not_enough(tools: Path) -> None:
    add(tools, "python3", "3.12.1")
    finding = doctor.python()
    assert finding.found == "3.12.1"
    assert "python3.11-venv" in finding.remedy


def test_no_java_is_missing(tools: Path) -> None:
    assert "openjdk-17-jdk" in doctor.java().remedy


def test_jdk_17_is_enough(tools: Path) -> None:
    add(tools, "java", 'openjdk version "17.0.15" 2025-04-15')
    add(tools, "javac", "javac 17.0.15")
    assert doctor.java() == doctor.Finding("JDK 17", "17.0.15")


def test_a_runtime_without_a_compiler_is_not_enough(tools: Path) -> None:
    add(tools, "java", 'openjdk version "17.0.15" 2025-04-15')
    assert doctor.java().found == "java 17.0.15, javac missing"
    assert doctor.java().remedy


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "21.0.1", "170.0.1"])
def test_another_java_is_not_enough(tools: Path, version: str) -> None:
    add(tools, "java", f'openjdk version "{version}"')
    add(tools, "javac", f"javac {version}")
    assert doctor.java().remedy


def test_java_home_goes_before_path(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tools, "java", 'openjdk version "17.0.15"')
    add(tools, "javac", "javac 17.0.15")
    add(tools / "other" / "bin", "java", 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tools / "other"))
    assert doctor.java().found == "java 11.0.2"


@pytest.mark.parametrize(
    ("version", "enough"), [("3.6.0", True), ("3.10.1", True), ("4.0.0", True), ("3.5.4", False)]
)
def test_maven_is_compared_by_numbers(tools: Path, version: str, enough: bool) -> None:
    add(tools, "mvn", f"Apache Maven {version} (hash)")
    finding = doctor.maven()
    assert (finding.found, not finding.remedy) == (version, enough)


def test_a_program_that_fails_counts_as_missing(tools: Path) -> None:
    add(tools, "mvn", "Apache Maven 3.9.0", status=1)
    assert doctor.maven().remedy


def test_the_status_says_that_something_is_missing(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "Maven" in line] == [
        "missing Maven 3.6         none; apt install maven or brew install maven"
    ]


def test_the_doctor_needs_no_packages() -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "devtools" / "doctor.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 5, done.stderr
