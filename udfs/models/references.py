"""The version that scores what an event names: the catalog's, or its fallback."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from udfs.answers import Answer, Answers
from udfs.engine import LoadedModel
from udfs.errors import Absence, ResolveError
from udfs.missing import MissingPolicies
from udfs.models.serving import Serving
from udfs.models.timeline import boundaries_of, holding, timeline_of
from udfs.records import ModelId
from udfs.scored import ScoredEvents


class ServedReferences:
    """Answers for what events name, with the fallbacks that are configured.

    Args:
        serving: what is loaded.
        missing: what becomes of events whose model is missing or failed.
        scored: counts what versions score.
        answers: remembers what answered.
    """

    def __init__(
        self, serving: Serving, missing: MissingPolicies, scored: ScoredEvents, answers: Answers
    ) -> None:
        self._serving = serving
        self._missing = missing
        self._scored = scored
        self._answers = answers

    @property
    def changes(self) -> int:
        """How often what serves may have changed."""
        return self._serving.changes

    def boundaries(self, reference: str) -> Sequence[int]:
        """The event times at which another version scores what names a model, ascending."""
        own, policy = self._serving.boundaries(reference), self._missing.of(reference)
        if not isinstance(policy, ModelId):
            return own
        return sorted({*own, *self._serving.boundaries(str(policy))})

    def serve(self, reference: str, at: int) -> LoadedModel:
        """The version that scores what names a model: another one, where a fallback is configured.

        Raises:
            ResolveError: there is none.
        """
        try:
            return self._serving.serve(reference, at)
        except ResolveError as error:
            policy = self._missing.of(reference)
            if error.absence is Absence.LOADING or not isinstance(policy, ModelId):
                raise
            try:
                return self._serving.serve(str(policy), at)
            except ResolveError as other:
                raise ResolveError(f"{error}; its fallback: {other}", other.absence) from error

    def serve_itself(self, reference: str, at: int) -> LoadedModel:
        """The version that scores what names a model, whatever is configured for its absence.

        Raises:
            ResolveError: there is none.
        """
        return self._serving.serve(reference, at)

    def note(self, reference: str, model: LoadedModel, at: NDArray[np.int64]) -> None:
        """Count the events that a version scored, and remember that it did."""
        scored_by = _id_of(model)
        self._scored.add(scored_by, at)
        self._answers.add(reference, scored_by, at)
        if name_of(reference) != scored_by.name:
            self._scored.add_elsewhere(at)

    def note_fallback(self, asked: LoadedModel | None, answered: LoadedModel) -> None:
        """Count for one version what another was asked and did not answer."""
        if asked is not None:
            self._scored.move(_id_of(asked), _id_of(answered))

    def note_absent(self, reference: str, at: int) -> None:
        """Remember that nothing scored an event, which is a dead letter for that."""
        times = np.array([at], np.int64)
        self._answers.add(reference, None, times)
        self._scored.add_elsewhere(times)

    def absence(self, reference: str, at: int) -> ResolveError | None:
        """Why events of a time that name a model can't be scored."""
        try:
            self.serve(reference, at)
        except ResolveError as error:
            return error
        return None

    def concern(self, reference: str, name: str) -> bool:
        """Whether versions of a model of some name may score what an event names."""
        policy = self._missing.of(reference)
        return name_of(reference) == name or (isinstance(policy, ModelId) and policy.name == name)

    def by_catalog(
        self, reference: str, failed: Collection[ModelId], since: int | None = None
    ) -> tuple[Sequence[int], Sequence[Answer]]:
        """What scores the events that name a model as the catalog says, loaded or not.

        Args:
            reference: what they name.
            failed: versions that others stand in for, since they can't be loaded.
            since: the event time from which an update has just changed that, if it has.

        Returns:
            N event times, ascending, and the answers of the N + 1 periods between them. An activation
            without a time draws no line that another run would draw: what it changed does not count.
        """
        policy = self._missing.of(reference)
        names = [reference, str(policy)] if isinstance(policy, ModelId) else [reference]
        # Of all activations: where some have failed, others hold that their timeline does not have.
        boundaries = {time for name in names for time in self._boundaries(name)}
        if since is not None:
            boundaries.add(since)  # it may go on with what is so before it
        times = sorted(boundaries)
        model = self._serving.catalog.models.get(reference)
        timeline = () if model is None else model.timeline
        answers = []
        for time in [times[0] - 1, *times] if times else [-1]:
            period = holding(timeline, time)
            is_since = since is not None and time >= since
            counts = is_since or period is None or period.effective_from is not None
            found = (self._in_catalog(name, time, failed) for name in names)
            answers.append(Answer(next(filter(None, found), None), counts))
        return times, answers

    def _boundaries(self, reference: str) -> Sequence[int]:
        catalog = self._serving.catalog
        model = catalog.models.get(reference)
        return catalog.boundaries(reference) if model is None else boundaries_of(model.activations)

    def _in_catalog(self, reference: str, at: int, failed: Collection[ModelId]) -> ModelId | None:
        catalog = self._serving.catalog
        model = catalog.models.get(reference)
        if model is not None:
            able = (one for one in model.activations if ModelId(reference, one.version) not in failed)
            period = holding(timeline_of(able), at)
            return None if period is None else ModelId(reference, period.version)
        try:
            found = catalog.resolve(reference, at)
        except ResolveError:
            return None
        return None if found in failed else found


def _id_of(model: LoadedModel) -> ModelId:
    return ModelId(model.served.name, model.served.version)


def name_of(reference: str) -> str:
    """The name of the model in what an event names: ``iris`` of ``iris:1`` and of ``iris``."""
    return reference.rpartition(":")[0] or reference
