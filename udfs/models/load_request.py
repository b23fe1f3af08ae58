"""What a process is told that loads a version for another one."""

import json
from importlib import import_module
from pathlib import Path

import msgspec

from udfs.errors import ModelLoadError
from udfs.models.loaded import LoadScorer
from udfs.models.updates import Artifact, PublishModel


class LoadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to load."""

    published: PublishModel
    artifact: str
    """Its file, local and verified."""
    formats: tuple[str, ...]
    """Formats that may be served."""
    load_scorer: str
    """``module:function`` that loads a file with its format's scorer."""

    def encode(self) -> bytes:
        """As JSON, which keeps NaN and infinity in the data of checks.

        Raises:
            ModelLoadError: options or checks are nested too deeply.
        """
        try:
            return json.dumps(msgspec.to_builtins(self)).encode()
        except RecursionError as error:
            raise ModelLoadError(f"{self.published.model}: options or checks nested too deeply") from error

    def find_loader(self) -> LoadScorer:
        """The function that loads."""
        module, _, function = self.load_scorer.partition(":")
        loader: LoadScorer = getattr(import_module(module), function)
        return loader


def without_bytes(published: PublishModel, artifact: Path) -> PublishModel:
    """A version whose bytes are in a file, without those that it may hold itself."""
    assert published.artifact is not None  # there is a file
    elsewhere = Artifact(published.artifact.sha256, uri=artifact.as_uri())
    return msgspec.structs.replace(published, artifact=elsewhere)
