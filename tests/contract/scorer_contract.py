"""What every scorer promises, whatever its format. A format's tests inherit these.

    class TestOnnx(ScorerContract):
        format = "onnx"
        output_types: ClassVar[dict[str, type]] = {"label": int, "probabilities": list}

        @pytest.fixture(scope="class")
        @classmethod
        def artifact(cls, tmp_path_factory): ...

The inputs are Fisher's 150 irises unless the subclass says otherwise.
"""

import io
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue, write_json
from udfs.scorers import Options, Scorer, load_scorer

IRIS_FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
_DEADLINE_S = 60.0


def iris_rows() -> list[JsonValue]:
    """Fisher's 150 irises, as objects of four named measures in cm."""
    return [dict(zip(IRIS_FIELDS, row, strict=True)) for row in load_iris().data.tolist()]


def foreign_files() -> dict[str, bytes]:
    """Small files of several formats, and some that are no model, by what they are."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no model")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    same = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [value], [same])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return {
        "onnx": model.SerializeToString(),
        "pmml": b'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/></PMML>',
        "pfa": b'{"input": "double", "output": "double", "action": ["input"]}',
        "zip": archive.getvalue(),
        "text": b"sepal_length,sepal_width\n5.1,3.5\n",
        "binary": bytes(range(256)) * 8,
    }


class ScorerContract:
    """The suite. A subclass names a format and gives a model of it."""

    format: ClassVar[str]
    """The format's name in the registry."""

    output_types: ClassVar[dict[str, type]]
    """The model's own output names, in order, with the types of their JSON values."""

    # --- what a subclass gives -------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The file of a model that takes `inputs`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Options:
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls) -> list[JsonValue]:
        """Inputs that the model scores, not all of them alike."""
        return iris_rows()

    @pytest.fixture(scope="class")
    @classmethod
    def bad_input(cls) -> JsonValue:
        """An input that the model can't score."""
        return dict.fromkeys(IRIS_FIELDS, "wide")

    # --- what follows from it --------------------------------------------------------------------------

    @pytest.fixture
    def load(self, options: Options) -> Iterator[Callable[[Path], Scorer]]:
        """Load a model file of the format; closed at the end."""
        loaded: list[Scorer] = []

        def load(path: Path) -> Scorer:
            loaded.append(load_scorer(self.format, path, options))
            return loaded[-1]

        yield load
        for scorer in loaded:
            scorer.close()

    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls, artifact: Path, options: Options) -> Iterator[Scorer]:
        scorer = load_scorer(cls.format, artifact, options)
        yield scorer
        scorer.close()

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, scorer: Scorer, inputs: list[JsonValue]) -> list[bytes]:
        """The outputs of each input when it is scored alone, as they are written."""
        return [write_json(_good(scorer.score_batch([value])[0])) for value in inputs]

    @pytest.fixture
    def scratch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty folder where temporary files go."""
        folder = tmp_path / "scratch"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        return folder

    # --- outputs ---------------------------------------------------------------------------------------

    def test_outputs_have_the_models_own_names_and_types(
        self, scorer: Scorer, inputs: list[JsonValue]
    ) -> None:
        outputs = scorer.score_batch(inputs[:1])[0]
        assert isinstance(outputs, dict)
        assert {name: type(value) for name, value in outputs.items()} == self.output_types
        assert list(outputs) == list(self.output_types)

    def test_outputs_are_json_values(self, scorer: Scorer, inputs: list[JsonValue]) -> None:
        for outputs in scorer.score_batch(inputs):
            assert_json_value(outputs)

    @pytest.mark.parametrize("size", [1, 3, 7, 1000])
    def test_outputs_are_the_same_bytes_in_any_batch(
        self, scorer: Scorer, inputs: list[JsonValue], alone: list[bytes], size: int
    ) -> None:
        count = max(size, len(inputs))
        cycle = [inputs[i % len(inputs)] for i in range(count)]
        got = [
            write_json(_good(outputs))
            for start in range(0, count, size)
            for outputs in scorer.score_batch(cycle[start : start + size])
        ]
        assert len(set(alone)) > 2
        assert got == [alone[i % len(inputs)] for i in range(count)]

    def test_inputs_are_left_as_they_were(self, scorer: Scorer, inputs: list[JsonValue]) -> None:
        before = write_json(inputs)
        scorer.score_batch(inputs)
        assert write_json(inputs) == before

    def test_another_thread_may_score(
        self, scorer: Scorer, inputs: list[JsonValue], alone: list[bytes]
    ) -> None:
        got: list[bytes] = []

        def score() -> None:
            got.extend(write_json(_good(outputs)) for outputs in scorer.score_batch(inputs))

        thread = threading.Thread(target=score)
        thread.start()
        thread.join()
        assert got == alone

    # --- bad records -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("position", [0, 1, 4, 8, 9])
    def test_a_bad_record_fails_alone(
        self,
        scorer: Scorer,
        inputs: list[JsonValue],
        alone: list[bytes],
        bad_input: JsonValue,
        position: int,
    ) -> None:
        batch = [*inputs[:position], bad_input, *inputs[position:9]]
        results = list(scorer.score_batch(batch))
        error = results.pop(position)
        assert isinstance(error, ScoreError)
        assert str(error)
        assert [write_json(_good(outputs)) for outputs in results] == alone[:9]

    def test_a_batch_of_bad_records_is_a_batch_of_errors(self, scorer: Scorer, bad_input: JsonValue) -> None:
        results = scorer.score_batch([bad_input] * 5)
        assert [type(result) for result in results] == [ScoreError] * 5

    def test_bad_records_leave_the_scorer_as_it_was(
        self, scorer: Scorer, inputs: list[JsonValue], alone: list[bytes], bad_input: JsonValue
    ) -> None:
        scorer.score_batch([bad_input, inputs[0], bad_input])
        assert [write_json(_good(outputs)) for outputs in scorer.score_batch(inputs)] == alone

    @pytest.mark.parametrize("junk", [None, True, 7, "iris", [], {}, [[]], {"": None}, [None, "x"]], ids=repr)
    def test_junk_is_never_an_exception(
        self, scorer: Scorer, inputs: list[JsonValue], junk: JsonValue
    ) -> None:
        results = scorer.score_batch([inputs[0], junk])
        assert len(results) == 2
        assert not isinstance(results[0], ScoreError)

    # --- loading and closing ---------------------------------------------------------------------------

    def test_a_missing_file_is_a_load_error(self, load: Callable[[Path], Scorer], tmp_path: Path) -> None:
        assert_clear_load_error(load, tmp_path / "nowhere")

    def test_an_empty_file_is_a_load_error(
        self, load: Callable[[Path], Scorer], artifact: Path, tmp_path: Path, scratch: Path
    ) -> None:
        path = tmp_path / artifact.name
        path.write_bytes(b"")
        assert_clear_load_error(load, path)
        assert not list(scratch.iterdir())

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
    def test_a_truncated_file_is_a_load_error(
        self, load: Callable[[Path], Scorer], artifact: Path, tmp_path: Path, scratch: Path, part: float
    ) -> None:
        whole = artifact.read_bytes()
        path = tmp_path / artifact.name
        path.write_bytes(whole[: int(len(whole) * part)])
        assert_clear_load_error(load, path)
        assert not list(scratch.iterdir())

    @pytest.mark.parametrize("other", foreign_files())
    def test_a_file_of_another_format_is_a_load_error(
        self, load: Callable[[Path], Scorer], artifact: Path, tmp_path: Path, scratch: Path, other: str
    ) -> None:
        if other == self.format:
            pytest.skip("its own format")
        path = tmp_path / artifact.name
        path.write_bytes(foreign_files()[other])
        assert_clear_load_error(load, path)
        assert not list(scratch.iterdir())

    def test_an_unknown_option_is_a_load_error_that_names_it(self, artifact: Path, options: Options) -> None:
        with pytest.raises(ModelLoadError, match="no_such_option"):
            load_scorer(self.format, artifact, {**options, "no_such_option": "1"})

    def test_nothing_is_left_behind_when_it_is_closed(
        self, artifact: Path, options: Options, inputs: list[JsonValue], scratch: Path
    ) -> None:
        self._load_score_close(artifact, options, inputs)  # the library's own threads start here
        before = _traces()
        self._load_score_close(artifact, options, inputs)
        wait_until(lambda: _traces() <= before, "threads, processes or open files are left behind")
        assert not list(scratch.iterdir())

    def test_another_model_starts_no_thread(
        self, scorer: Scorer, load: Callable[[Path], Scorer], artifact: Path, inputs: list[JsonValue]
    ) -> None:
        scorer.score_batch(inputs)
        before = psutil.Process().num_threads()
        load(artifact).score_batch(inputs * 4)
        wait_until(lambda: psutil.Process().num_threads() <= before, "a second model started threads")

    def _load_score_close(self, artifact: Path, options: Options, inputs: list[JsonValue]) -> None:
        scorer = load_scorer(self.format, artifact, options)
        try:
            scorer.score_batch(inputs)
        finally:
            scorer.close()


def assert_json_value(value: object) -> None:
    """Assert that a value is made of JSON's types alone: no tuple keys, no numpy numbers, no bytes."""
    kind: type[Any] = type(value)
    assert kind in (dict, list, tuple, str, int, float, bool, type(None)), kind
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            assert_json_value(item)


def assert_clear_load_error(load: Callable[[Path], Scorer], path: Path) -> None:
    """Assert that a file can't be loaded, and that the error is one line for people."""
    with pytest.raises(ModelLoadError) as caught:
        load(path)
    text = str(caught.value)
    assert text.strip()
    assert "\n" not in text
    assert len(text) < 1000


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait for a condition, or fail with what it means when it doesn't come to hold."""
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _good(outputs: JsonValue | ScoreError) -> JsonValue:
    assert not isinstance(outputs, ScoreError), outputs
    return outputs


class _Traces(tuple[int, int, int]):
    """Counts of what a process holds; `<=` when none is larger."""

    def __le__(self, other: tuple[int, ...]) -> bool:
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


def _traces() -> _Traces:
    me = psutil.Process()
    return _Traces((me.num_threads(), len(me.children(recursive=True)), me.num_fds()))
