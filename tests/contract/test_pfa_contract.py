"""The PFA scorer keeps the promises of every scorer."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from examples.iris.train import MEASURES, fit_logistic_regression, write_pfa
from tests.contract.scorer_contract import ScorerContract
from udfs.json_values import JsonValue
from udfs.scorers import Scorer

TREE = """
input:
  type: record
  name: Flower
  fields:
    - {name: petal_length, type: double}
    - {name: petal_width, type: double}
output:
  type: record
  name: Outputs
  fields:
    - {name: species, type: string}
    - {name: path, type: {type: map, values: double}}
    - {name: width, type: ["null", double]}
cells:
  tree:
    type:
      type: record
      name: Node
      fields:
        - {name: field, type: {type: enum, name: Measure, symbols: [petal_length, petal_width]}}
        - {name: operator, type: string}
        - {name: value, type: double}
        - {name: pass, type: [Node, string]}
        - {name: fail, type: [Node, string]}
    init:
      field: petal_length
      operator: "<"
      value: 2.45
      pass: {string: setosa}
      fail:
        Node:
          field: petal_width
          operator: "<"
          value: 1.75
          pass: {string: versicolor}
          fail: {string: virginica}
action:
  - let:
      test:
        model.tree.simpleTree: [input, {cell: tree}]
  - type: Outputs
    new:
      species: test
      path: {type: {type: map, values: double}, new: {length: input.petal_length}}
      width: input.petal_width
"""


class TestTreeInYaml(ScorerContract):
    """A decision tree: text, maps and unions."""

    format = "pfa"
    output_types: ClassVar[dict[str, type]] = {"species": str, "path": dict, "width": dict}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("pfa") / "tree.yaml"
        path.write_text(TREE)
        return path


class TestLogisticRegression(ScorerContract):
    format = "pfa"
    output_types: ClassVar[dict[str, type]] = {"label": str, "probabilities": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("pfa") / "iris.pfa"
        write_pfa(fit_logistic_regression(), path)
        return path

    def test_outputs_are_those_of_the_model_it_was_written_from(
        self, scorer: Scorer, inputs: list[JsonValue]
    ) -> None:
        model = fit_logistic_regression()
        results: list[Any] = list(scorer.score_batch(inputs))
        assert [result["label"] for result in results] == model.predict(MEASURES).tolist()
        probabilities = [result["probabilities"] for result in results]
        np.testing.assert_allclose(probabilities, model.predict_proba(MEASURES), rtol=1e-9)
