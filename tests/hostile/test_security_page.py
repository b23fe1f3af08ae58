"""The page that lists attacks names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text())))


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name, f"{file}: the page says which test"
    assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_hostile_test_is_on_the_page() -> None:
    named = {name for _, name in NAMED}
    tests = {
        name
        for path in (ROOT / "tests/hostile").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    benign = {
        "test_a_test_that_the_page_names_exists",
        "test_every_hostile_test_is_on_the_page",
        "test_messages_described_in_the_graph_itself_are_taken",
        "test_the_pickle_of_these_tests_writes_when_it_is_loaded",
    }
    assert tests - named <= benign
