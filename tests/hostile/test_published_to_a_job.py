"""A model that hurts its process, published to a running subtask: it fails, and the other model goes on."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.iris import train
from tests.hostile.artifacts import memory_hog, native_crash
from tests.loads import make_serving
from udfs.batches import (
    BatchKind,
    Envelope,
    OutcomeKind,
    decode_outcomes,
    encode_envelope,
    encode_events,
)
from udfs.held import HeldEvents
from udfs.missing import MissingPolicies
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.catalog import Catalog
from udfs.models.known import KnownCatalog
from udfs.models.load_ledger import LoadLedger
from udfs.models.loading import BackgroundLoader
from udfs.models.updates import Artifact, PublishModel, encode_update
from udfs.models.version_loading import LoadingSettings, VersionLoader
from udfs.outputs import OutputLimits
from udfs.records import ModelId, ModelStatus
from udfs.reports import Place
from udfs.scorers import FORMATS, load_scorer
from udfs.subtask import ScoringSubtask, Turn

SECONDS = 120.0
EVENT = {
    "model": "good",
    "data": {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
}


class Running:
    """A subtask of a job that serves a good model, with the loader that jobs have."""

    def __init__(self, folder: Path) -> None:
        settings = LoadingSettings(trial_process=True, deadline=SECONDS, fetch_attempts=1, max_memory=2 << 30)
        cache = ArtifactSettings(folder=str(folder / "cache"), max_bytes=1 << 30)
        versions = VersionLoader(
            lambda: ArtifactStore(cache), load_scorer, LoadLedger(folder / "cache"), tuple(FORMATS), settings
        )
        self._loader = BackgroundLoader(versions.load, settings.deadline)
        self.subtask = ScoringSubtask(
            Place("job", 0),
            make_serving(versions.load, max_catalog_bytes=1 << 30, loader=self._loader),
            OutputLimits(1 << 20, 1 << 20),
            HeldEvents(seconds=SECONDS, max_events=10, max_bytes=1 << 20),
            MissingPolicies(),
            None,
            time.monotonic,
            max_batch=(100, 1 << 20),
        )
        self.subtask.start(Catalog(), KnownCatalog())
        self._offset = 0
        fields = ",".join(EVENT["data"])
        train.write_onnx(train.fit_logistic_regression(), folder / "good.onnx")
        self.publish("good", "onnx", folder / "good.onnx", fields=fields)
        self.word_on("good", "active")

    def publish(self, name: str, format_name: str, file: Path, **options: str) -> None:
        content = file.read_bytes()
        artifact = Artifact(hashlib.sha256(content).hexdigest(), inline=content)
        update = PublishModel(ModelId(name, 1), format_name, artifact, options=dict(options))
        self.subtask.on_update(self._envelope(), encode_update(update))

    def word_on(self, name: str, phase: str, meanwhile: Callable[[], Turn] | None = None) -> ModelStatus:
        """The status that a model comes to; until then batches are scored, or the stream is silent."""
        ends_at = time.monotonic() + SECONDS
        while time.monotonic() < ends_at:
            turn = meanwhile() if meanwhile else self._silence()
            for status in turn.statuses:
                if status.model.name == name and status.status == phase:
                    return status
            self._loader.wait(0.05)
        raise AssertionError(f"{name} is not {phase}")

    def score(self) -> Turn:
        """Score an event of the good model, which gets its prediction at once."""
        record = (json.dumps(EVENT).encode(), self._envelope())
        turn = self.subtask.on_batch(encode_events(BatchKind.EVENTS, 0, [record], barrier_follows=False))
        assert turn.outcomes is not None
        (outcome,) = [
            one for one in decode_outcomes(turn.outcomes) if one.kind is not OutcomeKind.DEAD_LETTER
        ]
        assert outcome.kind is OutcomeKind.PREDICTION
        assert json.loads(outcome.value)["outputs"]["label"] == "setosa"
        return turn

    def _silence(self) -> Turn:
        return self.subtask.on_batch(encode_events(BatchKind.HEARTBEAT, 0, [], barrier_follows=False))

    def _envelope(self) -> bytes:
        self._offset += 1
        return encode_envelope(Envelope("topic", 0, self._offset, 0, b"key", False, ()))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.subtask.close()


@pytest.mark.parametrize(
    ("format_name", "write", "cause"),
    [
        (
            "tensorflow",
            native_crash,
            "crashed: evil:1: loading it ended its trial's process by SIGSEGV",
        ),
        ("onnx", memory_hog, "ModelLoadError: evil:1: loading it took more than 2147483648 bytes of memory"),
    ],
)
def test_a_model_that_hurts_its_process_fails_and_the_other_goes_on_scoring(
    running: Running, tmp_path: Path, format_name: str, write: Callable[[Path], Path], cause: str
) -> None:
    running.publish("evil", format_name, write(tmp_path / "evil.zip"))

    failed = running.word_on("evil", "failed", meanwhile=running.score)

    assert (failed.cause or "").startswith(cause)
    running.score()
