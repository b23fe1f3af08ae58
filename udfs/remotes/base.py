"""What a remote is: the one interface that every protocol implements, and what a protocol is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from udfs.errors import ScoreError
from udfs.json_values import JsonValue
from udfs.models.places import AllowedPlaces
from udfs.options import Options
from udfs.remotes.credentials import Credentials

Trace = Sequence[tuple[str, str]]
"""Headers of trace context (``traceparent``, ``tracestate``) that go with a request; lower-case names."""


class Remote(Protocol):
    """A model that something else scores: a server, or a process beside this one.

    Its coroutines run on one event loop, several of them at a time.
    """

    @property
    def endpoint(self) -> str:
        """Whom it asks, as people write it (``grpc://127.0.0.1:8081``). Remotes of one fail together."""
        ...

    @property
    def is_repeatable(self) -> bool:
        """Whether sending a request again does no harm."""
        ...

    @property
    def max_batch(self) -> int | None:
        """Most records that a request can hold, None: any number."""
        ...

    async def open(self, seconds: float) -> bool:
        """Get ready to score: read the model's metadata, where the protocol has such a thing.

        Called before `score`, and again after a fault.

        Returns:
            Whether it was asked for anything, and answered: only that shows that it is there.

        Raises:
            OffloadError: the server can't be reached, does not answer in time, or refuses.
            ModelLoadError: the options don't fit the model.
        """
        ...

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Score records with one request.

        Args:
            inputs: the ``data`` of N events, 1 <= N <= ``max_batch``.
            seconds: how long it may take.
            trace: what goes with the request.

        Returns:
            N results in the order of the inputs: the outputs, or a ScoreError of a record that is known to
            be bad without asking, or that the server names.

        Raises:
            OffloadError: the request as a whole failed; its ``fault`` says what may help.
        """
        ...

    async def close(self) -> None:
        """Free what it holds. Called once; nothing is scored afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the configuration lets remotes use.

    Attributes:
        places: endpoints that may be asked, with those that artifacts may come from.
        credentials: by the names that a version's option ``credentials`` may have.
    """

    places: AllowedPlaces = field(default_factory=AllowedPlaces)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)


Connect = Callable[[Options, Surroundings], Remote]
"""``connect(options, surroundings)`` of a protocol's module: reads options, asks nobody; ModelLoadError."""
