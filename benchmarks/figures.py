"""What was measured, and how it is shown and kept."""

import json
import os
import platform
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = ("apache-flink", "onnxruntime", "pypmml", "tensorflow", "titus2", "confluent-kafka", "orjson")


class Figure(msgspec.Struct, frozen=True):
    """One figure."""

    name: str
    value: float
    unit: str
    goal: str | None = None
    """What it should be, such as ``>= 6``; None where nothing was promised."""
    holds: bool | None = None


def at_least(name: str, value: float, unit: str, goal: float) -> Figure:
    """A figure that should not be smaller."""
    return Figure(name, value, unit, f">= {goal:g}", value >= goal)


def at_most(name: str, value: float, unit: str, goal: float) -> Figure:
    """A figure that should not be larger."""
    return Figure(name, value, unit, f"<= {goal:g}", value <= goal)


def calibrate() -> float:
    """Millions of turns a second of a plain Python loop: how fast this machine is at the moment."""
    started = time.perf_counter()
    total = 0
    for number in range(3_000_000):
        total += number
    return 3 / (time.perf_counter() - started)


def median(values: list[float]) -> float:
    """The middle one."""
    return float(np.median(values))


def write(figures: list[Figure], path: Path, *, keep_others: bool = False) -> None:
    """Write ``results.json``.

    Args:
        figures: what was measured.
        path: the file.
        keep_others: whether to keep what the file has of other figures.
    """
    machine = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }
    results: dict[str, object] = {
        "machine": machine,
        "versions": {package: version(package) for package in PACKAGES},
        "figures": [],
    }
    today = date.today().isoformat()  # the day of whoever measures
    named = _read(path) if keep_others else {}
    for figure in figures:
        value = float(f"{figure.value:.4g}")
        named[figure.name] = {**msgspec.to_builtins(figure), "value": value, "measured_on": today}
    results["figures"] = list(named.values())
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, dict[str, object]]:
    if not path.exists():
        return {}
    return {figure["name"]: figure for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]}


def show(figures: list[Figure], console: Console) -> None:
    """Print a table."""
    table = Table("figure", "value", "unit", "goal", "", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for figure in figures:
        verdict = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}[figure.holds]
        table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit, figure.goal or "", verdict)
    console.print(table)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
