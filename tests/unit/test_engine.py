"""What the engine promises of every event of a batch, whatever the model does."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loads import PlainModels, no_times
from udfs.engine import Failure, LoadedModel, Scored, score_values
from udfs.errors import DecodeError, ResolveError, ScoreError
from udfs.json_values import JsonValue
from udfs.records import ServedModel
from udfs.scorers import Scorer

Score = Callable[[Sequence[Any]], Sequence[JsonValue | ScoreError]]


class FakeScorer:
    """Answers as a test tells it to; stands in for a model."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        return self._score(inputs)

    def close(self) -> None: ...


def loaded(score: Score, name: str = "m") -> LoadedModel:
    served = ServedModel(name, 1, "0" * 64)
    scorer: Scorer = FakeScorer(score)
    return LoadedModel(served, scorer, msgspec.Raw(msgspec.json.encode(served)), 0.0, ())


def double(inputs: Sequence[Any]) -> list[JsonValue | ScoreError]:
    return [2 * one if isinstance(one, int) else ScoreError(f"{one!r} is no integer") for one in inputs]


def event(data: object, **more: object) -> bytes:
    return json.dumps({"id": 1, "model": "m", "data": data, **more}).encode()


def run(values: Sequence[bytes], score: Score = double, default: str | None = None) -> list[Scored]:
    models = {"m": loaded(score), "n": loaded(score, "n")}

    def serve(reference: str) -> LoadedModel:
        if reference not in models:
            raise ResolveError(f"no {reference}")
        return models[reference]

    return score_values(values, PlainModels(serve), no_times(len(values)), default)


def outputs(result: Scored) -> Any:
    assert isinstance(result, bytes), result
    return json.loads(result)["outputs"]


def error(result: Scored) -> Exception:
    assert isinstance(result, Failure), result
    return result.error


def test_a_prediction_has_the_id_the_version_and_the_outputs() -> None:
    (result,) = run([event(4, id="e-17")])

    assert isinstance(result, bytes)
    served = {"name": "m", "version": 1, "sha256": "0" * 64}
    assert json.loads(result) == {"id": "e-17", "model": served, "outputs": 8}


@pytest.mark.parametrize("event_id", ["e", 7, -1.5, True, None, 2**53])
def test_an_id_comes_out_as_it_went_in(event_id: object) -> None:
    (result,) = run([event(1, id=event_id)])

    assert isinstance(result, bytes)
    assert json.loads(result)["id"] == event_id


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{",
        b'{"id": 1}',
        b'{"data": 1, "model": 7}',
        b'{"data": 1, "id": {}}',
        b"\xff",
    ],
)
def test_what_is_no_event_fails_alone_at_stage_decode(value: bytes) -> None:
    before, broken, after = run([event(1), value, event(2)])

    assert (outputs(before), outputs(after)) == (2, 4)
    assert isinstance(error(broken), DecodeError)


def test_an_event_without_a_model_is_for_the_default_one() -> None:
    (result,) = run([b'{"data": 3}'], default="m")

    assert outputs(result) == 6


def test_an_event_without_a_model_and_without_a_default_can_not_be_held() -> None:
    (result,) = run([b'{"data": 3}'])

    assert isinstance(result, Failure)
    assert (type(result.error), result.reference) == (ResolveError, None)


def test_an_event_for_a_model_that_is_not_there_says_which() -> None:
    (result,) = run([event(3, model="rose")])

    assert isinstance(result, Failure)
    assert (type(result.error), result.reference) == (ResolveError, "rose")


def test_a_bad_input_fails_alone() -> None:
    before, bad, after = run([event(1), event("x"), event(2)])

    assert (outputs(before), outputs(after)) == (2, 4)
    assert isinstance(error(bad), ScoreError)


def test_events_of_several_models_come_out_in_their_order() -> None:
    values = [event(number, id=number, model="mn"[number % 2]) for number in range(10)]

    read = [json.loads(result) for result in run(values) if isinstance(result, bytes)]

    assert [(one["id"], one["model"]["name"]) for one in read] == [(n, "mn"[n % 2]) for n in range(10)]


def test_a_model_that_raises_fails_each_of_its_events_and_no_other() -> None:
    def fail(inputs: Sequence[Any]) -> list[JsonValue | ScoreError]:
        raise MemoryError("too much")

    models = {"m": loaded(fail), "n": loaded(double, "n")}
    bad, good = score_values([event(1), event(2, model="n")], PlainModels(models.__getitem__), no_times(2))

    assert "MemoryError: too much" in str(error(bad))
    assert outputs(good) == 4


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_model_that_gives_another_number_of_results_fails_all_of_them(count: int) -> None:
    results = run([event(1), event(2)], lambda inputs: [0] * count)

    assert all(f"{count} results for 2 inputs" in str(error(result)) for result in results)


@pytest.mark.parametrize("said", [object(), "\ud800", {"a": [1, object()]}])
def test_outputs_that_json_can_not_say_fail_alone(said: Any) -> None:
    good, bad = run([event(1), event(2)], lambda inputs: [0, said])

    assert outputs(good) == 0
    assert isinstance(error(bad), ScoreError)


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_become_null(said: float) -> None:
    (result,) = run([event(1)], lambda inputs: [{"a": [said, 1.5]}])

    assert outputs(result) == {"a": [None, 1.5]}


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.one_of(st.integers(-1000, 1000), st.text(max_size=3), st.just(b"broken")), max_size=20),
    st.integers(1, 7),
)
def test_an_event_has_the_same_outcome_in_any_batch(data: list[object], size: int) -> None:
    values = [one if isinstance(one, bytes) else event(one) for one in data]

    together = run(values)
    apart = [result for start in range(0, len(values), size) for result in run(values[start : start + size])]

    assert [str(one.error) if isinstance(one, Failure) else one for one in together] == [
        str(one.error) if isinstance(one, Failure) else one for one in apart
    ]
