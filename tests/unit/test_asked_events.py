"""Events on their way to versions are grouped so that those that name the same keep their order."""

from pathlib import Path
from typing import cast

import msgspec
import pytest

from udfs.engine import LoadedModel, Offloaded
from udfs.held import HeldEvent
from udfs.offload.asked_events import AskedEvents, by_version
from udfs.records import ServedModel
from udfs.scorers.base import Scorer


def version(name: str, number: int) -> LoadedModel:
    scorer = cast(Scorer, Path())  # it is not asked
    return LoadedModel(ServedModel(name, number, ""), scorer, msgspec.Raw(b"{}"), 0.0, ())


A1, A2, B1 = version("a", 1), version("a", 2), version("b", 1)


def groups_of(models: list[LoadedModel], names: str = "") -> list[AskedEvents]:
    """The groups of events that versions score; of those held before, what they were held for is told."""
    asked = [(index, Offloaded(index, None, one, one.served.name)) for index, one in enumerate(models)]
    return by_version(
        asked, lambda index, name: HeldEvent(names[index] if names else name, b"v" * index, b"envelope")
    )


@pytest.mark.parametrize(
    ("models", "groups"),
    [
        pytest.param([A1, A1, A1], [[0, 1, 2]], id="one version"),
        pytest.param([A1, B1, A1, B1], [[0, 2], [1, 3]], id="two models"),
        pytest.param([A1, A2, A1, A1], [[0], [1], [2, 3]], id="versions of one model"),
        pytest.param([A1, B1, A2, B1, A2], [[0], [1, 3], [2, 4]], id="models and versions"),
    ],
)
def test_a_group_is_of_one_version_and_later_turns_of_a_model_are_later_groups(
    models: list[LoadedModel], groups: list[list[int]]
) -> None:
    assert [one.indexes for one in groups_of(models)] == groups


def test_events_that_were_held_for_different_models_stand_in_different_lines() -> None:
    assert [(one.reference, one.indexes) for one in groups_of([A1, A1, A1], "aba")] == [
        ("a", [0, 2]),
        ("b", [1]),
    ]


def test_a_group_knows_the_bytes_of_its_first_events() -> None:
    assert groups_of([A1, A1, A1])[0].ends == [0, 0, 1, 3]


def test_what_has_gone_is_not_left() -> None:
    [group] = groups_of([A1, A1, A1])
    group.gone = 2
    assert group.left == [2]
