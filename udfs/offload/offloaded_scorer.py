"""An offloaded version as a scorer, for whoever waits for its answers."""

from collections.abc import Sequence

from udfs.errors import ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.lane import Lane
from udfs.offload.late_remote import LateRemote


class OffloadedScorer:
    """Scores through a lane. The job hands events to the lane itself; checks and the command line wait here.

    Args:
        lane: the version's.
        notes: what a model's owner should know of how it is scored.
        held: what must stay as long as it scores.
        late: what connects later; None: it is connected.
    """

    def __init__(
        self, lane: Lane, notes: tuple[str, ...] = (), held: object = None, late: LateRemote | None = None
    ) -> None:
        self.lane = lane
        self.notes = notes
        self._held = held
        self._late = late

    @property
    def is_connected(self) -> bool:
        """Whether what it asks has answered, and its checks have passed."""
        return self._late is None or self._late.is_open

    @property
    def failure(self) -> ModelLoadError | None:
        """Why it never serves, where that has shown since it was loaded."""
        return None if self._late is None else self._late.failure

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        """Score a batch, and wait for the answers; see `udfs.scorers.Scorer`."""
        return [
            ScoreError(str(result)) if isinstance(result, OffloadError) else result
            for result in self.lane.score(inputs)
        ]

    def close(self) -> None:
        """Have the lane end when all that it was given is answered."""
        self.lane.close()
