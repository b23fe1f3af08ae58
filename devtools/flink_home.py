"""A Flink distribution made of the PyPI wheel, which is one but for run bits and where a jar lies."""

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml

from devtools import ROOT

CONFIG = ROOT / "flink-conf"
"""The cluster configuration that the project recommends."""

Settings = Mapping[str, str | int | float | bool]
"""Flink's keys and their values."""


def make_flink_home(home: Path) -> None:
    """Make a folder that Flink's scripts take for its distribution; the wheel stays as it is.

    flink-python.jar lies in its ``lib/``, as embedded execution needs it.

    Args:
        home: the folder to make.
    """
    spec = find_spec("pyflink")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pyflink is not installed", name="pyflink")
    wheel = Path(spec.submodule_search_locations[0])
    # Scripts find the distribution by their own real path, so they are copied.
    shutil.copytree(wheel / "bin", home / "bin")
    for script in (home / "bin").iterdir():
        script.chmod(0o755)
    jars = {folder: list((wheel / folder).glob("*.jar")) for folder in ("lib", "opt")}
    jars["lib"] += (wheel / "opt").glob("flink-python-*.jar")
    for folder, found in jars.items():
        # Flink looks for jars without following a link to a folder.
        (home / folder).mkdir()
        for jar in found:
            (home / folder / jar.name).symlink_to(jar)
    (home / "plugins").symlink_to(wheel / "plugins")


def write_config(folder: Path, settings: Settings) -> None:
    """Write ``flink-conf/`` to a folder, with other settings over its own.

    Args:
        folder: the folder to make.
        settings: Flink's keys and values.
    """
    folder.mkdir()
    for logging in CONFIG.glob("log4j*.properties"):
        shutil.copy(logging, folder)
    usual = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**usual, **settings}, width=100_000)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
