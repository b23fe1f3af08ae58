"""Events on their way to one version."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate

from udfs.engine import Offloaded
from udfs.held import HeldEvent
from udfs.offload.lane import Lane


class AskedEvents:
    """Events that name the same and are scored by one version, in their order; some have gone already.

    Args:
        reference: what they name.

    Attributes:
        indexes: where each is in its batch.
        offloaded: what is to be scored of each.
        events: the events.
        gone: how many have gone.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.indexes: list[int] = []
        self.offloaded: list[Offloaded] = []
        self.events: list[HeldEvent] = []
        self.gone = 0

    @property
    def lane(self) -> Lane:
        """Where they go."""
        lane = self.offloaded[0].model.lane
        assert lane is not None  # the version is offloaded
        return lane

    @property
    def left(self) -> Sequence[int]:
        """The indexes of those that have not gone."""
        return self.indexes[self.gone :]

    @cached_property
    def ends(self) -> Sequence[int]:
        """Bytes of the values of the first N of them together, from none on. All of them must be there."""
        return list(accumulate([len(event.value) for event in self.events], initial=0))


def by_version(
    asked: Iterable[tuple[int, Offloaded]], event_of: Callable[[int, str], HeldEvent]
) -> list[AskedEvents]:
    """Group events by what they name and the version that scores them.

    Args:
        asked: indexes of events, ascending, and what is to be scored of them.
        event_of: the event of an index that names a model.

    Returns:
        The groups, those that name the same in the order of their events: where versions take turns, each
        turn is a group.
    """
    groups: list[AskedEvents] = []
    latest: dict[str, AskedEvents] = {}
    for index, one in asked:
        event = event_of(index, one.reference)
        # Of a held event whose value names no model it is the default model of the time when it came.
        reference = event.reference
        group = latest.get(reference)
        if group is None or group.offloaded[0].model is not one.model:
            group = latest[reference] = AskedEvents(reference)
            groups.append(group)
        group.indexes.append(index)
        group.offloaded.append(one)
        group.events.append(event)
    return groups
