"""The verifier of the cluster tests finds each wrong, and that alone."""

import pytest

from tests.cluster.verify import Findings, Outcome, Switch, Version, mistimed, verify
from udfs.records import ModelId, ServedModel

SHAS = {1: "1" * 64, 2: "2" * 64}
VERSIONS = {
    ModelId("m", 1): Version(SHAS[1], lambda event: event * 10),
    ModelId("m", 2): Version(SHAS[2], lambda event: event * 100),
}
SENT = {event: b"even" if event % 2 == 0 else b"odd" for event in range(6)}


def prediction(event: int, version: int = 1) -> Outcome:
    return Outcome(event, SENT[event], ServedModel("m", version, SHAS[version]), event * 10**version)


RIGHT = [prediction(event, 1 if event < 3 else 2) for event in SENT]


def changed(event: int, outcome: Outcome) -> list[Outcome]:
    return [*RIGHT[:event], outcome, *RIGHT[event + 1 :]]


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param(RIGHT, id="predictions"),
        pytest.param(changed(2, Outcome(2, b"even")), id="a dead letter"),
        pytest.param([*RIGHT[::2], *RIGHT[1::2]], id="keys apart"),
        pytest.param([*RIGHT[:2], *RIGHT[3:], Outcome(2, b"even")], id="a dead letter, read last"),
    ],
)
def test_one_right_outcome_an_event_is_clean(outcomes: list[Outcome]) -> None:
    assert verify(SENT, outcomes, VERSIONS).is_clean


@pytest.mark.parametrize(
    ("outcomes", "findings"),
    [
        pytest.param([], Findings(lost=6), id="everything lost"),
        pytest.param(RIGHT[1:], Findings(lost=1), id="the first lost"),
        pytest.param(RIGHT[:-1], Findings(lost=1), id="the last lost"),
        pytest.param([*RIGHT, RIGHT[0]], Findings(duplicated=1), id="a duplicate"),
        pytest.param([*RIGHT, *RIGHT], Findings(duplicated=6), id="everything twice"),
        pytest.param(
            [*RIGHT, Outcome(0, b"even")], Findings(duplicated=1), id="a dead letter beside a prediction"
        ),
        pytest.param([RIGHT[2], RIGHT[0], *RIGHT[1:2], *RIGHT[3:]], Findings(reordered=1), id="reordered"),
    ],
)
def test_what_is_lost_doubled_or_out_of_order_is_counted(outcomes: list[Outcome], findings: Findings) -> None:
    assert verify(SENT, outcomes, VERSIONS) == findings


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(prediction(0)._replace(model=ServedModel("m", 1, SHAS[2])), id="another sha256"),
        pytest.param(prediction(0)._replace(model=ServedModel("m", 9, SHAS[1])), id="not published"),
        pytest.param(prediction(0)._replace(outputs=7), id="other outputs"),
        pytest.param(prediction(0)._replace(outputs=None), id="no outputs"),
    ],
)
def test_a_wrong_version_hash_or_output_is_counted(outcome: Outcome) -> None:
    assert verify(SENT, changed(0, outcome), VERSIONS) == Findings(wrongly_attributed=1)


def test_the_outputs_of_another_version_than_is_named_are_counted() -> None:
    other = prediction(1)._replace(outputs=prediction(1, 2).outputs)

    assert verify(SENT, changed(1, other), VERSIONS) == Findings(wrongly_attributed=1)


def test_an_outcome_of_no_event_is_counted() -> None:
    assert verify(SENT, [*RIGHT, Outcome(99, b"odd")], VERSIONS) == Findings(unknown=1)


def test_an_outcome_under_another_key_is_not_its_events() -> None:
    other = prediction(0)._replace(key=b"odd")

    assert verify(SENT, changed(0, other), VERSIONS) == Findings(lost=1, unknown=1)


@pytest.mark.parametrize("name", Findings._fields)
def test_any_one_wrong_is_not_clean(name: str) -> None:
    assert not Findings(**{name: 1}).is_clean


SWITCH = Switch(at=30, before=ModelId("m", 1), after=ModelId("m", 2), events=range(1, 6))
"""Events have ten times their number as their time."""


@pytest.mark.parametrize(
    ("outcomes", "wrong"),
    [
        pytest.param(RIGHT, 0, id="each by the version of its time"),
        pytest.param(changed(2, prediction(2, 2)), 1, id="too early"),
        pytest.param(changed(3, prediction(3, 1)), 1, id="too late"),
        pytest.param(changed(0, prediction(0, 2)), 0, id="before the switch was published"),
        pytest.param(changed(4, Outcome(4, b"even")), 0, id="a dead letter"),
        pytest.param(
            changed(4, prediction(4)._replace(model=ServedModel("other", 1, SHAS[1]))), 0, id="another model"
        ),
    ],
)
def test_predictions_by_another_version_than_that_of_their_time_are_counted(
    outcomes: list[Outcome], wrong: int
) -> None:
    assert mistimed(outcomes, [SWITCH], lambda event: 10 * event) == wrong


def test_outputs_differ_by_more_than_rounding_to_be_wrong() -> None:
    versions = {ModelId("m", 1): Version(SHAS[1], lambda event: {"p": [0.5, 0.25]})}
    said = Outcome(0, b"k", ServedModel("m", 1, SHAS[1]))
    close, far = (said._replace(outputs={"p": [0.5, 0.25 + by]}) for by in (1e-7, 1e-3))

    assert verify({0: b"k"}, [close], versions).is_clean
    assert verify({0: b"k"}, [far], versions) == Findings(wrongly_attributed=1)
