"""What was measured, and how it is shown and kept."""

import json
import os
import platform
import time
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


def write(figures: list[Figure], path: Path) -> None:
    """Write ``results.json``."""
    machine = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }
    results = {
        "machine": machine,
        "versions": {package: version(package) for package in PACKAGES},
        "figures": [
            {**msgspec.to_builtins(figure), "value": float(f"{figure.value:.4g}")} for figure in figures
        ],
    }
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


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
