"""What counts as the same output, and which versions their checks keep from serving."""

from typing import Any

import pytest

from udfs.models.checks import find_difference

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
