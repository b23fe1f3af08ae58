"""A lane's options are read strictly, and taken out of what the protocol gets."""

import pytest

from udfs.errors import ModelLoadError
from udfs.json_values import JsonValue
from udfs.offload.lane_settings import LANE_OPTIONS, LaneSettings, check_inline, split_options
from udfs.records import ModelId


def test_without_options_there_are_the_defaults() -> None:
    assert split_options({}) == (LaneSettings(), {})


def test_the_lanes_own_options_are_taken_out() -> None:
    settings, others = split_options({"url": "grpc://a:1", "deadline": "500ms", "model": "iris"})
    assert settings == LaneSettings(deadline=0.5)
    assert others == {"url": "grpc://a:1", "model": "iris"}


def test_options_may_be_values_or_text() -> None:
    values: dict[str, JsonValue] = {
        "deadline": 2,
        "attempts": 1,
        "in_flight": 50,
        "max_batch": 1,
        "max_waiting": 7,
        "on_overload": "fallback",
        "ordered": False,
        "fallback": "iris:1",
        "workers": 3,
    }
    texts = {name: str(value) for name, value in values.items()} | {"ordered": "false"}
    expected = LaneSettings(2.0, 1, 50, 1, 7, "fallback", False, ModelId("iris", 1), 3)
    assert split_options(values)[0] == split_options(texts)[0] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline", 0),
        ("deadline", "0.0009"),
        ("deadline", 121),
        ("deadline", "nan"),
        ("deadline", True),
        ("deadline", "soon"),
        ("attempts", 0),
        ("attempts", 101),
        ("attempts", 1.5),
        ("in_flight", 0),
        ("in_flight", 1025),
        ("in_flight", "8 "),
        ("max_batch", -1),
        ("max_batch", 100_001),
        ("max_waiting", 0),
        ("max_waiting", 1_000_001),
        ("workers", 65),
        ("workers", None),
        ("on_overload", "drop"),
        ("on_overload", ["backpressure"]),
        ("ordered", "yes"),
        ("ordered", 1),
        ("fallback", "iris"),
        ("fallback", "iris:0"),
        ("fallback", "iris:01x"),
        ("fallback", 7),
        ("fallback", ""),
    ],
)
def test_what_is_not_as_it_should_be_is_refused_by_name(name: str, value: JsonValue) -> None:
    with pytest.raises(ModelLoadError, match=f"^option {name}: "):
        split_options({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deadline", 0.001),
        ("deadline", 120),
        ("attempts", 100),
        ("in_flight", 1024),
        ("max_batch", 100_000),
        ("max_waiting", 1_000_000),
        ("workers", 64),
    ],
)
def test_the_bounds_belong_to_what_is_allowed(name: str, value: float) -> None:
    assert getattr(split_options({name: value})[0], name) == value


def test_a_fallback_on_overload_must_be_named() -> None:
    with pytest.raises(ModelLoadError, match=r"on_overload: 'fallback' needs the option fallback"):
        split_options({"on_overload": "fallback"})


def test_a_fallback_may_be_named_for_missed_deadlines_only() -> None:
    settings, _ = split_options({"fallback": "iris:1"})
    assert (settings.on_overload, settings.fallback) == ("backpressure", ModelId("iris", 1))


@pytest.mark.parametrize("name", sorted(LANE_OPTIONS))
def test_what_is_scored_inline_has_no_option_of_a_lane(name: str) -> None:
    with pytest.raises(ModelLoadError, match=rf"^option {name}: .*--execution offload"):
        check_inline({"fields": "a,b", name: "1"})


def test_what_is_scored_inline_has_options_of_its_format() -> None:
    check_inline({"fields": "a,b", "threads": 2})
