"""tensorflow-serving remotes against a stand-in, see tests/tensorflow_serving_server.py.

Expected is what the local format says of the same SavedModel: a model keeps its outputs when it moves.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from devtools import processes
from tests.contract.remote_checks import assert_same, offload_error, record_fault, score_all
from tests.contract.remote_contract import RemoteContract, run
from tests.contract.scorer_contract import IRIS_FIELDS, iris_rows
from tests.contract.tensorflow_models import pack
from udfs.errors import Fault, ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options
from udfs.scorers import load_scorer

_PROJECT = Path(__file__).parent.parent.parent
_MODULE = (sys.executable, "-m")
_EXAMPLES: list[JsonValue] = [
    {"weight": 2, "count": 3, "tags": ["a", "ü"]},
    {"weight": 0.5, "count": 1},
    {"weight": 1.25, "tags": None},
    {"weight": -3.5, "tags": "b"},
] * 3


class Stand(NamedTuple):
    """A running stand-in, and the SavedModel that it serves as version 1 and 2 of ``iris``."""

    grpc: str
    rest: str
    artifact: Path


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("tensorflow-serving")
    log = folder / "log"
    model = folder / "iris" / "1"
    maker = processes.start([*_MODULE, "tests.tensorflow_serving_model", str(model)], log, folder=_PROJECT)
    processes.wait_ready(maker, lambda: (model / "saved_model.pb").exists(), "the model", log, 240)
    assert maker.wait(60) == 0, processes.end_of(log)
    artifact = pack(model, folder / "iris.zip")
    port, rest_port = processes.free_ports(2)
    command = [*_MODULE, "tests.tensorflow_serving_server", str(port), str(rest_port), "iris"]
    server = processes.start([*command, str(folder / "iris")], log, folder=_PROJECT)
    try:
        both = port, rest_port
        processes.wait_ready(server, lambda: all(map(processes.listens, both)), "the stand-in", log, 240)
        yield Stand(f"grpc://127.0.0.1:{port}", f"http://127.0.0.1:{rest_port}", artifact)
    finally:
        processes.stop(server)


def local_outputs(stand: Stand, options: Options, inputs: list[JsonValue]) -> list[JsonValue]:
    """What the local format says."""
    scorer = load_scorer("tensorflow", stand.artifact, options)
    try:
        outputs = scorer.score_batch(inputs)
    finally:
        scorer.close()
    assert not [one for one in outputs if isinstance(one, ScoreError)]
    return list(outputs)  # type: ignore[arg-type]  # no errors


class _Serving(RemoteContract):
    format = "tensorflow-serving"

    more: ClassVar[Options] = {}
    """Options of the remote."""
    local: ClassVar[Options] = {}
    """Options that the local format has for the same."""

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, stand: Stand) -> Options:
        return {"url": stand.grpc, "model": "iris", **cls.more}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return iris_rows()

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, stand: Stand, inputs: list[JsonValue]) -> list[JsonValue]:
        return local_outputs(stand, cls.local, inputs)

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return dict.fromkeys(IRIS_FIELDS, "wide")


class _Rest(_Serving):
    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, stand: Stand) -> Options:
        return {"url": stand.rest, "model": "iris", **cls.more}


class TestPredict(_Serving):
    pass


class TestPredictByRow(_Rest):
    pass


class TestPredictByColumn(_Rest):
    more: ClassVar[Options] = {"request_format": "column"}


class TestPredictFields(_Serving):
    more: ClassVar[Options] = {
        "signature": "vector",
        "fields": ",".join(IRIS_FIELDS),
        "outputs": "probabilities",
    }
    local: ClassVar[Options] = more


class TestPredictFieldsByColumn(_Rest):
    more: ClassVar[Options] = {**TestPredictFields.more, "request_format": "column", "label": "stable"}
    local: ClassVar[Options] = TestPredictFields.more


class _Examples(_Serving):
    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        return _EXAMPLES

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        return {"weight": "heavy"}


class TestPredictExamples(_Examples):
    more: ClassVar[Options] = {
        "signature": "examples",
        "input": "tf.Example",
        "features": {"weight": "float"},
    }
    local: ClassVar[Options] = {"signature": "examples", "input": "tf.Example"}


class TestPredictExamplesByRow(TestPredictExamples, _Rest):
    pass


class TestClassify(_Examples):
    more: ClassVar[Options] = {"signature": "classify", "call": "classify", "features": '{"weight": "float"}'}
    local: ClassVar[Options] = {"signature": "classify", "input": "tf.Example"}


class TestClassifyByRest(TestClassify, _Rest):
    pass


class TestRegress(_Examples):
    more: ClassVar[Options] = {
        "signature": "regress",
        "call": "regress",
        "features": {"weight": "float"},
        "version": "1",
    }
    local: ClassVar[Options] = {"signature": "regress", "input": "tf.Example"}


class TestRegressByRest(TestRegress, _Rest):
    pass


class _Signatures:
    """Signatures and options beyond the suite; one class a transport."""

    scheme: str
    more: ClassVar[Options] = {}

    def score(self, stand: Stand, options: Options, inputs: list[JsonValue]) -> list[JsonValue | ScoreError]:
        async def check() -> list[JsonValue | ScoreError]:
            url = stand.grpc if self.scheme == "grpc" else stand.rest
            suite = _Serving()
            async with suite.opened({"url": url, "model": "iris", **self.more, **options}) as remote:
                return await score_all(remote, inputs)

        return run(check())

    def test_elements_of_every_type_go_there_and_back(self, stand: Stand) -> None:
        record: dict[str, Any] = {
            "half": [0.5, -2.0], "float": [0.1, 1e30], "double": [0.1, 1e300], "int8": [-128, 127],
            "int16": [-(2**15), 2**15 - 1], "int32": [-(2**31), 2**31 - 1], "int64": [-(2**63), 2**63 - 1],
            "uint8": [0, 255], "uint16": [0, 2**16 - 1], "uint32": [0, 2**32 - 1], "uint64": [0, 2**64 - 1],
            "flag": [True, False], "text": ["", "ü"],
        }  # fmt: skip
        options: Options = {"signature": "echo"}
        assert_same(self.score(stand, options, [record, record]), local_outputs(stand, options, [record] * 2))

    def test_nan_and_infinity_go_there_and_back(self, stand: Stand) -> None:
        inputs: list[JsonValue] = [float("nan"), float("inf"), -1.0, 0.0, 4.0]
        options: Options = {"signature": "root"}
        assert repr(self.score(stand, options, inputs)) == repr(local_outputs(stand, options, inputs))

    def test_records_of_different_shapes_are_scored(self, stand: Stand) -> None:
        inputs: list[JsonValue] = [[1.0], [1.0, 2.0], [3.0], [4.0, "x"], [0.5, 0.25]]
        outputs = self.score(stand, {"signature": "total"}, inputs)
        assert isinstance(outputs.pop(3), ScoreError)
        assert outputs == [{"total": 1.0}, {"total": 3.0}, {"total": 3.0}, {"total": 0.75}]

    def test_a_signature_of_one_record_a_request_says_so(self, stand: Stand) -> None:
        assert self.score(stand, {"signature": "one"}, [[1, 2, 3, 4]]) == [{"y": [2.0, 4.0, 6.0, 8.0]}]

    def test_an_output_of_bytes_is_text(self, stand: Stand) -> None:
        assert self.score(stand, {"signature": "binary"}, ["ü"]) == [{"x_bytes": "ü"}]

    def test_a_record_that_the_model_refuses_is_its_records_fault(self, stand: Stand) -> None:
        with record_fault():
            self.score(stand, {"signature": "picky"}, [0, 7])

    @pytest.mark.parametrize("options", [{"model": "roses"}, {"version": 7}, {"label": "canary"}])
    def test_a_model_that_is_not_there_is_a_lasting_fault(self, stand: Stand, options: Options) -> None:
        with offload_error(Fault.LASTING) as said:
            self.score(stand, options, [[1.0]])
        assert "Servable not found" in said[0]

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"signature": "nobody"}, "no signature 'nobody'; known: binary, classify, echo"),
            ({"outputs": "nothing"}, "no output 'nothing'; the signature has: label, probabilities"),
            ({"fields": ["a"]}, "fields are for a model with one input"),
            ({"signature": "vector", "fields": ["a"]}, "1 fields don't fit"),
            ({"call": "classify"}, "a signature for classify has the outputs classes and scores"),
            ({"call": "regress", "signature": "classify"}, "a signature for regress has the outputs outputs"),
            ({"input": "tf.Example"}, "only input takes strings"),
        ],
    )
    def test_options_that_do_not_fit_the_model_are_a_load_error(
        self, stand: Stand, options: Options, text: str
    ) -> None:
        with pytest.raises(ModelLoadError, match=text):
            self.score(stand, options, [[1.0]])


class TestSignatures(_Signatures):
    scheme = "grpc"

    def test_an_output_that_is_no_text_is_its_records_error(self, stand: Stand) -> None:
        good, bad = self.score(stand, {"signature": "no_text"}, ["YWI", "_w"])
        assert good == {"y": "ab"}
        assert isinstance(bad, ScoreError)


class TestSignaturesByRow(_Signatures):
    scheme = "http"


class TestSignaturesByColumn(_Signatures):
    scheme = "http"
    more: ClassVar[Options] = {"request_format": "column"}
