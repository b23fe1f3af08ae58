"""The command as a whole."""

import importlib
import subprocess
import sys

import pytest

from cli.main import COMMANDS


@pytest.mark.parametrize("module", COMMANDS.values())
def test_every_command_of_the_help_is_there(module: str) -> None:
    assert importlib.import_module(module).app.registered_commands


def test_the_help_lists_the_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "cli.main", "--help"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)
