"""What a registry of formats is made of: names, and where the code of each is, imported on first use."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import NamedTuple

from udfs.errors import ModelLoadError


class Format(NamedTuple):
    """Where a format's code is, and what must be installed for it."""

    module: str
    group: str
    """Of optional dependencies."""
    requires: tuple[str, ...]
    """Modules."""
    distributions: tuple[str, ...]
    """What the modules are of."""


def import_format(formats: Mapping[str, Format], name: str) -> ModuleType:
    """Import a format's module, and with it the format's library.

    Raises:
        ModelLoadError: a format that is not among these, or a library that is missing.
    """
    spec = formats.get(name)
    if spec is None:
        raise ModelLoadError(f"unknown format {name!r}; known: {', '.join(sorted(formats))}")
    try:
        return importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in spec.requires:
            raise
        raise ModelLoadError(
            f"format {name!r} needs {error.name}, which is not installed: "
            f"pip install 'modelstream[{spec.group}]'"
        ) from error
