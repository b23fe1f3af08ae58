"""What attacks are tried against, and how a refusal is told."""

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


def refusal(format_name: str, artifact: Path, **options: JsonValue) -> str:
    """Why an artifact is refused as a model."""
    with pytest.raises(ModelLoadError) as caught:
        load_scorer(format_name, artifact, options)
    return str(caught.value)
