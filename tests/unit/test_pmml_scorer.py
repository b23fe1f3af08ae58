"""What the PMML scorer makes of models and records, beyond what every scorer promises."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.scorers._pmml_jvm import Connection
from udfs.scorers.pmml import PmmlScorer, load


def pmml(dictionary: str, model: str) -> str:
    """A PMML document of data fields and one model."""
    return (
        '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>'
        f"<DataDictionary>{dictionary}</DataDictionary>{model}</PMML>"
    )


def regression(fields: str, predictors: str, *, method: str = "none", output: str = "") -> str:
    """A regression model of the target `y`."""
    return (
        f'<RegressionModel functionName="regression" normalizationMethod="{method}">'
        f'<MiningSchema>{fields}<MiningField name="y" usageType="target"/></MiningSchema>'
        f'<Output>{output or OUTPUT}</Output><RegressionTable intercept="1">{predictors}</RegressionTable>'
        "</RegressionModel>"
    )


OUTPUT = '<OutputField name="estimate" feature="predictedValue" optype="continuous" dataType="double"/>'
TARGET = '<DataField name="y" optype="continuous" dataType="double"/>'

SUM = pmml(
    '<DataField name="a b" optype="continuous" dataType="double"/>'
    '<DataField name="$c" optype="continuous" dataType="integer">'
    '<Value value="-9" property="missing"/><Value value="n/a" property="missing"/></DataField>'
    f'<DataField name="kind" optype="categorical" dataType="string"/>{TARGET}',
    regression(
        '<MiningField name="a b"/><MiningField name="$c" missingValueReplacement="100"/>'
        '<MiningField name="kind"/>',
        '<NumericPredictor name="a b" coefficient="1"/><NumericPredictor name="$c" coefficient="10"/>'
        '<CategoricalPredictor name="kind" value="x" coefficient="1000"/>',
    ),
)
"""estimate = 1 + "a b" + 10 "$c" + 1000 if kind is x; a missing $c counts as 100."""

GROWTH = pmml(
    f'<DataField name="x" optype="continuous" dataType="double"/>{TARGET}',
    regression('<MiningField name="x"/>', '<NumericPredictor name="x" coefficient="1"/>', method="exp"),
)
"""estimate = exp(1 + x)."""

BASKETS = pmml(
    '<DataField name="basket" optype="categorical" dataType="string"/>'
    '<DataField name="item" optype="categorical" dataType="string"/>',
    '<AssociationModel functionName="associationRules" numberOfTransactions="2" numberOfItems="2" '
    'minimumSupport="0.1" minimumConfidence="0.1" numberOfItemsets="2" numberOfRules="1"><MiningSchema>'
    '<MiningField name="basket" usageType="group"/><MiningField name="item" usageType="active"/>'
    '</MiningSchema><Output><OutputField name="next" feature="consequent" dataType="string"/></Output>'
    '<Item id="1" value="tea"/><Item id="2" value="milk"/>'
    '<Itemset id="1" numberOfItems="1"><ItemRef itemRef="1"/></Itemset>'
    '<Itemset id="2" numberOfItems="1"><ItemRef itemRef="2"/></Itemset>'
    '<AssociationRule support="1" confidence="1" antecedent="1" consequent="2"/></AssociationModel>',
)


def bounded(treatment: str) -> str:
    """A model of one field in [0, 10], with what its mining field says."""
    return pmml(
        '<DataField name="x" optype="continuous" dataType="double">'
        f'<Interval closure="closedClosed" leftMargin="0" rightMargin="10"/></DataField>{TARGET}',
        regression(
            f'<MiningField name="x" missingValueReplacement="5" {treatment}/>',
            '<NumericPredictor name="x" coefficient="1"/>',
        ),
    )


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    """One Java process for all the models here."""
    connection = Connection()
    yield
    connection.close()


Open = Callable[[str | bytes], PmmlScorer]


@pytest.fixture
def open_model(tmp_path: Path) -> Iterator[Open]:
    """Load a model from its text; closed at the end."""
    opened: list[PmmlScorer] = []

    def open_model(text: str | bytes) -> PmmlScorer:
        path = tmp_path / f"model-{len(opened)}.pmml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        opened.append(load(path, {}))
        return opened[-1]

    yield open_model
    for scorer in opened:
        scorer.close()


def estimate(scorer: PmmlScorer, value: JsonValue) -> JsonValue:
    outputs = scorer.score_batch([value])[0]
    assert isinstance(outputs, dict), outputs
    result: JsonValue = outputs["estimate"]
    return result


def error(scorer: PmmlScorer, value: JsonValue) -> str:
    result = scorer.score_batch([value])[0]
    assert isinstance(result, ScoreError), result
    return str(result)


# --- records ---------------------------------------------------------------------------------------------


def test_fields_go_by_their_names_whatever_the_names(open_model: Open) -> None:
    assert estimate(open_model(SUM), {"kind": "x", "$c": 2, "a b": 0.5}) == 1021.5


def test_an_array_is_read_in_the_order_of_the_active_fields(open_model: Open) -> None:
    assert estimate(open_model(SUM), [0.5, 2, "x"]) == 1021.5


@pytest.mark.parametrize("value", [[0.5, 2], [0.5, 2, "x", 1], [], None, 7, "x", True], ids=repr)
def test_what_is_no_record_is_an_error_that_says_what_is_wanted(open_model: Open, value: JsonValue) -> None:
    assert error(open_model(SUM), value) == (
        "the model takes an object of named fields or an array of 3 values"
    )


def test_fields_of_no_use_to_the_model_are_ignored(open_model: Open) -> None:
    record: JsonValue = {"a b": 1, "$c": 2, "kind": "z", "y": "?", "other": [{}]}
    assert estimate(open_model(SUM), record) == 22.0


@pytest.mark.parametrize(
    "record",
    [
        {"a b": 1, "kind": "z"},
        {"a b": 1, "$c": None, "kind": "z"},
        {"a b": 1, "$c": math.nan, "kind": "z"},
        {"a b": 1, "$c": -9, "kind": "z"},
        {"a b": 1, "$c": "n/a", "kind": "z"},
        [1, None, "z"],
    ],
    ids=repr,
)
def test_a_missing_value_is_replaced_as_the_model_says(open_model: Open, record: JsonValue) -> None:
    assert estimate(open_model(SUM), record) == 1002.0


def test_a_missing_value_without_replacement_gives_null(open_model: Open) -> None:
    assert estimate(open_model(SUM), {"$c": 1, "kind": "z"}) is None


def test_numbers_may_be_written_as_strings(open_model: Open) -> None:
    assert estimate(open_model(SUM), {"a b": " 0.5", "$c": "2", "kind": "z"}) == 21.5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("a b", "wide", "field 'a b' takes double values, got the text 'wide'"),
        ("a b", "", "field 'a b' takes double values, got the text ''"),
        ("a b", True, "field 'a b' takes double values, got True"),
        ("a b", math.inf, "field 'a b' takes double values, got inf"),
        ("a b", [1], "field 'a b' takes double values, got an array"),
        ("$c", {"v": 1}, "field '$c' takes integer values, got an object"),
        ("$c", 2**63, "field '$c' takes integer values, got 9223372036854775808"),
        ("$c", 1e300, "field '$c' takes integer values, got 1e+300"),
        ("kind", ["x"], "field 'kind' takes string values, got an array"),
        ("kind", -math.inf, "field 'kind' takes string values, got -inf"),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_its_field(
    open_model: Open, field: str, value: JsonValue, message: str
) -> None:
    assert error(open_model(SUM), {"a b": 1, "$c": 2, "kind": "x", field: value}) == message


@pytest.mark.parametrize("value", ["\ud800", 10**30], ids=["lone surrogate", "more than 64 bits"])
def test_what_json_has_no_text_for_fails_alone(open_model: Open, value: JsonValue) -> None:
    good: JsonValue = {"a b": 1, "$c": 2, "kind": "x"}
    results = open_model(SUM).score_batch([good, {"a b": 1, "$c": 2, "kind": value}, good])
    assert [isinstance(result, ScoreError) for result in results] == [False, True, False]


def test_what_java_fails_on_fails_alone_and_says_why(open_model: Open) -> None:
    model = pmml(
        f'<DataField name="x" optype="categorical" dataType="boolean"/>{TARGET}',
        regression(
            '<MiningField name="x"/>', '<CategoricalPredictor name="x" value="true" coefficient="1"/>'
        ),
    )
    results = open_model(model).score_batch([{"x": x} for x in (True, "true", False, "maybe", True)])
    assert [result for result in results if not isinstance(result, ScoreError)] == [
        {"estimate": y} for y in (2.0, 2.0, 1.0, 2.0)
    ]
    assert str(results[3]) == 'IllegalArgumentException: For input string: "maybe"'


def test_a_number_beyond_64_bits_is_a_double_where_a_double_is_wanted(open_model: Open) -> None:
    assert estimate(open_model(SUM), {"a b": 10**30, "$c": 0, "kind": "z"}) == 1e30


@pytest.mark.parametrize(
    ("treatment", "value", "expected"),
    [
        ("", 11, None),
        ('invalidValueTreatment="asMissing"', 11, 6.0),
        ('invalidValueTreatment="asIs"', 11, 12.0),
        ('invalidValueTreatment="asMissing"', "wide", 6.0),
        ('outliers="asExtremeValues" lowValue="2" highValue="8"', 9, 9.0),
        ('outliers="asMissingValues" lowValue="2" highValue="8"', 9, 6.0),
    ],
)
def test_values_out_of_range_are_treated_as_the_model_says(
    open_model: Open, treatment: str, value: JsonValue, expected: JsonValue
) -> None:
    assert estimate(open_model(bounded(treatment)), {"x": value}) == expected


# --- outputs ---------------------------------------------------------------------------------------------


def test_an_infinite_output_is_null_and_the_records_beside_it_are_scored(open_model: Open) -> None:
    results = open_model(GROWTH).score_batch([{"x": x} for x in (0, 5000, 1)])
    assert results == [{"estimate": math.e}, {"estimate": None}, {"estimate": math.exp(2)}]


def test_outputs_come_in_the_models_order_with_integers_as_integers(open_model: Open) -> None:
    names = [f"o{number}" for number in (9, 3, 7, 1, 8, 2)]
    output = "".join(
        f'<OutputField name="{name}" feature="predictedValue" optype="continuous" dataType="integer"/>'
        for name in names
    )
    model = pmml(
        f'<DataField name="x" optype="continuous" dataType="double"/>{TARGET}',
        regression('<MiningField name="x"/>', '<NumericPredictor name="x" coefficient="1"/>', output=output),
    )
    outputs = open_model(model).score_batch([{"x": 2}])[0]
    assert json.dumps(outputs) == json.dumps(dict.fromkeys(names, 3))


def test_an_integer_output_that_is_missing_is_null(open_model: Open) -> None:
    output = OUTPUT.replace("double", "integer")
    model = bounded("").replace(OUTPUT, output)
    assert open_model(model).score_batch([{"x": 11}, {"x": 2}]) == [{"estimate": None}, {"estimate": 3}]


def test_a_model_that_gathers_groups_says_that_it_is_stateful(open_model: Open) -> None:
    assert open_model(BASKETS).stateful


def test_other_models_are_not_stateful(open_model: Open) -> None:
    assert not open_model(SUM).stateful


# --- documents -------------------------------------------------------------------------------------------

DOCTYPE = '<!DOCTYPE PMML [<!ENTITY secret SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7"]
)
@pytest.mark.parametrize("before", ["", "\n<!-- PMML -->\n"], ids=["first", "after a comment"])
def test_a_doctype_is_refused_in_any_encoding(open_model: Open, encoding: str, before: str) -> None:
    declared = "utf-16" if encoding.startswith("utf-16") else encoding.removesuffix("-sig")
    head = f'<?xml version="1.0" encoding="{declared}"?>'
    body = f"{before}{DOCTYPE}{SUM}"
    text = head.encode() + body.encode("utf-7") if encoding == "utf-7" else (head + body).encode(encoding)
    with pytest.raises(ModelLoadError, match="document type declaration"):
        open_model(text)


def test_an_undefined_entity_is_a_load_error(open_model: Open) -> None:
    with pytest.raises(ModelLoadError, match="undefined entity"):
        open_model(SUM.replace("<Header/>", "<Header>&secret;</Header>"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_a_model_is_read_in_its_own_encoding(open_model: Open, encoding: str) -> None:
    declared = "utf-16" if encoding.startswith("utf-16") else encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + GROWTH.replace('"x"', '"größe"')
    assert estimate(open_model(text.encode(encoding)), {"größe": -1}) == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'<?xml version="1.0" encoding="klingon"?><PMML/>', "unknown encoding"),
        (b"<PMML>\xff</PMML>", "can't decode"),
        (b"<html></html>", "root element is 'html'"),
        (b"<PMML/><PMML/>", "junk after document element"),
        (SUM.replace("RegressionModel", "HoroscopeModel").encode(), "HoroscopeModel"),
        (pmml(TARGET, "").encode(), "no model"),
    ],
)
def test_what_is_no_pmml_model_is_refused_with_the_reason(
    open_model: Open, text: bytes, message: str
) -> None:
    with pytest.raises(ModelLoadError, match=message):
        open_model(text)
