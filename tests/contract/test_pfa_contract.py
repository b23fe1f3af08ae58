"""The PFA scorer keeps the promises of every scorer."""

from pathlib import Path
from typing import ClassVar

import pytest

from examples.iris.train import fit_logistic_regression, write_pfa
from tests.contract.scorer_contract import ScorerContract


class TestLogisticRegression(ScorerContract):
    format = "pfa"
    output_types: ClassVar[dict[str, type]] = {"label": str, "probabilities": list}

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("pfa") / "iris.pfa"
        write_pfa(fit_logistic_regression(), path)
        return path
