"""What came out of the job, counted."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from connectors.client import Record
from udfs.records import Header, ModelStatus, Prediction

SPECIES = "species"
"""The header of an event that has the flower's true name; it comes back on the prediction."""

_read_prediction = msgspec.json.Decoder(Prediction).decode


@dataclass
class VersionTally:
    """What one version of a model said."""

    predictions: int = 0
    right: int = 0
    latencies_ms: list[int] = field(default_factory=list)

    def latency_ms(self, percentile: float) -> float:
        """A percentile of the time from sending an event to reading its prediction."""
        return float(np.percentile(self.latencies_ms, percentile))


class Tally:
    """Counts predictions by version and dead letters by stage."""

    def __init__(self) -> None:
        self.versions: dict[str, VersionTally] = defaultdict(VersionTally)
        self.dead_letters: Counter[str] = Counter()
        self.sources: set[bytes | None] = set()
        """Where the events that came to an end were in their topic."""
        self.statuses: dict[str, ModelStatus] = {}
        self.longest_gap_ms: dict[str, float] = defaultdict(float)
        """By model's name: the longest time between two readings of its predictions."""
        self._last_read_ms: dict[str, float] = {}

    @property
    def predictions(self) -> int:
        """Predictions of all versions."""
        return sum(version.predictions for version in self.versions.values())

    @property
    def events(self) -> int:
        """Events that came to an end: as a prediction, or as a dead letter."""
        return self.predictions + self.dead_letters.total() - self.dead_letters["update"]

    def adds_up_to(self, sent: int) -> bool:
        """Whether that many events came to an end, and none of them twice."""
        return self.events == len(self.sources) == sent

    def add_predictions(self, records: Iterable[Record], now_ms: float) -> None:
        """Count predictions that were read at ``now_ms``, milliseconds since 1970."""
        for record in records:
            self.sources.add(record.header(Header.SOURCE))
            prediction = _read_prediction(record.value or b"")
            model = prediction.model
            gap = now_ms - self._last_read_ms.get(model.name, now_ms)
            self.longest_gap_ms[model.name] = max(self.longest_gap_ms[model.name], gap)
            self._last_read_ms[model.name] = now_ms
            version = self.versions[f"{model.name}:{model.version}"]
            version.predictions += 1
            version.right += _label(prediction.outputs).encode() == record.header(SPECIES)
            version.latencies_ms.append(round(now_ms - (record.timestamp or 0)))

    def add_dead_letters(self, records: Iterable[Record]) -> None:
        """Count dead letters."""
        for record in records:
            stage = (record.header(Header.STAGE) or b"?").decode()
            self.dead_letters[stage] += 1
            if stage != "update":
                self.sources.add(record.header(Header.SOURCE))

    def add_statuses(self, records: Iterable[Record]) -> None:
        """Keep the newest word on each version."""
        for record in records:
            status = msgspec.json.decode(record.value or b"", type=ModelStatus)
            self.statuses[str(status.model)] = status


def _label(outputs: object) -> str:
    """The species that a model says: a local one's `label`, or MLServer's `predict`, an array of one."""
    if not isinstance(outputs, dict):
        return ""
    label = outputs.get("label", outputs.get("predict"))
    return str(label[0] if isinstance(label, list) and label else label)
