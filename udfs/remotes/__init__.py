"""The protocols of remote models: a lazy registry from a format's name to its module."""

from udfs.formats import Format, import_format
from udfs.options import Options
from udfs.remotes.base import Connect, Remote, Surroundings

__all__ = ["REMOTES", "Remote", "Surroundings", "connect"]

REMOTES: dict[str, Format] = {
    "grpc": Format(
        "udfs.remotes.grpc",
        "grpc",
        ("grpc", "grpc_reflection", "google"),
        ("grpcio", "grpcio-reflection", "protobuf"),
    ),
    "mlflow": Format("udfs.remotes.mlflow", "", (), ("httpx",)),
    "open-inference": Format(
        "udfs.remotes.open_inference",
        "open-inference",
        ("tritonclient", "grpc", "google"),
        ("tritonclient", "grpcio"),
    ),
    "rest": Format("udfs.remotes.rest", "", (), ("httpx",)),
    "tensorflow-serving": Format(
        "udfs.remotes.tensorflow_serving",
        "tensorflow-serving",
        ("grpc", "google"),
        ("grpcio", "protobuf"),
    ),
}
"""Every protocol by the name that updates and the command line use as a format."""


def connect(format_name: str, options: Options, surroundings: Surroundings) -> Remote:
    """Make a remote of a version's options; the protocol's library is imported on first use. Nobody is asked.

    Args:
        format_name: a key of REMOTES.
        options: those of the protocol, as published, without those of the lane.
        surroundings: what the configuration lets remotes use.

    Raises:
        ModelLoadError: unknown protocol, a library that is missing, options that can't work, an endpoint that
            is not allowed, or credentials that are not there.
    """
    connect_remote: Connect = import_format(REMOTES, format_name).connect
    return connect_remote(options, surroundings)
