"""The PMML scorer keeps the promises of every scorer."""

from pathlib import Path
from typing import ClassVar

import pytest

from examples.iris.train import fit_logistic_regression, write_pmml
from tests.contract.scorer_contract import ScorerContract, iris_rows
from udfs.json_values import JsonValue

CHAIN = """<?xml version="1.0"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">
  <Header/>
  <DataDictionary>
    <DataField name="petal_length" optype="continuous" dataType="double"/>
    <DataField name="grams" optype="continuous" dataType="double"/>
  </DataDictionary>
  <MiningModel functionName="regression">
    <MiningSchema>
      <MiningField name="petal_length"/>
      <MiningField name="grams" usageType="target"/>
    </MiningSchema>
    <Segmentation multipleModelMethod="selectFirst">
      <Segment id="small">
        <SimplePredicate field="petal_length" operator="lessThan" value="3"/>
        <RegressionModel functionName="regression">
          <MiningSchema><MiningField name="petal_length"/></MiningSchema>
          <Output><OutputField name="small grams" feature="predictedValue" dataType="double"/></Output>
          <RegressionTable intercept="0.1">
            <NumericPredictor name="petal_length" coefficient="2"/>
          </RegressionTable>
        </RegressionModel>
      </Segment>
      <Segment id="large">
        <True/>
        <RegressionModel functionName="regression">
          <MiningSchema><MiningField name="petal_length"/></MiningSchema>
          <Output><OutputField name="large grams" feature="predictedValue" dataType="double"/></Output>
          <RegressionTable intercept="0.7">
            <NumericPredictor name="petal_length" coefficient="3"/>
          </RegressionTable>
        </RegressionModel>
      </Segment>
    </Segmentation>
  </MiningModel>
</PMML>
"""


class TestLogisticRegression(ScorerContract):
    format = "pmml"
    output_types: ClassVar[dict[str, type]] = {
        "label": str,
        "probability_setosa": float,
        "probability_versicolor": float,
        "probability_virginica": float,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("pmml") / "iris.pmml"
        write_pmml(fit_logistic_regression(), path)
        return path


class TestRecordsWithGaps(TestLogisticRegression):
    """Every third flower lacks a measure: its outputs are null, and the others' as ever."""

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        rows = iris_rows()
        return [
            {name: value for name, value in row.items() if i % 3 != 1 or name != "petal_width"}
            for i, row in enumerate(rows)
            if isinstance(row, dict)
        ]


class TestOutputsThatDifferFromRecordToRecord(ScorerContract):
    format = "pmml"
    output_types: ClassVar[dict[str, type]] = {"small grams": float}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("pmml") / "grams.pmml"
        path.write_text(CHAIN)
        return path
