"""What the PFA scorer promises beyond what every scorer does."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from udfs.errors import ModelLoadError, ScoreError
from udfs.scorers.base import Scorer
from udfs.scorers.pfa import PfaScorer, load

Document = dict[str, Any]
Load = Callable[[Document | str], PfaScorer]

FOLD = {
    "input": "double",
    "output": "double",
    "method": "fold",
    "zero": 0.0,
    "action": [{"+": ["input", "tally"]}],
    "merge": [{"+": ["tallyOne", "tallyTwo"]}],
}
COUNTER = {
    "input": "null",
    "output": "int",
    "cells": {"count": {"type": "int", "init": 0}},
    "action": [
        {"cell": "count", "to": {"params": [{"old": "int"}], "ret": "int", "do": [{"+": ["old", 1]}]}},
    ],
}


@pytest.fixture
def load_document(tmp_path: Path) -> Iterator[Load]:
    loaded: list[PfaScorer] = []

    def load_one(document: Document | str) -> PfaScorer:
        path = tmp_path / "model.pfa"
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        loaded.append(load(path, {}))
        return loaded[-1]

    yield load_one
    for scorer in loaded:
        scorer.close()


def engine(action: Any, input: Any = "null", output: Any = "null", **more: Any) -> Document:
    """A document with these parts."""
    return {"input": input, "output": output, "action": action, **more}


def score_one(scorer: Scorer, value: Any) -> Any:
    return scorer.score_batch([value])[0]


def error_of(scorer: Scorer, value: Any) -> str:
    error = score_one(scorer, value)
    assert isinstance(error, ScoreError)
    return str(error)


# --- documents -------------------------------------------------------------------------------------------


def test_yaml_is_read_like_json(load_document: Load) -> None:
    scorer = load_document("input: double\noutput: double\naction:\n  - {+: [input, 1.5e-1]}\n")
    assert score_one(scorer, 1) == 1.15


def test_yaml_writes_numbers_as_json_does(load_document: Load) -> None:
    scorer = load_document("input: double\noutput: double\naction:\n  - {+: [input, 1e3]}\n")
    assert score_one(scorer, 1) == 1001.0


def test_a_yaml_date_is_a_string(load_document: Load) -> None:
    scorer = load_document("input: 'null'\noutput: string\naction:\n  - string: 2026-11-23\n")
    assert score_one(scorer, None) == "2026-11-23"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ('{"input": "double", ', "not JSON"),
        ("sepal_length,sepal_width", "not a PFA document"),
        ("[1, 2]", "not a PFA document"),
        ('{"input": "double", "output": "double"}', "not a PFA document"),
        ("a: [b", "neither JSON nor YAML"),
        ("!!python/object/apply:os.getpid []", "neither JSON nor YAML"),
        ("{input: double, output: double, action: input, 1: 2}", "a key is 1, not a string"),
        ("{input: double, output: double, action: !!binary aGk=}", "action: bytes is no type of JSON"),
        (json.dumps(engine(["input"], "double", "string")), "titus can't load the document"),
        (json.dumps(engine([{"no.such.function": "input"}])), "no.such.function"),
        (json.dumps(engine(["input"], "NoSuchType")), "NoSuchType"),
        (json.dumps(engine(["input"], cells=[])), "cells: expected an object"),
        (json.dumps(engine(["input"], cells={"c": 3})), "cells.c: expected an object"),
        (json.dumps(engine(["input"], options={"timeout": "soon"})), "timeout"),
        (json.dumps(engine(["input"], begin=[{"error": "not today"}])), "not today"),
    ],
)
def test_what_is_no_engine_is_a_load_error_that_says_so(load_document: Load, text: str, says: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        load_document(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_engine_may_have_any_name_and_a_doc(load_document: Load) -> None:
    scorer = load_document(engine(["name"], output="string", name="Fisher_1936", doc='it\'s "quoted"'))
    assert score_one(scorer, None) == "Fisher_1936"


# --- methods ---------------------------------------------------------------------------------------------


def test_outputs_of_an_emitting_engine_are_the_list_of_what_it_emitted(load_document: Load) -> None:
    action = [{"if": {">": ["input", 0]}, "then": [{"emit": "input"}, {"emit": {"*": ["input", 2]}}]}]
    scorer = load_document(engine(action, "double", "double", method="emit"))
    assert scorer.score_batch([1, -1, 3]) == [[1.0, 2.0], [], [3.0, 6.0]]
    assert not scorer.stateful


def test_what_a_failing_input_emitted_is_not_the_next_ones(load_document: Load) -> None:
    action = [{"emit": "input"}, {"if": {"<": ["input", 0]}, "then": [{"error": "negative"}]}]
    results = load_document(engine(action, "int", "int", method="emit")).score_batch([-1, 2])
    assert isinstance(results[0], ScoreError)
    assert results[1] == [2]


def test_a_fold_goes_from_batch_to_batch_in_order(load_document: Load) -> None:
    scorer = load_document(FOLD)
    assert scorer.score_batch([1, 2]) == [1.0, 3.0]
    assert scorer.score_batch([3]) == [6.0]
    assert scorer.stateful


def test_a_cell_goes_from_input_to_input(load_document: Load) -> None:
    scorer = load_document(COUNTER)
    assert scorer.score_batch([None, None, None]) == [1, 2, 3]
    assert scorer.stateful


def test_a_pool_goes_from_input_to_input(load_document: Load) -> None:
    count = {"params": [{"old": "int"}], "ret": "int", "do": [{"+": ["old", 1]}]}
    action = [
        {"pool": "seen", "path": ["input"], "to": count, "init": 0},
        {"pool": "seen", "path": ["input"]},
    ]
    scorer = load_document(engine(action, "string", "int", pools={"seen": {"type": "int"}}))
    assert scorer.score_batch(["a", "b", "a"]) == [1, 1, 2]
    assert scorer.stateful


def test_begin_runs_before_the_first_input(load_document: Load) -> None:
    cells = {"offset": {"type": "int", "init": 0}}
    action = [{"+": ["input", {"cell": "offset"}]}]
    scorer = load_document(engine(action, "int", "int", cells=cells, begin=[{"cell": "offset", "to": 40}]))
    assert score_one(scorer, 2) == 42
    assert not scorer.stateful


def test_end_runs_when_the_engine_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.pfa"
    path.write_text(json.dumps({**FOLD, "end": [{"log": ["tally"], "namespace": "sum"}]}))
    scorer = load(path, {})
    scorer.score_batch([1, 2])
    with caplog.at_level(logging.DEBUG):
        scorer.close()
    assert "'sum': 3.0" in caplog.text


def test_what_a_document_logs_of_its_inputs_is_for_debugging_short_and_one_line(
    load_document: Load, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = load_document(engine([{"log": ["input"]}, "input"], "string", "string"))
    with caplog.at_level(logging.DEBUG):
        score_one(scorer, "first\nsecond" + 1000 * "x")
    (record,) = [one for one in caplog.records if "first" in one.getMessage()]
    assert record.levelno == logging.DEBUG
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 350


def test_an_error_at_the_end_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.pfa"
    path.write_text(json.dumps(engine(["input"], end=[{"error": "too late"}])))
    load(path, {}).close()
    assert "too late" in caplog.text


def test_nothing_is_printed(load_document: Load, capsys: pytest.CaptureFixture[str]) -> None:
    score_one(load_document(engine([{"log": ["input"]}, "input"], "string", "string")), "x")
    assert capsys.readouterr().out == ""


INTS = {"type": "array", "items": "int"}


def within(body: Any, ret: Any, action: Any) -> Document:
    """A document whose action calls a function `f` of one int."""
    fcns = {"f": {"params": [{"x": "int"}], "ret": ret, "do": body}}
    return engine(action, output=ret, fcns=fcns, cells=COUNTER["cells"])


DRAW = [{"rand.gaussian": [0.0, 1.0]}]
CALL = [{"u.f": [1]}]
STATEFUL = {
    "random": engine(DRAW, output="double"),
    "random in a function": within(DRAW, "double", CALL),
    "shuffle": engine([{"a.shuffle": "input"}], INTS, INTS),
    "inputs started": engine(["actionsStarted"], output="long"),
    "inputs finished": engine([{"let": {"n": {"+": [1, "actionsFinished"]}}}, "n"], output="long"),
    "cell in a function": within(COUNTER["action"], "int", CALL),
    "cell in a function that is handed on": within(
        COUNTER["action"], "int", [{"a.map": [{"new": [1], "type": INTS}, {"fcn": "u.f"}]}, 1]
    ),
    "deletion": engine(
        [{"pool": "p", "del": "input"}, "input"], "string", "string", pools={"p": {"type": "int"}}
    ),
}


@pytest.mark.parametrize("document", STATEFUL.values(), ids=STATEFUL)
def test_what_keeps_state_from_input_to_input_is_stateful(load_document: Load, document: Document) -> None:
    assert load_document(document).stateful


def test_a_cell_that_is_only_read_is_no_state(load_document: Load) -> None:
    document = engine([{"cell": "one"}], output="int", cells={"one": {"type": "int", "init": 1}})
    assert not load_document(document).stateful


# --- inputs that fail ------------------------------------------------------------------------------------


def test_an_error_of_the_documents_own_says_what_it_says(load_document: Load) -> None:
    scorer = load_document(engine([{"error": "no such flower", "code": -7}, None]))
    assert "no such flower" in error_of(scorer, None)


def test_an_input_of_another_type_is_told_with_its_path(load_document: Load) -> None:
    record = {"type": "record", "name": "R", "fields": [{"name": "width", "type": "double"}]}
    scorer = load_document(engine(["input.width"], record, "double"))
    assert error_of(scorer, {"width": "wide"}) == "input.width: expected a number, found 'wide'"
    assert error_of(scorer, {}) == "input.width: the field is missing"


def test_a_library_error_fails_its_input_alone(load_document: Load) -> None:
    scorer = load_document(engine([{"//": [10, "input"]}], "int", "int"))
    results = scorer.score_batch([5, 0, 2])
    assert (results[0], type(results[1]), results[2]) == (2, ScoreError, 5)


def test_a_loop_that_never_ends_fails_its_input(load_document: Load) -> None:
    action = [{"while": "input", "do": ["input"]}, "input"]
    scorer = load_document(engine(action, "boolean", "boolean", options={"timeout": 50}))
    assert "timeout" in error_of(scorer, True)
    assert score_one(scorer, False) is False


def test_a_loop_that_never_ends_fails_the_load_when_it_is_in_begin(load_document: Load) -> None:
    with pytest.raises(ModelLoadError, match="timeout"):
        load_document(engine(["input"], begin=[{"while": True, "do": [1]}], options={"timeout": 50}))


def test_a_document_has_no_more_time_than_others(load_document: Load) -> None:
    scorer = load_document(engine(["input"], options={"timeout": 10**9}))
    assert scorer._engine.options.timeout == 10_000


@pytest.mark.parametrize("options", [{}, {"timeout": 0}, {"timeout": -1}])
def test_no_document_may_take_for_ever(load_document: Load, options: Document) -> None:
    assert load_document(engine(["input"], options=options))._engine.options.timeout > 0


def test_recursion_without_end_fails_its_input(load_document: Load) -> None:
    fcns = {"f": {"params": [{"x": "int"}], "ret": "int", "do": [{"u.f": ["x"]}]}}
    scorer = load_document(engine([{"u.f": ["input"]}], "int", "int", fcns=fcns))
    assert "RecursionError" in error_of(scorer, 1)


def test_engines_do_not_share_their_cells(load_document: Load) -> None:
    first, second = load_document(COUNTER), load_document(COUNTER)
    first.score_batch([None, None])
    assert score_one(second, None) == 1


def test_an_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="unknown option 'seed'"):
        load(tmp_path / "model.pfa", {"seed": 1})
