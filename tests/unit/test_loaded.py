"""From a file to a scorer that may serve: what is refused, and that nothing of it stays loaded."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.models.loaded import close_scorer, load_version
from udfs.models.updates import Artifact, Check, PublishModel
from udfs.records import ModelId
from udfs.scorers import Options

ARTIFACT = Path("a model")


class FakeScorer:
    """Doubles numbers, and remembers what it was asked."""

    def __init__(self, *, stateful: bool = False, fault: Exception | None = None) -> None:
        self.stateful = stateful
        self.fault = fault
        self.scored: list[JsonValue] = []
        self.closed = 0

    def score_batch(self, inputs: Sequence[JsonValue]) -> list[JsonValue]:
        if self.fault is not None:
            raise self.fault
        self.scored += inputs
        return [2 * one if isinstance(one, int) else None for one in inputs]

    def close(self) -> None:
        self.closed += 1
        if self.fault is not None:
            raise self.fault


def load(scorer: FakeScorer | Exception, *checks: Check, formats: Sequence[str] = ("fake",)) -> object:
    def load_scorer(format_name: str, artifact: Path, options: Options) -> FakeScorer:
        assert (format_name, artifact, options) == ("fake", ARTIFACT, {"o": 1})
        if isinstance(scorer, Exception):
            raise scorer
        return scorer

    published = PublishModel(
        ModelId("m", 1), "fake", Artifact("0" * 64, inline=b""), options={"o": 1}, checks=checks
    )
    return load_version(published, ARTIFACT, load_scorer, formats)


def test_a_good_version_is_loaded_and_left_open() -> None:
    scorer = FakeScorer()
    assert load(scorer) is scorer
    assert scorer.closed == 0


def test_a_version_without_checks_is_warmed_up() -> None:
    scorer = FakeScorer()
    load(scorer)
    assert scorer.scored == [{}]


def test_checks_are_the_warm_up_where_there_are_some() -> None:
    scorer = FakeScorer()
    load(scorer, Check(1, 2), Check(2, 4))
    assert scorer.scored == [1, 2]


def test_a_warm_up_that_fails_is_no_fault() -> None:
    load(FakeScorer(fault=ValueError("no such field")))


def test_an_option_of_offloading_is_refused_where_nothing_is_offloaded() -> None:
    published = PublishModel(ModelId("m", 1), "fake", Artifact("0" * 64, inline=b""), options={"workers": 4})

    with pytest.raises(ModelLoadError, match=r"^option workers: only a version that is offloaded has it"):
        load_version(published, ARTIFACT, lambda *_: FakeScorer(), ("fake",))


def test_a_format_that_is_not_allowed_is_not_even_loaded() -> None:
    with pytest.raises(
        ModelLoadError, match=r"m:1: format 'fake' is not allowed here; models.formats: onnx$"
    ):
        load(AssertionError("it was loaded"), formats=["onnx"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModelLoadError("not an ONNX file"), "not an ONNX file"),
        (ZeroDivisionError("by zero"), "m:1: ZeroDivisionError: by zero"),
        (MemoryError(), "m:1: MemoryError: "),
        (RecursionError("too deep"), "m:1: RecursionError: too deep"),
    ],
)
def test_whatever_loading_raises_becomes_an_error_of_ours(error: Exception, text: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        load(error)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("scorer", "check", "text"),
    [
        pytest.param(FakeScorer(stateful=True), Check(1, 2), "keeps state of its own", id="stateful"),
        pytest.param(FakeScorer(), Check(1, 3), "check 1 differs", id="differs"),
        pytest.param(FakeScorer(fault=OSError("gone")), Check(1, 2), "check 1 can't be scored", id="raises"),
    ],
)
def test_what_is_refused_is_closed(scorer: FakeScorer, check: Check, text: str) -> None:
    with pytest.raises(ModelLoadError, match=text):
        load(scorer, check)
    assert scorer.closed == 1


def test_a_scorer_that_can_not_be_closed_is_gone_all_the_same() -> None:
    close_scorer(FakeScorer(fault=OSError("gone")))
