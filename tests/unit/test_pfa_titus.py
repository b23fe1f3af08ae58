"""titus runs beside PyFlink's avro, and nothing that other modules see is changed for it."""

import importlib.metadata
import inspect
import subprocess
import sys
import textwrap

import pytest

from udfs.scorers import _titus
from udfs.scorers._titus_avro import AvroException, Names, Parse, SchemaFromJSONData, SchemaParseException

_BESIDE = """
    import sys
    import avro.schema, inspect, numpy
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "avro"}
    members = set(vars(avro.schema)), set(vars(inspect)), set(vars(numpy))
    import udfs.scorers._titus
    after = {name: sys.modules[name] for name in before}
    assert after == before
    assert (set(vars(avro.schema)), set(vars(inspect)), set(vars(numpy))) == members
    import builtins
    assert builtins.__import__ is __import__ and builtins.exec is exec
    assert "titus" in sys.modules
"""


def test_pyflinks_avro_is_installed_and_no_other() -> None:
    installed = importlib.metadata.packages_distributions()["avro"]
    assert set(installed) == {"avro"}


def test_loading_titus_changes_no_other_module() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_BESIDE)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_python_still_has_no_getargspec() -> None:
    assert not hasattr(inspect, "getargspec")


def test_titus_has_what_it_wants() -> None:
    assert _titus.genpy.__builtins__["exec"] is not exec
    assert hasattr(sys.modules["titus.util"].inspect, "getargspec")
    assert sys.modules["titus.datatype"].avro.schema.__name__ == "udfs.scorers._titus_avro"
    assert sys.modules["titus.datatype"].numpy.int is int


def test_a_type_is_cut_to_its_structure() -> None:
    schema = Parse(
        '{"type": "record", "name": "R", "doc": "d", "aliases": ["S"], "more": 1, "fields":'
        ' [{"name": "a", "type": {"type": "int", "logicalType": "date"}, "doc": "d", "default": 1}]}'
    )
    assert schema.to_json() == {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}
    assert schema.fields[0].default == 1


def test_a_type_may_be_part_of_itself() -> None:
    schema = Parse('{"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}')
    assert schema.fields[0].type.schemas[1] is schema


def test_a_name_without_a_namespace_is_found_in_that_around_it() -> None:
    inner = {"type": "enum", "name": "E", "symbols": ["a"]}
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": "E"}]
    schema = SchemaFromJSONData({"type": "record", "name": "n.R", "fields": fields}, Names())
    assert schema.fields[1].type.fullname == "n.E"


@pytest.mark.parametrize(
    "data",
    [
        "no such type",
        "Unknown",
        {"type": "array"},
        {"type": "record", "name": "R"},
        {"type": "record", "name": "R'", "fields": []},
        {"type": "record", "name": "R", "namespace": "a b", "fields": []},
        {"type": "record", "name": "R", "fields": [{"name": "a\n", "type": "int"}]},
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "order": "up"}]},
        {"type": "record", "name": "R", "fields": ["a"]},
        {"type": "error", "name": "R", "fields": []},
        {"type": "enum", "name": "E", "symbols": ["a-b"]},
        {"type": "enum", "name": "E", "symbols": ["a", "a"]},
        {"type": "fixed", "name": "F", "size": "4"},
        {"type": "fixed", "name": "F", "size": -4},
        {"symbols": ["a"]},
        None,
        7,
    ],
)
def test_what_is_no_type_is_refused(data: object) -> None:
    with pytest.raises(SchemaParseException):
        SchemaFromJSONData(data, Names())


@pytest.mark.parametrize("data", [["int", "int"], ["null", ["int", "string"]]])
def test_a_union_that_avro_does_not_allow_is_refused(data: object) -> None:
    with pytest.raises(AvroException):
        SchemaFromJSONData(data, Names())
