"""The formats: a lazy registry from a format's name to its module."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from udfs.errors import ModelLoadError
from udfs.formats import Format, import_format
from udfs.options import Options
from udfs.scorers.base import Load, Prepare, Scorer

__all__ = [
    "FORMATS",
    "Format",
    "Options",
    "Scorer",
    "library_version",
    "load_prepared",
    "load_scorer",
    "prepare",
    "warm_up_imports",
]


FORMATS: dict[str, Format] = {
    "onnx": Format("udfs.scorers.onnx", "onnx", ("onnxruntime", "onnx"), ("onnxruntime", "onnx")),
    "pfa": Format("udfs.scorers.pfa", "pfa", ("titus",), ("titus2",)),
    "pmml": Format("udfs.scorers.pmml", "pmml", ("pypmml",), ("pypmml",)),
    "tensorflow": Format("udfs.scorers.tensorflow", "tensorflow", ("tensorflow",), ("tensorflow", "keras")),
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
    load: Load = import_format(FORMATS, format_name).load
    return load(artifact, options)


def prepare(format_name: str, artifact: Path, prepared: Path) -> bool:
    """Write a file that loads in an artifact's place with less work, where its format has such a one.

    Args:
        format_name: a key of FORMATS.
        artifact: the model's file, local.
        prepared: where to; empty or not there.

    Returns:
        Whether there is such a file; False: the artifact is loaded as it is.

    Raises:
        ModelLoadError: unknown format, a library that is missing, or a file that can't be loaded.
    """
    prepare_artifact: Prepare | None = getattr(import_format(FORMATS, format_name), "prepare", None)
    return prepare_artifact is not None and prepare_artifact(artifact, prepared)


def load_prepared(format_name: str, prepared: Path, options: Options) -> Scorer:
    """Load what `prepare` wrote, as `load_scorer` would the artifact."""
    module = import_format(FORMATS, format_name)
    load: Load = getattr(module, "load_prepared", module.load)
    return load(prepared, options)


def library_version(format_name: str) -> str:
    """The versions of what a format runs on here: another may load a model in another way."""
    spec = FORMATS.get(format_name)
    found = []
    for name in spec.distributions if spec else ():
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def warm_up_imports(format_names: list[str]) -> None:
    """Import formats' libraries now, so that no event waits for an import later.

    A format whose library is missing is passed over: publishing a model of it says so.
    """
    for name in format_names:
        try:
            import_format(FORMATS, name)
        except ModelLoadError:
            continue
