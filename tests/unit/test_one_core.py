"""A thread that loads keeps to one core, and is free again afterwards."""

import os

import pytest

from udfs.one_core import on_one_core


def test_it_keeps_to_the_last_core_of_those_that_it_may_use() -> None:
    usual = os.sched_getaffinity(0)

    with on_one_core():
        kept_to = os.sched_getaffinity(0)

    assert kept_to == {max(usual)}
    assert os.sched_getaffinity(0) == usual


def test_it_is_free_again_after_an_error() -> None:
    usual = os.sched_getaffinity(0)

    with pytest.raises(ValueError, match="on purpose"), on_one_core():
        raise ValueError("on purpose")

    assert os.sched_getaffinity(0) == usual
