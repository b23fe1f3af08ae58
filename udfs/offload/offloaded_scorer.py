"""An offloaded version as a scorer, for whoever waits for its answers."""

from collections.abc import Sequence

from udfs.errors import OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.offload.lane import Lane


class OffloadedScorer:
    """Scores through a lane. The job hands events to the lane itself; checks and the command line wait here.

    Args:
        lane: the version's.
        is_reached: whether what it asks has answered yet.
        notes: what a model's owner should know of how it is scored.
        held: what must stay as long as it scores.
    """

    def __init__(
        self, lane: Lane, notes: tuple[str, ...] = (), held: object = None, *, is_reached: bool = True
    ) -> None:
        self.lane = lane
        self.is_reached = is_reached
        self.notes = notes
        self._held = held

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        """Score a batch, and wait for the answers; see `udfs.scorers.Scorer`."""
        return [
            ScoreError(str(result)) if isinstance(result, OffloadError) else result
            for result in self.lane.score(inputs)
        ]

    def close(self) -> None:
        """Have the lane end when all that it was given is answered."""
        self.lane.close()
