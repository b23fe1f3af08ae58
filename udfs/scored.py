"""What a subtask has scored: how many events with which version, and up to which times. Plain data."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from udfs.records import ModelId

_ELSEWHERE = ""
"""The name under which one time is kept for all events that their model did not score: no model has it."""

_decoder = msgspec.json.Decoder(dict[str, int])


class ScoredEvents:
    """Counts of this attempt, and the highest event time of each model, which outlives it."""

    def __init__(self) -> None:
        self.counts: dict[ModelId, int] = defaultdict(int)
        self.highest: dict[str, int] = {}
        """By the name of the model; under no name, of events that the model they name did not score."""
        self.before: dict[str, int] = {}
        """The highest times of what earlier attempts scored."""

    def add(self, model: ModelId, at: NDArray[np.int64]) -> None:
        """Note that a version scored events.

        Args:
            model: the version.
            at: times of N events, ms since 1970; N is not 0.
        """
        self.counts[model] += len(at)
        self.highest[model.name] = max(self.highest.get(model.name, -1), int(at.max()))

    def move(self, asked: ModelId, scored: ModelId) -> None:
        """Note that another version scored an event than the one that it was noted of."""
        self.counts[asked] -= 1
        self.counts[scored] += 1

    def add_elsewhere(self, at: NDArray[np.int64]) -> None:
        """Note that no version of the model that events name scored them.

        Args:
            at: times of N events, ms since 1970; N is not 0.
        """
        self.highest[_ELSEWHERE] = max(self.highest.get(_ELSEWHERE, -1), int(at.max()))

    def may_have_missed(self, name: str, since: int) -> bool:
        """Whether earlier attempts may have had events past a time that a model was to score."""
        return max(self.before.get(name, -1), self.before.get(_ELSEWHERE, -1)) >= since

    def adopt(self, state: Iterable[str]) -> None:
        """Go on from what other attempts, or other subtasks before a rescaling, had scored."""
        for text in state:
            for name, highest in _decoder.decode(text).items():
                self.highest[name] = max(self.highest.get(name, -1), highest)
                self.before[name] = max(self.before.get(name, -1), highest)

    def encode(self) -> list[str]:
        """The highest times, as the state keeps them."""
        return [msgspec.json.encode(self.highest).decode()] if self.highest else []
