"""Files that must stay as they are, and an address that nobody may call."""

import select
import socket
from collections.abc import Iterator

import pytest

from tests.hostile.refusals import Surroundings


@pytest.fixture
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """Files and an address that nothing may touch, and did not when the test is over."""
    folder = tmp_path_factory.mktemp("surroundings")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Surroundings(folder, server.getsockname()[1])
        called, _, _ = select.select([server], [], [], 0)
        assert not called, "an artifact made a connection"
    assert [path.name for path in folder.iterdir()] == ["secret.txt"]
    assert (folder / "secret.txt").read_text() == "secret\n"
