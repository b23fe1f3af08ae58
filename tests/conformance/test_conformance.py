"""Published models give their published outputs through `modelstream score`."""

import subprocess
import sys
from pathlib import Path

import pytest

from udfs.scorers import FORMATS

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT.parent / "shared" / "conformance"
# What the case files call a format, where it is not our name.
CASE_NAMES = {"tensorflow": "tf"}


@pytest.mark.skipif(not (CONFORMANCE / "run.py").is_file(), reason=f"no published models at {CONFORMANCE}")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("format_name", FORMATS)
def test_published_models_give_their_published_outputs(format_name: str) -> None:
    case_name = CASE_NAMES.get(format_name, format_name)
    command = [sys.executable, str(CONFORMANCE / "run.py"), "--verbose", "--format", case_name]
    score = f"{sys.executable} -m cli.main score"
    done = subprocess.run(
        [*command, "--command", score], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{case_name} " in done.stdout
