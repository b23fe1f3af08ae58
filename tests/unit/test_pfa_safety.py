"""A PFA document runs nothing but PFA, wherever it holds text that looks like Python."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udfs.errors import ModelLoadError
from udfs.scorers._titus import genpy
from udfs.scorers._titus_code import run_generated_code
from udfs.scorers.pfa import load

Document = dict[str, Any]

BREAKOUTS = {
    "apostrophes": "x' + str({run}) + 'y",
    "quotes": 'x" + str({run}) + "y',
    "escaped apostrophes": "x\\' + str({run}) + \\'y",
    "escaped quotes": 'x\\" + str({run}) + \\"y',
    "apostrophe and bracket": "x') or {run} or ('",
    "quote and bracket": 'x") or {run} or ("',
    "line": "x\n{run}\n",
    "class": "X: {run}\nclass Y",
    "bare": "{run}",
}


def field_name(text: str) -> Document:
    fields = [{"name": text, "type": "int"}]
    return {"input": {"type": "record", "name": "R", "fields": fields}, "output": "null", "action": [None]}


def field_name_new(text: str) -> Document:
    record = {"type": "record", "name": "R", "fields": [{"name": text, "type": "int"}]}
    return {"input": "null", "output": record, "action": [{"type": "R", "new": {text: 1}}]}


def if_not_null(extra: Document) -> Document:
    """titus writes the type of `x` between apostrophes into the code."""
    record = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}], **extra}
    action = [{"ifnotnull": {"x": "input"}, "then": ["x.a"], "else": [0]}]
    return {"input": ["null", record], "output": "int", "action": action}


def symbol(text: str) -> Document:
    enum = {"type": "enum", "name": "E", "symbols": ["a", text]}
    action = [{"ifnotnull": {"x": "input"}, "then": [1], "else": [0]}]
    return {"input": ["null", enum], "output": "int", "action": action}


def function(name: str) -> Document:
    fcns = {name: {"params": [{"x": "int"}], "ret": "int", "do": ["x"]}}
    return {"input": "int", "output": "int", "fcns": fcns, "action": [{f"u.{name}": ["input"]}]}


def simple(action: Any, **more: Any) -> Document:
    return {"input": "null", "output": "null", "action": [action, None], **more}


def defaulted(default: str) -> Document:
    fields = [{"name": "a", "type": "int"}, {"name": "b", "type": "string", "default": default}]
    return if_not_null({"fields": fields})


INTS = {"type": {"type": "array", "items": "int"}, "new": [1]}
MAP_OF_INTS = {"type": "map", "values": "int"}
BYTES = {"base64": "aGk="}


def acting(action: Any) -> Document:
    """An action on a record or null."""
    return {**if_not_null({}), "action": [action, 1]}


def cast(case: Document) -> Document:
    return acting({"cast": "input", "partial": True, "cases": [{"as": "R", "named": "r", "do": [1], **case}]})


def fold(zero: str) -> Document:
    parts = {"method": "fold", "zero": zero, "action": ["tally"], "merge": ["tallyOne"]}
    return {"input": "string", "output": "string", **parts}


def unpack(variable: str, format: str) -> Document:
    return simple({"unpack": BYTES, "format": [{variable: format}], "then": [1], "else": [0]})


def cell(name: str, init: str) -> Document:
    return simple({"cell": name}, cells={name: {"type": "string", "init": init}})


def pool(name: str, key: str) -> Document:
    return simple({"pool": name, "path": [{"string": key}]}, pools={name: {"type": "int", "init": {key: 1}}})


PLACES: dict[str, Callable[[str], Document]] = {
    "engine name": lambda text: simple(None, name=text),
    "engine doc": lambda text: simple(None, doc=text),
    "metadata": lambda text: simple("metadata", metadata={text: text}),
    "options": lambda text: simple(None, options={text: text}),
    "random seed": lambda text: simple(None, randseed=text),
    "zero": fold,
    "locator of an error": lambda text: simple({"@": text, "error": "e"}),
    "locator at the top": lambda text: {**simple(None), "@": text},
    "locator of a call": lambda text: simple({"@": text, "+": [1, 2]}),
    "record name": lambda text: if_not_null({"name": text}),
    "namespace": lambda text: if_not_null({"namespace": text}),
    "type doc": lambda text: if_not_null({"doc": text}),
    "type alias": lambda text: if_not_null({"aliases": [text]}),
    "type property": lambda text: if_not_null({text: text}),
    "field doc": lambda text: if_not_null({"fields": [{"name": "a", "type": "int", "doc": text}]}),
    "field property": lambda text: if_not_null({"fields": [{"name": "a", "type": "int", text: 1}]}),
    "field order": lambda text: if_not_null({"fields": [{"name": "a", "type": "int", "order": text}]}),
    "field default": defaulted,
    "field name": lambda text: if_not_null({"fields": [{"name": n, "type": "int"} for n in ("a", text)]}),
    "field name of the input": field_name,
    "field name in new": field_name_new,
    "symbol": symbol,
    "fixed name": lambda text: {**simple(None), "input": {"type": "fixed", "name": text, "size": 4}},
    "fixed size": lambda text: {**simple(None), "input": {"type": "fixed", "name": "F", "size": text}},
    "type": lambda text: {**simple(None), "input": text},
    "logical type": lambda text: {**simple(None), "input": {"type": "int", "logicalType": text}},
    "function name": function,
    "parameter": lambda text: simple(None, fcns={"f": {"params": [{text: "int"}], "ret": "int", "do": [1]}}),
    "name of a call": lambda text: simple({text: [1]}),
    "call by name": lambda text: simple({"call": text, "args": []}),
    "function reference": lambda text: simple({"a.map": [INTS, {"fcn": text}]}),
    "fill": lambda text: {
        **function("f"),
        "action": [{"a.map": [INTS, {"fcn": "u.f", "fill": {text: 1}}]}, 1],
    },
    "cell name": lambda text: cell(text, "x"),
    "cell data": lambda text: cell("c", text),
    "name of no cell": lambda text: simple({"cell": text}),
    "pool name": lambda text: pool(text, "x"),
    "pool key": lambda text: pool("p", text),
    "variable": lambda text: simple({"let": {text: 1}}),
    "assignment": lambda text: simple({"do": [{"let": {"x": 1}}, {"set": {text: 1}}]}),
    "reference": lambda text: simple(text),
    "path": lambda text: acting({"attr": "input", "path": [{"string": text}]}),
    "string": lambda text: simple({"string": text}),
    "base64": lambda text: simple({"base64": text}),
    "literal": lambda text: simple({"type": "string", "value": text}),
    "literal map": lambda text: simple({"type": MAP_OF_INTS, "value": {text: 1}}),
    "literal number": lambda text: simple({"double": text}),
    "map key": lambda text: simple({"type": MAP_OF_INTS, "new": {text: 1}}),
    "log namespace": lambda text: simple({"log": [1], "namespace": text}),
    "error message": lambda text: simple({"try": [{"error": text}]}),
    "error code": lambda text: simple({"error": "e", "code": text}),
    "try filter": lambda text: simple({"try": [{"error": "e"}], "filter": [text]}),
    "doc expression": lambda text: simple({"doc": text}),
    "for": lambda text: simple({"for": {text: 1}, "while": False, "step": {text: 1}, "do": [1]}),
    "foreach": lambda text: simple({"foreach": text, "in": INTS, "do": [1]}),
    "forkey": lambda text: simple(
        {"forkey": text, "forval": "v", "in": {"type": MAP_OF_INTS, "new": {"a": 1}}, "do": [1]}
    ),
    "ifnotnull": lambda text: acting({"ifnotnull": {text: "input"}, "then": [1], "else": [0]}),
    "cast variable": lambda text: cast({"named": text}),
    "cast type": lambda text: cast({"as": text}),
    "upcast": lambda text: simple({"upcast": 1, "as": text}),
    "pack": lambda text: simple({"pack": [{text: 1}]}),
    "pack raw": lambda text: simple({"pack": [{f"raw 2{text}": BYTES}]}),
    "unpack variable": lambda text: unpack(text, "byte"),
    "unpack format": lambda text: unpack("x", text),
    "regular expression": lambda text: simple({"re.contains": [{"string": "x"}, {"string": text}]}),
}


@pytest.mark.parametrize("breakout", BREAKOUTS)
@pytest.mark.parametrize("place", PLACES)
def test_text_never_becomes_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, breakout: str
) -> None:
    # The second wall, the look at the generated code, is left out: the first must hold by itself.
    monkeypatch.setitem(vars(genpy)["__builtins__"], "exec", exec)
    witness = tmp_path / "it_ran"
    run = f"__import__('pathlib').Path({str(witness)!r}).touch()"
    document = PLACES[place](BREAKOUTS[breakout].format(run=run))
    path = tmp_path / "model.pfa"
    path.write_text(json.dumps(document))
    with contextlib.suppress(ModelLoadError):
        scorer = load(path, {})
        scorer.score_batch([None, {"a": 1}, {"R": {"a": 1}}, 1, "a"])
        scorer.close()
    assert not witness.exists()


@pytest.mark.parametrize(
    ("place", "path_in_document"),
    [
        ("engine name", "name: "),
        ("record name", "input[1].name: "),
        ("namespace", "input[1].namespace: "),
        ("field name", "input[1].fields[1].name: "),
        ("field name of the input", "input.fields[0].name: "),
        ("symbol", "input[1].symbols[1]: "),
        ("function name", "fcns: "),
        ("cell name", "cells: "),
        ("pool name", "pools: "),
        ("fixed name", "input.name: "),
    ],
)
def test_a_name_that_is_no_identifier_is_told_with_its_path(
    tmp_path: Path, place: str, path_in_document: str
) -> None:
    path = tmp_path / "model.pfa"
    path.write_text(json.dumps(PLACES[place]("it's")))
    with pytest.raises(ModelLoadError) as caught:
        load(path, {})
    assert str(caught.value).startswith(path_in_document)
    assert "is not an identifier" in str(caught.value)


@pytest.mark.parametrize(
    "place", ["type doc", "field doc", "field default", "engine doc", "cell data", "locator of a call"]
)
def test_free_text_may_have_quotes(tmp_path: Path, place: str) -> None:
    path = tmp_path / "model.pfa"
    path.write_text(json.dumps(PLACES[place]('it\'s "quoted" \\ and\nmore')))
    load(path, {}).close()


@pytest.mark.parametrize("source", ["json", "avro"])
@pytest.mark.parametrize("part", ["cells", "pools"])
def test_a_document_reads_no_other_file(tmp_path: Path, part: str, source: str) -> None:
    other = tmp_path / "other.json"
    other.write_text("1")
    path = tmp_path / "model.pfa"
    path.write_text(
        json.dumps(simple(None, **{part: {"c": {"type": "int", "init": str(other), "source": source}}}))
    )
    with pytest.raises(ModelLoadError, match=rf"{part}\.c\.source: only values in the document itself"):
        load(path, {})


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"+": [1, ', "]}")])
def test_a_deep_document_is_a_load_error(tmp_path: Path, opening: str, closing: str, depth: int) -> None:
    path = tmp_path / "model.pfa"
    nested = opening * depth + "1" + closing * depth
    path.write_text(f'{{"input": "null", "output": "int", "action": [{nested}]}}')
    with pytest.raises(ModelLoadError):
        load(path, {})


def test_deep_yaml_is_a_load_error(tmp_path: Path) -> None:
    path = tmp_path / "model.pfa"
    path.write_text("input: int\noutput: int\naction: " + "[" * 3_000 + "]" * 3_000)
    with pytest.raises(ModelLoadError, match="deep"):
        load(path, {})


def test_yaml_aliases_that_multiply_are_a_load_error(tmp_path: Path) -> None:
    lines = ["input: int", "output: int", "action: [input]", "metadata:", "  a0: &a0 x"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path = tmp_path / "model.pfa"
    path.write_text("\n".join(lines))
    with pytest.raises(ModelLoadError, match="aliases"):
        load(path, {})


def test_a_yaml_alias_of_itself_is_a_load_error(tmp_path: Path) -> None:
    path = tmp_path / "model.pfa"
    path.write_text("input: int\noutput: int\naction: &a [*a]\n")
    with pytest.raises(ModelLoadError):
        load(path, {})


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "class E(PFAEngine):\n    x = 1",
        "class E(object):\n    def begin(self):\n        pass",
        "class E(PFAEngine):\n    def begin(self):\n        import os",
        "class E(PFAEngine):\n    def begin(self):\n        self.__class__",
        "class E(PFAEngine):\n    def begin(self):\n        __import__('os')",
        "class E(PFAEngine):\n    def begin(self):\n        self.avroOutputDataFileWriter('x')",
        "class E(PFAEngine):\n    def begin(self):\n        [x for x in ()]",
        "class E(PFAEngine):\n    def begin(self):\n        math.__loader__",
        "class E(PFAEngine):\n    def begin(self):\n        f'{self}'",
        "class E(PFAEngine):\n    def escape(self):\n        pass",
        "class E(PFAEngine):\n    pass\nclass F(PFAEngine):\n    pass",
    ],
)
def test_code_that_titus_does_not_generate_never_runs(code: str) -> None:
    with pytest.raises(ModelLoadError, match="unexpected"):
        run_generated_code(code, {"PFAEngine": object})


@pytest.mark.parametrize("name", ["open", "eval", "exec", "getattr", "globals", "vars", "type", "input"])
def test_generated_code_has_no_builtins_that_reach_out(name: str) -> None:
    names: dict[str, Any] = {"PFAEngine": object}
    run_generated_code(f"class E(PFAEngine):\n    def begin(self):\n        return {name}", names)
    with pytest.raises(NameError):
        names["E"]().begin()
