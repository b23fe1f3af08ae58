"""Events of one subtask that wait for their model: who may, who goes on, and who has waited long enough."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from udfs.batches import read_key
from udfs.errors import Absence, ResolveError
from udfs.held import HeldEvent, HeldEvents
from udfs.missing import MissingPolicies


class Models(Protocol):
    """What is asked of the models of a subtask."""

    @property
    def changes(self) -> int:
        """How often what serves may have changed."""
        ...

    def boundaries(self, reference: str) -> Sequence[int]:
        """The event times at which another version scores what names a model, ascending."""
        ...

    def absence(self, reference: str, at: int) -> ResolveError | None:
        """Why events of a time that name a model can't be scored, whatever waits before them."""
        ...


class Leaving(NamedTuple):
    """What waits no more."""

    ready: list[HeldEvent]
    """Their model is there."""
    dead: list[tuple[HeldEvent, ResolveError]]
    """They have none."""


class WaitingEvents:
    """Holds events in order: behind one that waits all others of its key wait that name the same.

    Args:
        held: where they are.
        models: what they wait for.
        missing: what becomes of events whose model is missing or failed.
        running_time: seconds of running time.
    """

    def __init__(
        self, held: HeldEvents, models: Models, missing: MissingPolicies, running_time: Callable[[], float]
    ) -> None:
        self._held = held
        self._models = models
        self._missing = missing
        self._running_time = running_time
        self._asked = -1
        """The count of changes for which every held event has been asked for."""
        self._ahead: dict[str, dict[bytes | None, ResolveError]] = {}
        """Why the first event of a key waits, by what it names and its key."""
        self._why: dict[tuple[str, int], ResolveError | None] = {}
        """Why what is held can't be scored, by what it names and the period of its time."""

    def restore(self, state: Sequence[HeldEvent]) -> None:
        """Go on from the state of an earlier attempt, or of another subtask before a rescaling."""
        self._held.add_restored(state, self._running_time())
        self._asked = -1

    def encode(self) -> list[str]:
        """Everything that waits, as the state keeps it."""
        return self._held.encode(self._running_time())

    def ahead(self, reference: str) -> Mapping[bytes | None, ResolveError]:
        """The keys of the events that wait for what they name, and why they wait; None is never there."""
        return self._ahead.get(reference, _NOBODY)

    def may_wait(self, reference: str, error: ResolveError) -> bool:
        """Whether an event that nothing scores is held, where there is room."""
        if error.absence is Absence.LOADING:
            return True
        return error.absence is not Absence.FOR_EVER and self._missing.holds(reference)

    def must_wait_for_room(self, event: HeldEvent, error: ResolveError) -> bool:
        """Whether an event's model is being loaded, and there is no room to hold it."""
        return error.absence is Absence.LOADING and not self._held.has_room_for(event)

    def hold(self, event: HeldEvent, error: ResolveError) -> ResolveError | None:
        """Hold an event that can't be scored; or say why it can't be held."""
        if not self.may_wait(event.reference, error):
            return error
        if not self._held.has_room_for(event):
            return ResolveError(f"{error}; no room to hold it (missing_model.max_events, max_bytes)")
        self._held.add([event], self._running_time())
        self._put_ahead(event, error)
        return None

    def take(self) -> Leaving:
        """What leaves: its model is there, is given up, or its time is up."""
        leaving = Leaving([], [])
        now = self._running_time()
        # Asking is dear where much is held. The answer changes with the serving and with time alone: what
        # has come to be held since is not asked for.
        if self._asked == self._models.changes and now < self._held.due:
            return leaving
        self._asked = self._models.changes
        self._why.clear()
        self._ahead.clear()

        def leaves(event: HeldEvent, is_due: bool) -> bool:
            why = self._why_waiting(event)
            if why is None:
                waits = _key(event) in self._ahead.get(event.reference, _NOBODY)
                if not waits:
                    leaving.ready.append(event)
                return not waits
            if not self.may_wait(event.reference, why):
                leaving.dead.append((event, why))
                return True
            if is_due and why.absence is not Absence.LOADING:
                late = "the model did not come in time (missing_model.hold)"
                leaving.dead.append((event, ResolveError(f"{event.reference}: {late}")))
                return True
            self._put_ahead(event, why)
            return False

        self._held.take(leaves, now)
        return leaving

    def take_all(self, why: str) -> Leaving:
        """Hold nothing any more: what only stood behind others is ready, the rest is dead.

        Args:
            why: why nothing more is waited for.
        """
        leaving = Leaving([], [])
        self._why.clear()
        self._ahead.clear()
        for event in self._held.take_all():
            if self._why_waiting(event) is None:
                leaving.ready.append(event)
            else:
                leaving.dead.append((event, ResolveError(f"{event.reference}: {why}")))
        return leaving

    def _put_ahead(self, event: HeldEvent, error: ResolveError) -> None:
        key = _key(event)
        if key is not None:
            self._ahead.setdefault(event.reference, {}).setdefault(key, error)

    def _why_waiting(self, event: HeldEvent) -> ResolveError | None:
        """Why a held event can't be scored, asked once a model and period."""
        time = event.at
        key = event.reference, bisect_right(self._models.boundaries(event.reference), time)
        if key not in self._why:
            self._why[key] = self._models.absence(event.reference, time)
        return self._why[key]


_NOBODY: Mapping[bytes | None, ResolveError] = {}


def _key(event: HeldEvent) -> bytes | None:
    """The key of an event's record. Without one it has no order to keep: it waits alone."""
    return read_key(event.envelope) if event.envelope else None
