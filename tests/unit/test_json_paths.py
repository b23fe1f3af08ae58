"""Places in JSON values: found, filled, and said where there is nothing."""

import pytest

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.remotes._json_paths import JsonPath


def path(text: str | None) -> JsonPath:
    return JsonPath.parse("output", text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {"a": {"b": [1, {"c": 2}]}, "0": 3}),
        ("a", {"b": [1, {"c": 2}]}),
        ("a.b", [1, {"c": 2}]),
        ("a.b.0", 1),
        ("a.b.1.c", 2),
        ("0", 3),
    ],
)
def test_what_is_at_a_path_is_found(text: str | None, found: JsonValue) -> None:
    assert path(text).get({"a": {"b": [1, {"c": 2}]}, "0": 3}) == found


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("b", "b"),
        ("a.x.y", "a.x"),
        ("a.b.2", "a.b.2"),
        ("a.b.-1", "a.b.-1"),
        ("a.b.c", "a.b.c"),
        ("n.0", "n.0"),
    ],
)
def test_where_there_is_nothing_the_path_so_far_is_said(text: str, missing: str) -> None:
    with pytest.raises(LookupError, match=f"has no {missing}$"):
        path(text).get({"a": {"b": [1, 2]}, "n": "text"})


@pytest.mark.parametrize("text", [".", "a.", ".a", "a..b", ".".join("a" * 33)])
def test_a_path_with_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(ModelLoadError, match="option output: expected names with dots"):
        path(text)


@pytest.mark.parametrize(
    ("text", "body", "filled"),
    [
        (None, {}, 7),
        ("x", {}, {"x": 7}),
        ("x.y", {"k": 1}, {"k": 1, "x": {"y": 7}}),
        ("x.y", {"x": {"z": 2}}, {"x": {"z": 2, "y": 7}}),
        ("x", {"x": 1}, {"x": 7}),
    ],
)
def test_a_value_is_put_at_a_path(text: str | None, body: dict[str, JsonValue], filled: JsonValue) -> None:
    before = repr(body)
    assert path(text).put(body, 7) == filled
    assert repr(body) == before


@pytest.mark.parametrize("there", [[], "text", 1, None])
def test_a_value_is_put_into_objects_alone(there: JsonValue) -> None:
    with pytest.raises(LookupError, match="no object that y could be put into"):
        path("x.y").put({"x": there}, 7)
