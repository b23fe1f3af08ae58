"""The formats: a lazy registry from a format's name to its module."""

import importlib
from pathlib import Path
from typing import NamedTuple

from udfs.errors import ModelLoadError
from udfs.scorers.base import Load, Options, Scorer

__all__ = ["FORMATS", "Format", "Options", "Scorer", "load_scorer", "warm_up_imports"]


class Format(NamedTuple):
    """Where a format's code is, and what must be installed for it."""

    module: str
    group: str
    requires: tuple[str, ...]


FORMATS: dict[str, Format] = {
    "onnx": Format("udfs.scorers.onnx", "onnx", ("onnxruntime", "onnx")),
    "pfa": Format("udfs.scorers.pfa", "pfa", ("titus",)),
    "pmml": Format("udfs.scorers.pmml", "pmml", ("pypmml",)),
    "tensorflow": Format("udfs.scorers.tensorflow", "tensorflow", ("tensorflow",)),
}
"""Every format by the name that updates and the command line use."""


def load_scorer(format_name: str, artifact: Path, options: Options) -> Scorer:
    """Load a model file with its format's scorer; the format's library is imported on first use.

    Args:
        format_name: a key of FORMATS.
        artifact: the model's file, local.
        options: the format's options, as published.

    Raises:
        ModelLoadError: unknown format, a library that is missing, or a file that can't be loaded.
    """
    return _load_function(format_name)(artifact, options)


def warm_up_imports(format_names: list[str]) -> None:
    """Import formats' libraries now, so that no event waits for an import later.

    A format whose library is missing is passed over: publishing a model of it says so.
    """
    for name in format_names:
        try:
            _load_function(name)
        except ModelLoadError:
            continue


def _load_function(format_name: str) -> Load:
    spec = FORMATS.get(format_name)
    if spec is None:
        raise ModelLoadError(f"unknown format {format_name!r}; known: {', '.join(sorted(FORMATS))}")
    try:
        module = importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in spec.requires:
            raise
        raise ModelLoadError(
            f"format {format_name!r} needs {error.name}, which is not installed: "
            f"pip install 'modelstream[{spec.group}]'"
        ) from error
    load: Load = module.load
    return load
