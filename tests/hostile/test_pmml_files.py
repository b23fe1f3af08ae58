"""PMML files that name other files or grow without end; `tests/unit/test_pmml_scorer.py` has more."""

import time
from pathlib import Path

import pytest

from tests.hostile.artifacts import PMML
from tests.hostile.refusals import Surroundings, refusal
from udfs.scorers import load_scorer

BILLION = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPES = {
    "an external entity": '<!DOCTYPE PMML [<!ENTITY x SYSTEM "file://{secret}">]>',
    "an external entity over http": '<!DOCTYPE PMML [<!ENTITY x SYSTEM "{address}/x">]>',
    "an external entity by a public name": '<!DOCTYPE PMML [<!ENTITY x PUBLIC "x" "{address}/x">]>',
    "a parameter entity": '<!DOCTYPE PMML [<!ENTITY % x SYSTEM "{address}/x"> %x;]>',
    "an external definition": '<!DOCTYPE PMML SYSTEM "{address}/x.dtd">',
    "a billion laughs": f'<!DOCTYPE PMML [<!ENTITY e0 "ha"><!ENTITY x "&e9;">{BILLION}]>',
    "a quadratic bomb": f'<!DOCTYPE PMML [<!ENTITY x "{"a" * 100_000}">]>',
    "an empty one": "<!DOCTYPE PMML>",
}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "model.pmml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", DOCTYPES)
def test_a_document_type_declaration_is_refused(
    tmp_path: Path, surroundings: Surroundings, name: str
) -> None:
    doctype = DOCTYPES[name].replace("{secret}", str(surroundings.secret))
    doctype = doctype.replace("{address}", surroundings.address)
    uses = "&x;" * (1_000 if "quadratic" in name else 1)
    path = written(tmp_path, doctype + PMML.format(header=uses, attributes=""))
    assert "document type declaration" in refusal("pmml", path)


@pytest.mark.parametrize(
    ("header", "attributes"),
    [
        pytest.param(
            '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{address}/x"/>',
            "",
            id="an inclusion",
        ),
        pytest.param(
            "",
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="x {address}/x.xsd"',
            id="a schema",
        ),
        pytest.param('<?xml-stylesheet type="text/xsl" href="{address}/x.xsl"?>', "", id="a style sheet"),
        pytest.param('<Extension extender="java" name="x" value="Runtime.exec"/>', "", id="an extension"),
    ],
)
def test_what_names_an_address_is_not_looked_up(
    tmp_path: Path, surroundings: Surroundings, header: str, attributes: str
) -> None:
    text = PMML.format(header=header, attributes=attributes).replace("{address}", surroundings.address)
    scorer = load_scorer("pmml", written(tmp_path, text), {})
    assert scorer.score_batch([{"x": 2}]) == [{"estimate": 5.0}]
    scorer.close()


@pytest.mark.parametrize(
    "encoding", ["punycode", "idna", "unicode-escape", "RAW_UNICODE_ESCAPE", "undefined"]
)
def test_an_encoding_that_xml_does_not_know_is_refused(tmp_path: Path, encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    text = (head + PMML.format(header="", attributes="")).encode() + b"a-" * 2_000_000
    assert "unknown encoding" in refusal("pmml", written(tmp_path, text))


@pytest.mark.parametrize("encoding", ["bz2", "zip", "hex", "rot13", "uu"])
def test_an_encoding_that_is_no_text_is_refused(tmp_path: Path, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + PMML.format(header="", attributes="")
    assert "not a text encoding" in refusal("pmml", written(tmp_path, text))


def test_a_declaration_without_end_takes_no_time(tmp_path: Path) -> None:
    started = time.monotonic()
    path = written(tmp_path, "<?xml " + "encoding='" * 400_000)
    assert "no XML" in refusal("pmml", path)
    assert time.monotonic() - started < 60


def with_function(body: str) -> str:
    function = (
        '<TransformationDictionary><DefineFunction name="f" optype="continuous" dataType="double">'
        f'<ParameterField name="p"/>{body}</DefineFunction>'
        '<DerivedField name="d" optype="continuous" dataType="double"><Apply function="f">'
        '<FieldRef field="x"/></Apply></DerivedField></TransformationDictionary>'
    )
    text = PMML.format(header="", attributes="").replace("</DataDictionary>", f"</DataDictionary>{function}")
    return text.replace('Predictor name="x"', 'Predictor name="d"')


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('<Apply function="f"><FieldRef field="p"/></Apply>', id="calls itself"),
        pytest.param('<Apply function="+">' * 50_000 + "</Apply>" * 50_000, id="nested without end"),
    ],
)
def test_a_function_that_exhausts_the_stack_leaves_other_models_alone(tmp_path: Path, body: str) -> None:
    good = tmp_path / "good.pmml"
    good.write_text(PMML.format(header="", attributes=""))
    running = load_scorer("pmml", good, {})
    assert "PMML4S can't load the model" in refusal("pmml", written(tmp_path, with_function(body)))
    assert running.score_batch([{"x": 2}]) == [{"estimate": 5.0}]
    running.close()
