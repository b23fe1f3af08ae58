"""What counts as the same output, and which versions their checks keep from serving."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.checks import find_difference, run_checks
from udfs.models.updates import Check

HUGE = 10**400
"""An integer beyond every float."""


@pytest.mark.parametrize(("true", "number"), [(True, 1), (False, 0), (True, 1.0), (False, -0.0)])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [[v]], lambda v: {"a": [{"b": v}]}])
def test_a_truth_value_is_no_number_at_any_depth(true: bool, number: float, wrap: Any) -> None:
    assert find_difference(wrap(true), wrap(number), tolerance=5)
    assert find_difference(wrap(number), wrap(true), tolerance=5)


@pytest.mark.parametrize("other", [1.5, -1.5, float("inf"), float("-inf"), float("nan"), -HUGE, HUGE + 2])
def test_an_integer_beyond_every_float_differs_from_other_numbers(other: float) -> None:
    assert find_difference(HUGE, other, tolerance=1)
    assert find_difference(other, HUGE, tolerance=1)


@pytest.mark.parametrize("other", [HUGE, HUGE + 1, HUGE - 1])
def test_the_tolerance_holds_for_integers_beyond_every_float(other: int) -> None:
    assert find_difference(HUGE, other, tolerance=1) is None


def test_an_integer_too_long_to_write_is_told_without_its_digits() -> None:
    said = find_difference(0, 10**5000, tolerance=0)

    assert said == "outputs: expected 0, got a value too long to write"


LEAVES = st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 1.5, HUGE, "", "1", "True"])
json_values = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from("ab"), below)
)
any_values = settings(deadline=None, derandomize=True)


def told_apart(value: Any) -> Any:
    """A value that Python's ``==`` tells from others as JSON does."""
    if isinstance(value, dict):
        return {name: told_apart(below) for name, below in value.items()}
    if isinstance(value, list):
        return [told_apart(below) for below in value]
    return ("bool", value) if isinstance(value, bool) else value


@any_values
@given(json_values, json_values)
def test_without_a_tolerance_only_what_is_the_same_json_agrees(one: JsonValue, other: JsonValue) -> None:
    same = told_apart(one) == told_apart(other)

    assert (find_difference(one, other, 0) is None) is same


@any_values
@given(json_values, json_values, st.floats(0, 10))
def test_which_of_two_values_was_wanted_changes_nothing(
    one: JsonValue, other: JsonValue, tolerance: float
) -> None:
    assert (find_difference(one, other, tolerance) is None) is (
        find_difference(other, one, tolerance) is None
    )


@any_values
@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(0, 1000))
def test_numbers_agree_as_far_as_their_tolerance(one: int, other: int, tolerance: int) -> None:
    assert (find_difference([one], [other], tolerance) is None) is (abs(one - other) <= tolerance)


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance"),
    [
        (0.5, 0.75, 0.25),
        (0.75, 0.5, 0.25),
        (1, 1.0, 0),
        (float("inf"), float("inf"), 0),
        ([1.0, [2.0]], (1.5, (1.5,)), 0.5),
        ({"a": 1, "b": 2}, {"b": 2.5, "a": 1}, 0.5),
        ([], [], 0),
        ({}, {}, 0),
        (None, None, 0),
        ("1", "1", 0),
    ],
)
def test_outputs_within_the_tolerance_agree(expected: Any, actual: Any, tolerance: float) -> None:
    assert find_difference(expected, actual, tolerance) is None


@pytest.mark.parametrize(
    ("expected", "actual", "said"),
    [
        (0.5, 0.76, "outputs: expected 0.5, got 0.76"),
        (1, "1", "outputs: expected 1, got '1'"),
        (None, 0, "outputs: expected None, got 0"),
        (0, None, "outputs: expected 0, got None"),
        ("", None, "outputs: expected '', got None"),
        (1, [1], "outputs: expected 1, got [1]"),
        ("ab", ["a", "b"], "outputs: expected 'ab', got ['a', 'b']"),
        ([], {}, "outputs: expected [], got {}"),
        (["a"], {"a": 1}, "outputs: expected ['a'], got {'a': 1}"),
        (float("inf"), float("-inf"), "outputs: expected inf, got -inf"),
        (1, float("nan"), "outputs: expected 1, got nan"),
        ([1, 2], [1], "outputs: expected 2 elements, got 1"),
        ([], [None], "outputs: expected 0 elements, got 1"),
        ({"b": 1, "a": 1}, {"b": 1}, "outputs: expected the fields ['a', 'b'], got ['b']"),
        ({"a": None}, {}, "outputs: expected the fields ['a'], got []"),
        ({"a": [0, {"b": 1}]}, {"a": [0, {"b": 2}]}, "outputs.a[1].b: expected 1, got 2"),
        ([[1], [1, 2]], [[1], [1]], "outputs[1]: expected 2 elements, got 1"),
        ([1, 2, 3], [1, 8, 9], "outputs[1]: expected 2, got 8"),
    ],
)
def test_the_first_difference_is_told_with_its_place(expected: Any, actual: Any, said: str) -> None:
    assert find_difference(expected, actual, tolerance=0.25) == said


def test_of_a_long_value_only_the_beginning_is_told() -> None:
    said = find_difference("a", "b" * 10_000, tolerance=0)

    assert said is not None
    assert said.endswith(f"got '{'b' * 99}...")


class FakeScorer:
    """Answers what a test puts here, and remembers what it was asked; stands in for a model."""

    def __init__(self, *answers: JsonValue | ScoreError) -> None:
        self.answers = answers
        self.asked: list[Sequence[JsonValue]] = []

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        self.asked.append(inputs)
        return self.answers

    def close(self) -> None: ...


def test_a_version_without_checks_is_asked_nothing() -> None:
    scorer = FakeScorer()

    run_checks(scorer, ())

    assert scorer.asked == []


def test_the_inputs_of_all_checks_are_scored_as_one_batch() -> None:
    scorer = FakeScorer({"y": 1}, {"y": 2})

    run_checks(scorer, (Check([1], {"y": 1}), Check([2], {"y": 2})))

    assert scorer.asked == [[[1], [2]]]


def test_each_check_has_a_tolerance_of_its_own() -> None:
    checks = (Check(0, 1, tolerance=0.5), Check(0, 1))

    run_checks(FakeScorer(1.5, 1), checks)
    with pytest.raises(ModelLoadError, match=r"check 2 differs: outputs: expected 1, got 1\.5"):
        run_checks(FakeScorer(1.5, 1.5), checks)


def test_of_several_differences_the_first_is_told() -> None:
    with pytest.raises(ModelLoadError, match=r"check 2 differs: outputs\.y: expected 2, got 3"):
        run_checks(FakeScorer(1, {"y": 3}, 0), (Check(0, 1), Check(0, {"y": 2}), Check(0, 3)))


def test_an_input_of_a_check_that_can_not_be_scored_is_told() -> None:
    with pytest.raises(ModelLoadError, match=r"check 2 can't be scored: no field `a`"):
        run_checks(FakeScorer(1, ScoreError("no field `a`")), (Check(0, 1), Check(0, 1)))


@pytest.mark.parametrize("answers", [(), (1,), (1, 1, 1)], ids=len)
def test_a_model_that_gives_another_number_of_outputs_fails_its_checks(
    answers: tuple[JsonValue, ...],
) -> None:
    with pytest.raises(ModelLoadError, match=rf"the model gave {len(answers)} results for 2 inputs"):
        run_checks(FakeScorer(*answers), (Check(0, 1), Check(0, 1)))


class BrokenScorer(FakeScorer):
    """A model whose own code fails."""

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        raise ZeroDivisionError("by nought")


def test_a_model_that_raises_fails_its_checks() -> None:
    with pytest.raises(ModelLoadError, match=r"check 1 can't be scored: .*ZeroDivisionError: by nought"):
        run_checks(BrokenScorer(), (Check(0, 1),))


def nested(depth: int) -> JsonValue:
    value: JsonValue = 0
    for _ in range(depth):
        value = [value]
    return value


def test_a_check_that_expects_null_agrees_with_a_model_that_gives_what_json_has_not() -> None:
    check = Check(data=1, outputs={"y": None})

    run_checks(FakeScorer({"y": float("nan")}), [check])


@pytest.mark.parametrize(
    "answer", [nested(5000), {1: "a", "b": object()}, object()], ids=["deep", "mixed keys", "no JSON"]
)
def test_outputs_that_no_prediction_could_hold_fail_their_check(answer: Any) -> None:
    with pytest.raises(ModelLoadError, match="check 1"):
        run_checks(FakeScorer(answer), [Check(data=1, outputs=answer if isinstance(answer, list) else {})])
