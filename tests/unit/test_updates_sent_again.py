"""Which times of signed updates are newer than their model's last."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.errors import UpdateError
from udfs.models.signatures import check_newer


@pytest.mark.parametrize(
    "occurred_on",
    [
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00:00.123456789Z",
        "2026-11-23T10:00:00+00:00",
        "2026-11-23t10:00:00.5z",
        "2026-11-23T10:00:00-00:00",
    ],
)
def test_the_first_signed_update_of_a_model_has_any_time(occurred_on: str) -> None:
    assert check_newer(occurred_on, None) == occurred_on


@pytest.mark.parametrize(
    ("last", "occurred_on"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:01Z"),
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000000001Z"),
        ("2026-11-23T10:00:00.9Z", "2026-11-23T10:00:00.91Z"),
        ("2026-11-23T10:00:00.10Z", "2026-11-23T10:00:00.2Z"),
        ("2026-11-23T10:00:00.999999999Z", "2026-11-23T10:00:01+00:00"),
        ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
    ],
)
def test_a_newer_update_is_taken_and_an_older_one_is_refused(last: str, occurred_on: str) -> None:
    assert check_newer(occurred_on, last) == occurred_on
    with pytest.raises(UpdateError, match="an old update was sent again, or the clock"):
        check_newer(last, occurred_on)


@pytest.mark.parametrize(
    "again",
    [
        "2026-11-23T10:00:00.5Z",
        "2026-11-23T10:00:00.50Z",
        "2026-11-23T10:00:00.500000000+00:00",
        "2026-11-23t10:00:00.5z",
    ],
)
def test_the_same_time_in_another_spelling_is_refused(again: str) -> None:
    with pytest.raises(UpdateError) as error:
        check_newer(again, "2026-11-23T10:00:00.5Z")

    assert str(error.value) == (
        f"occurred_on {again} is not after 2026-11-23T10:00:00.5Z, that of the model's last signed update: "
        f"an old update was sent again, or the clock that it was made with is behind"
    )


moments = st.datetimes().map(lambda moment: moment.isoformat() + "Z")


@settings(deadline=None, derandomize=True)
@given(one=moments, other=moments)
def test_of_two_updates_at_different_times_one_order_is_refused(one: str, other: str) -> None:
    refused = 0
    for occurred_on, last in ((one, other), (other, one)):
        try:
            check_newer(occurred_on, last)
        except UpdateError:
            refused += 1
    assert refused == (2 if one == other else 1)


@pytest.mark.parametrize("last", [None, "2026-11-23T10:00:00Z"])
def test_a_signed_update_without_a_time_is_refused(last: str | None) -> None:
    with pytest.raises(UpdateError, match="`occurred_on` is missing"):
        check_newer(None, last)


@pytest.mark.parametrize(
    "occurred_on",
    [
        "",
        "now",
        "1790000000000",
        "2026-11-23",
        "2026-11-23T10:00Z",
        "2026-11-23T10:00:00",
        "2026-11-23 10:00:00Z",
        "2026-11-23T10:00:00+01:00",
        "2026-11-23T10:00:00.Z",
        "2026-11-23T10:00:00.1234567890Z",
        "2026-11-23T10:00:00Z\n",
        "2026-02-30T10:00:00Z",
        "2026-11-23T24:00:01Z",
        "2026-11-23T10:00:60Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-11-23T10:00:00Z",
        "9" * 100_000,
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_what_is_no_time_in_utc_is_refused_in_few_words(occurred_on: str) -> None:
    with pytest.raises(UpdateError, match="is not a time of RFC 3339 in UTC") as error:
        check_newer(occurred_on, None)

    assert len(str(error.value)) < 200
