"""A model of TensorFlow Serving, whichever way it is asked: what is wanted of it, and what it can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._tensorflow_serving_examples import Features
from udfs.remotes._tensorflow_serving_signature import Signature, TensorInfo
from udfs.remotes.base import Trace
from udfs.tensors.reader import Columns

Classes = list[tuple[str, float]]
"""The classes of one record: labels and scores."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which model is asked.

    Attributes:
        model: its name.
        version: its version; None: the label's, or the newest.
        label: the label of its version.
        signature: the name of the signature.
    """

    model: str
    version: int | None
    label: str | None
    signature: str


class ServedModel(Protocol):
    """A model as one of the two transports has it.

    Raises:
        OffloadError: each method but ``close``, as the endpoint says.
        ValueError: each method but ``close``: the answer can't be read; the text says why.
    """

    @property
    def endpoint(self) -> GrpcEndpoint | HttpEndpoint:
        """The server."""
        ...

    async def read_signatures(self, seconds: float) -> dict[str, Signature]:
        """Ask for the model's signatures."""
        ...

    async def predict(
        self, columns: Columns, outputs: Mapping[str, TensorInfo], seconds: float, trace: Trace
    ) -> dict[str, NDArray[Any]]:
        """Run the signature on the columns of some records; gives the outputs that are asked for."""
        ...

    async def classify(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[Classes]:
        """Classify records."""
        ...

    async def regress(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[float]:
        """Regress on records."""
        ...

    async def close(self) -> None:
        """Let go of the server."""
        ...
