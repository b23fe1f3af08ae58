"""Which updates came too late: what they are about had been answered otherwise."""

from udfs.answers import Answers
from udfs.models.catalog import Catalog, Model
from udfs.models.references import ServedReferences, name_of
from udfs.models.serving import Serving
from udfs.models.status_changes import StatusChange
from udfs.models.updates import ModelUpdate, RetireModel
from udfs.records import ModelId
from udfs.reports import Late, Reports
from udfs.scored import ScoredEvents

_UNKNOWN = (
    "how many events it came too late for, if any, is not known: not all that was answered at or past its "
    "time is remembered"
)


class Lateness:
    """Compares what answered events with what would answer them, whenever that may have changed.

    Only what has an event time is told of: without one each subtask switches by itself.

    Args:
        serving: the catalog.
        models: what answers by it.
        answers: what has answered.
        scored: what earlier attempts had scored, as far as it is known.
        reports: where it is told.
    """

    def __init__(
        self,
        serving: Serving,
        models: ServedReferences,
        answers: Answers,
        scored: ScoredEvents,
        reports: Reports,
    ) -> None:
        self._serving = serving
        self._models = models
        self._answers = answers
        self._scored = scored
        self._reports = reports
        self._failed: set[ModelId] = set()
        """What was not loaded when it was last tried."""
        self._before_adoption: list[tuple[ModelId, int]] | None = []
        """Versions that came or went from an event time on, while it is not known what earlier attempts
        scored; None: it is known."""

    def start(self, restored: Catalog) -> None:
        """Note what is in the catalog at the start and was not in an attempt's state."""
        for name, model in self._serving.catalog.models.items():
            before = restored.models.get(name, Model(name))
            came = [one for one in model.timeline if one not in before.timeline]
            times = [(one.version, one.effective_from) for one in came]
            times += [one for one in model.leaving.items() if one not in before.leaving.items()]
            for version, since in times:
                if since is not None:
                    self._tell(ModelId(name, version), since, 0)

    def adopted(self) -> None:
        """All is known that earlier attempts have left."""
        waiting, self._before_adoption = self._before_adoption, None
        for model, since in waiting or ():
            self._tell(model, since, 0)

    def followed(self, update: ModelUpdate) -> None:
        """An update has changed the catalog."""
        name, since = update.model.name, update.effective_from
        if isinstance(update, RetireModel) and update.all:
            for reference in [one for one in self._answers if name_of(one) == name]:
                self._answers.drop(reference)
        events = self._settle(name, since)
        if since is not None and update.model.version is not None:
            self._tell(ModelId(name, update.model.version), since, events)

    def noted(self, change: StatusChange) -> None:
        """Something happened to a version."""
        if change.status == "failed":
            self._failed.add(change.model)
        elif change.status == "retired" and change.model not in self._serving.catalog:
            self._failed.discard(change.model)
        elif change.status == "ready" and change.model in self._failed:
            # What stood in for it answered events that it answers in another run.
            self._failed.discard(change.model)
            events = self._settle(change.model.name)
            if events:
                cause = f"it had failed to load: {events} events had been answered without it meanwhile"
                self._say(change.model, Late(events, self._since(change.model), cause))

    def _settle(self, name: str, since: int | None = None) -> int:
        """How many events a model's versions would answer otherwise, which are counted once."""
        return sum(
            self._settle_one(reference, since)
            for reference in [*self._answers]
            if self._models.concern(reference, name)
        )

    def _settle_one(self, reference: str, since: int | None) -> int:
        boundaries, now = self._models.by_catalog(reference, self._failed, since)
        return self._answers.settle(reference, boundaries, now)

    def _tell(self, model: ModelId, since: int, events: int) -> None:
        """Say that a version came or went too late from an event time on, if it did or may have."""
        if self._before_adoption is not None:
            self._before_adoption.append((model, since))
            return
        references = [one for one in self._answers if self._models.concern(one, model.name)]
        forgotten = max(map(self._answers.forgotten, [model.name, *references]))
        may_be_more = forgotten >= since or self._scored.may_have_missed(model.name, since)
        if events and may_be_more:
            cause = f"at least {events} events had been answered before it came: not all are remembered"
            self._say(model, Late(events, since, cause))
        elif events:
            self._say(model, Late(events, since))
        elif may_be_more:
            self._say(model, Late(None, since, _UNKNOWN))

    def _say(self, model: ModelId, late: Late) -> None:
        if model in self._serving.catalog:
            published = self._serving.catalog.models[model.name].versions[model.version]
            self._reports.say_late(model, published.identity(), late)

    def _since(self, model: ModelId) -> int | None:
        timeline = self._serving.catalog.models[model.name].timeline
        return next((one.effective_from for one in timeline if one.version == model.version), None)
