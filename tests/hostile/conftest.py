"""What attacks are tried against: files that must stay as they are, and an address that nobody may call."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.scorers import load_scorer


class Surroundings:
    """What an artifact has no business with. The fixture checks in the end that it was left alone.

    Attributes:
        secret: a file of others.
        written: a path where nothing is.
        port: of a server on loopback.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.secret = folder / "secret.txt"
        self.secret.write_text("secret\n")
        self.written = folder / "written"
        self.port = port

    @property
    def address(self) -> str:
        """A URL of the server."""
        return f"http://127.0.0.1:{self.port}"


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


def refusal(format_name: str, artifact: Path, **options: JsonValue) -> str:
    """Why an artifact is refused as a model."""
    with pytest.raises(ModelLoadError) as caught:
        load_scorer(format_name, artifact, options)
    return str(caught.value)
