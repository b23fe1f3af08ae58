"""What a subtask scores with, as updates come and loads succeed or fail."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.loads import make_serving, plain_load
from udfs.errors import (
    Absence,
    ArtifactError,
    ModelCrashedError,
    ModelLoadError,
    ModelstreamError,
    ResolveError,
)
from udfs.json_values import JsonValue
from udfs.models.catalog import Catalog
from udfs.models.serving import Serving
from udfs.models.updates import (
    ActivateModel,
    Artifact,
    Check,
    ModelUpdate,
    PublishModel,
    RetiredModel,
    RetireModel,
)
from udfs.records import ModelId
from udfs.scorers import Options


class FakeScorer:
    """Doubles numbers, and remembers that it was closed; stands in for a model."""

    def __init__(self, *, stateful: bool = False) -> None:
        self.stateful = stateful
        self.notes = ("a note",)
        self.closed = 0

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        return [2 * one if isinstance(one, int) else None for one in inputs]

    def close(self) -> None:
        self.closed += 1


class Files:
    """Fetches and loads what a test puts here; stands in for the store and the formats."""

    def __init__(self) -> None:
        self.broken: dict[str, Exception] = {}
        self.loaded: list[FakeScorer] = []
        self.stateful = False

    def fetch(self, artifact: Artifact) -> Path:
        error = self.broken.get(artifact.sha256)
        if isinstance(error, ArtifactError):
            raise error
        return Path(artifact.sha256)

    def load(self, format_name: str, path: Path, options: Options) -> FakeScorer:
        if path.name in self.broken:
            raise self.broken[path.name]
        self.loaded.append(FakeScorer(stateful=self.stateful))
        return self.loaded[-1]


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def serving(files: Files) -> Serving:
    return make_serving(plain_load(files.load, ("fake",), files.fetch), max_loaded=2)


def publish(
    version: int, name: str = "m", checks: tuple[Check, ...] = (), format_name: str = "fake"
) -> PublishModel:
    content = f"{name}:{version}".encode()
    artifact = Artifact(sha256=hashlib.sha256(content).hexdigest(), inline=content)
    return PublishModel(ModelId(name, version), format_name, artifact, checks=checks)


def sha256(update: PublishModel) -> str:
    assert update.artifact is not None
    return update.artifact.sha256


def follow(serving: Serving, *updates: ModelUpdate) -> list[ModelstreamError]:
    """Follow updates; the errors of those that were refused, or whose version failed."""
    errors = []
    for update in updates:
        try:
            serving.update(update, serving.catalog.offset + 1)
        except ModelstreamError as error:
            errors.append(error)
        if not isinstance(update, RetireModel) and (failure := serving.failure(update.model)):
            errors.append(failure)
    return errors


def says(serving: Serving) -> list[tuple[str, str]]:
    return [(str(change.model), change.status) for change in serving.take_changes()]


def test_a_published_version_serves_and_says_so(serving: Serving) -> None:
    assert follow(serving, publish(1)) == []

    assert str(serving.serve("m")) == "m:1"
    assert says(serving) == [("m:1", "loading"), ("m:1", "ready"), ("m:1", "active")]
    assert says(serving) == []


@pytest.mark.parametrize("error", [ModelLoadError("damaged"), ArtifactError("gone"), ValueError("foreign")])
def test_a_version_that_fails_leaves_the_running_one_serving(
    serving: Serving, files: Files, error: Exception
) -> None:
    files.broken[sha256(publish(2))] = error

    errors = follow(serving, publish(1), publish(2))

    assert str(error) in str(errors[0])
    assert str(serving.serve("m")) == "m:1"
    assert ("m:2", "failed") in says(serving)


def test_of_a_version_that_crashed_the_cause_says_so(serving: Serving, files: Files) -> None:
    files.broken[sha256(publish(1))] = ModelCrashedError("m:1 ended its process 2 times")

    follow(serving, publish(1))

    (failed,) = [change for change in serving.take_changes() if change.status == "failed"]
    assert failed.cause == "crashed: m:1 ended its process 2 times"


def test_publishing_it_again_tries_again(serving: Serving, files: Files) -> None:
    files.broken[sha256(publish(1))] = ArtifactError("the server is away")
    follow(serving, publish(1))
    with pytest.raises(ResolveError, match="the server is away"):
        serving.serve("m")
    files.broken.clear()

    follow(serving, publish(1))

    assert str(serving.serve("m")) == "m:1"


def test_going_back_needs_no_load(serving: Serving, files: Files) -> None:
    follow(serving, publish(1), publish(2), ActivateModel(ModelId("m", 1)))

    assert str(serving.serve("m")) == "m:1"
    assert len(files.loaded) == 2


def test_a_version_is_named_by_its_number_though_another_is_active(serving: Serving) -> None:
    follow(serving, publish(1), publish(2))

    assert str(serving.serve("m:1")) == "m:1"


def test_the_least_recently_used_is_closed_but_never_what_serves(serving: Serving, files: Files) -> None:
    follow(serving, publish(1), publish(2), publish(3))

    assert [scorer.closed for scorer in files.loaded] == [1, 0, 0]
    follow(serving, publish(1, "n"), publish(1, "o"))
    assert [str(serving.serve(name)) for name in ("m", "n", "o")] == ["m:3", "n:1", "o:1"]


def test_what_was_closed_is_loaded_again_on_demand(serving: Serving, files: Files) -> None:
    follow(serving, publish(1), publish(2), publish(3))

    with pytest.raises(ResolveError) as being_loaded:
        serving.serve("m:1")
    serving.poll()

    assert being_loaded.value.absence is Absence.LOADING
    assert str(serving.serve("m:1")) == "m:1"
    assert len(files.loaded) == 4


def test_a_model_with_state_of_its_own_is_refused_and_closed(serving: Serving, files: Files) -> None:
    files.stateful = True

    (error,) = follow(serving, publish(1))

    assert "would not survive a restart" in str(error)
    assert files.loaded[0].closed == 1


def test_a_format_that_is_not_allowed_is_refused(serving: Serving) -> None:
    (error,) = follow(serving, publish(1, format_name="other"))

    assert "format 'other' is not allowed here; models.formats: fake" in str(error)


def test_a_version_whose_check_differs_never_serves(serving: Serving, files: Files) -> None:
    (error,) = follow(serving, publish(1, checks=(Check(3, 6), Check(4, 9))))

    assert "check 2 differs: outputs: expected 9, got 8" in str(error)
    assert files.loaded[0].closed == 1
    with pytest.raises(ResolveError):
        serving.serve("m")


def test_a_check_allows_its_tolerance(serving: Serving) -> None:
    assert follow(serving, publish(1, checks=(Check(3, 6.05, tolerance=0.1),))) == []


def test_a_retired_version_is_closed_once(serving: Serving, files: Files) -> None:
    follow(serving, publish(1), publish(2), RetireModel(RetiredModel("m", 1)))

    assert [scorer.closed for scorer in files.loaded] == [1, 0]
    assert says(serving)[-1] == ("m:1", "retired")
    serving.close()
    assert [scorer.closed for scorer in files.loaded] == [1, 1]


def test_a_model_that_goes_whole_is_no_longer_found(serving: Serving) -> None:
    follow(serving, publish(1), publish(2), RetireModel(RetiredModel("m"), all=True))

    with pytest.raises(ResolveError):
        serving.serve("m")


def test_after_a_restart_the_newest_activation_that_loads_serves(files: Files) -> None:
    first = make_serving(plain_load(files.load, ("fake",), files.fetch), max_loaded=2)
    files.broken[sha256(publish(2))] = ModelLoadError("damaged")
    follow(first, publish(1), publish(2))

    again = make_serving(plain_load(files.load, ("fake",), files.fetch), max_loaded=2)
    again.start(first.catalog)

    assert str(again.serve("m")) == "m:1"
    assert isinstance(again.failure(ModelId("m", 2)), ModelLoadError)


def test_a_start_takes_back_what_was_said_of_versions_that_are_not_loaded_or_gone(files: Files) -> None:
    first = make_serving(plain_load(files.load, ("fake",), files.fetch))
    follow(
        first, publish(1), publish(2), publish(3), RetireModel(RetiredModel("m", 1)), publish(1, "of-a-key")
    )
    trusted = Catalog({"m": first.catalog.models["m"]}, first.catalog.offset)

    again = make_serving(plain_load(files.load, ("fake",), files.fetch))
    again.start(trusted, first.catalog)

    assert dict(says(again)) == {"m:1": "retired", "m:2": "closed", "m:3": "active", "of-a-key:1": "retired"}
