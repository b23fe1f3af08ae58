"""The command as a program, with a job's topics, and a model's file."""

from pathlib import Path

import pytest

from devtools.broker import Broker
from tests.conftest import MakeTopics
from tests.integration.command_line import CommandLine


@pytest.fixture
def modelstream(broker: Broker, topics: MakeTopics) -> CommandLine:
    made = topics()
    return CommandLine(broker.bootstrap, made, made.events)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "iris.onnx"
    path.write_bytes(b"a model")
    return path
