"""Whether each event had exactly one outcome, of the version that it names, in its key's order.

Pure functions over what was sent and what a read_committed consumer read.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from udfs.json_values import JsonValue
from udfs.models.checks import find_difference
from udfs.records import ModelId, ServedModel

_ROUNDING = 1e-6
"""A batch may be summed in another order than an event alone."""


class Outcome(NamedTuple):
    """What became of an event: a prediction or a dead letter."""

    event: int
    """The event's sequence number."""
    key: bytes
    """The key of the outcome's record."""
    model: ServedModel | None = None
    """The version that scored it; None: a dead letter."""
    outputs: JsonValue = None


class Version(NamedTuple):
    """A version that was published."""

    sha256: str
    outputs: Callable[[int], JsonValue]
    """What it says of an event, by sequence number; worked out offline."""


class Switch(NamedTuple):
    """An activation with an event time."""

    at: int
    """The event time from which ``after`` scores, and ``before`` no more."""
    before: ModelId
    after: ModelId
    events: range
    """Those that came while no other update said who scores."""


class Findings(NamedTuple):
    """How many events, or outcomes, were wrong in each way."""

    lost: int = 0
    """Events without an outcome."""
    duplicated: int = 0
    """Outcomes beyond an event's first."""
    reordered: int = 0
    """First outcomes behind one of a later event of their key; of predictions and dead letters apart."""
    wrongly_attributed: int = 0
    """Predictions that name a version that was not published, another sha256 than its, or that have
    other outputs than it gives."""
    unknown: int = 0
    """Outcomes of events that were not sent, or under another key."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        return not any(self)


def verify(
    sent: Mapping[int, bytes], outcomes: Iterable[Outcome], versions: Mapping[ModelId, Version]
) -> Findings:
    """Compare what was read with what was sent.

    Args:
        sent: the key of each event by its sequence number; those of a key were sent in rising order.
        outcomes: predictions and dead letters; those of a key in the order of their partition.
        versions: every version that was published.
    """
    times: Counter[int] = Counter()
    highest: dict[tuple[bytes, bool], int] = {}
    reordered = wrongly_attributed = unknown = 0
    for outcome in outcomes:
        wrongly_attributed += not _is_rightly_attributed(outcome, versions)
        if sent.get(outcome.event) != outcome.key:
            unknown += 1
            continue
        times[outcome.event] += 1
        if times[outcome.event] > 1:
            continue
        line = (outcome.key, outcome.model is None)
        reordered += outcome.event < highest.get(line, outcome.event)
        highest[line] = max(outcome.event, highest.get(line, outcome.event))
    return Findings(
        lost=len(sent) - len(times),
        duplicated=times.total() - len(times),
        reordered=reordered,
        wrongly_attributed=wrongly_attributed,
        unknown=unknown,
    )


def mistimed(outcomes: Iterable[Outcome], switches: Iterable[Switch], time_of: Callable[[int], int]) -> int:
    """How many predictions another version made than the one of their event's time.

    Args:
        outcomes: as for `verify`.
        switches: of one model each, their events apart.
        time_of: an event's time, by its sequence number.
    """
    made = [(one.event, ModelId(one.model.name, one.model.version)) for one in outcomes if one.model]
    return sum(
        said != (switch.before if time_of(event) < switch.at else switch.after)
        for switch in switches
        for event, said in made
        if event in switch.events and said.name == switch.after.name
    )


def _is_rightly_attributed(outcome: Outcome, versions: Mapping[ModelId, Version]) -> bool:
    if outcome.model is None:
        return True
    version = versions.get(ModelId(outcome.model.name, outcome.model.version))
    return (
        version is not None
        and outcome.model.sha256 == version.sha256
        and find_difference(version.outputs(outcome.event), outcome.outputs, _ROUNDING) is None
    )
