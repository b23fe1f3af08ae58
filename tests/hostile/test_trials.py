"""Models that no look at their file tells apart from good ones hurt the process of their trial only."""

from pathlib import Path

import pytest

from tests.hostile.artifacts import memory_hog, native_crash
from udfs.errors import ModelCrashedError, ModelLoadError
from udfs.models.trial import try_load
from udfs.models.updates import Artifact, PublishModel
from udfs.records import ModelId
from udfs.scorers import FORMATS

MIB = 1 << 20


def try_out(format_name: str, artifact: Path) -> None:
    update = PublishModel(ModelId("evil", 1), format_name, Artifact("0" * 64, inline=b""))
    try_load(
        update,
        artifact,
        formats=tuple(FORMATS),
        deadline=200,
        max_memory=2048 * MIB,
        prepared=artifact.with_name("prepared"),
    )


def test_a_model_that_crashes_natively_ends_its_trial_only(tmp_path: Path) -> None:
    with pytest.raises(ModelCrashedError, match="SIGSEGV"):
        try_out("tensorflow", native_crash(tmp_path / "crash.zip"))


def test_a_model_that_takes_all_memory_ends_its_trial_only(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"bytes of memory; see loading\.max_memory"):
        try_out("onnx", memory_hog(tmp_path / "hog.onnx"))
