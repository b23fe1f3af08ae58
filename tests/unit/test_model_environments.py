"""The model servers' environments are made once, and again when what they are made of changes."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devtools import model_environments
from devtools.model_environments import made
from devtools.processes import ProcessError


class Maker:
    """Makes a folder with a file, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        self.times += 1
        folder.mkdir()
        (folder / "file").write_text("made")


class Broken(Maker):
    """Fails half-way."""

    def __call__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise ProcessError("the network is down")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source.lock"
    source.write_text("package==1")
    return source


@pytest.fixture
def make(tmp_path: Path, source: Path) -> Callable[[Maker], Path]:
    return lambda maker: made(tmp_path / "servers" / "one", [source], maker, "Making one ...")


def test_what_is_missing_is_made(make: Callable[[Maker], Path]) -> None:
    assert (make(Maker()) / "file").read_text() == "made"


def test_what_is_there_is_not_made_again(make: Callable[[Maker], Path]) -> None:
    maker = Maker()
    make(maker)
    make(maker)
    assert maker.times == 1


def test_it_is_made_again_when_a_source_changes(make: Callable[[Maker], Path], source: Path) -> None:
    maker = Maker()
    make(maker)
    source.write_text("package==2")
    make(maker)
    assert maker.times == 2


def test_what_was_not_made_to_the_end_is_made_afresh(make: Callable[[Maker], Path]) -> None:
    with pytest.raises(ProcessError, match="the network is down"):
        make(Broken())
    assert not (make(Maker()) / "half").exists()


def test_who_comes_while_it_is_made_waits_for_it(make: Callable[[Maker], Path]) -> None:
    together = threading.Barrier(2)
    maker = Maker()

    def come(_: int) -> str:
        together.wait(60)
        return (make(maker) / "file").read_text()

    with ThreadPoolExecutor(2) as two:
        assert list(two.map(come, range(2))) == ["made", "made"]
    assert maker.times == 1


def test_making_says_a_line_once(make: Callable[[Maker], Path], capsys: pytest.CaptureFixture[str]) -> None:
    make(Maker())
    make(Maker())
    assert capsys.readouterr().err == "Making one ...\n"


def test_a_package_that_does_not_install_is_said_with_what_pip_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rest.lock").write_text("fastapi==0.165.0\n")
    monkeypatch.setattr(model_environments, "SOURCES", tmp_path)
    monkeypatch.setattr(model_environments, "_FOLDER", tmp_path / "servers")
    with pytest.raises(ProcessError, match=r"(?s)pip.* ended with status 1:.*hash"):
        model_environments.environment("rest")


@pytest.mark.parametrize("name", model_environments.NAMES)
def test_locks_have_versions_and_hashes_only(name: str) -> None:
    lines = (model_environments.SOURCES / f"{name}.lock").read_text().splitlines()
    kept = [line for line in lines if not line.lstrip().startswith("#")]
    assert kept
    assert [line for line in kept if "==" not in line and not line.startswith("    --hash=sha256:")] == []
