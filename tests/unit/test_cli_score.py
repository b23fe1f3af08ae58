"""`modelstream score`: a line out for every line in, whatever the lines are."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from cli.score import score_lines
from udfs.engine import score_inputs
from udfs.errors import ScoreError
from udfs.json_values import JsonValue

MODELSTREAM = [sys.executable, "-m", "cli.main"]


class Echo:
    """Gives back its inputs, but no input `"bad"`; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        self.batches.append(len(inputs))
        return [ScoreError("no good") if value == "bad" else value for value in inputs]

    def close(self) -> None:
        pass


class Broken(Echo):
    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        raise RuntimeError("boom")


class Forgetful(Echo):
    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        return [*inputs[1:]]


def scored(lines: Sequence[bytes], scorer: Echo | None = None, batch_size: int = 1000) -> list[Any]:
    text = b"".join(score_lines(partial(score_inputs, scorer or Echo()), lines, batch_size))
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("data", ["null", "0", "-1.5", "true", '"text"', "[1,[2]]", '{"a":{"b":1}}', "[]"])
def test_data_may_be_any_json_value(data: str) -> None:
    assert scored([b'{"id": 1, "data": %s}\n' % data.encode()]) == [{"id": 1, "outputs": json.loads(data)}]


def test_an_integer_beyond_64_bits_stays_itself() -> None:
    assert (
        scored([b'{"data": 123456789012345678901234567890}'])[0]["outputs"] == 123456789012345678901234567890
    )


def test_nan_and_infinity_are_read_and_written_as_null() -> None:
    assert scored([b'{"data": [NaN, Infinity, -Infinity, 1]}']) == [
        {"id": None, "outputs": [None, None, None, 1]}
    ]


@pytest.mark.parametrize("event_id", ['"e-1"', "7", "null", "1.5", '{"a": [1]}'])
def test_the_id_comes_back_as_it_was(event_id: str) -> None:
    assert scored([b'{"id": %s, "data": 1}' % event_id.encode()])[0]["id"] == json.loads(event_id)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"   \n",
        b"not json\n",
        b"[1, 2]\n",
        b"1\n",
        b"null\n",
        b'{"id": 1}\n',
        b'{"id": 1, "data": 1\n',
        b'{"id": 1, "data": "\xff"}\n',
        b'{"id": 1, "data": 1} {"id": 2, "data": 2}\n',
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"id": "\\ud800", "data": NaN}\n',
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_is_no_event_is_a_decode_error_and_the_others_are_scored(line: bytes) -> None:
    before, bad, after = scored([b'{"id": 1, "data": 1}\n', line, b'{"id": 2, "data": 2}\n'])
    assert (before, after) == ({"id": 1, "outputs": 1}, {"id": 2, "outputs": 2})
    assert bad["id"] is None
    assert (bad["error"]["stage"], bad["error"]["type"]) == ("decode", "DecodeError")
    assert bad["error"]["message"]


def test_a_bad_input_fails_alone() -> None:
    lines = [b'{"id": %d, "data": "%s"}' % (i, b"bad" if i == 1 else b"good") for i in range(3)]
    assert scored(lines) == [
        {"id": 0, "outputs": "good"},
        {"id": 1, "error": {"stage": "score", "type": "ScoreError", "message": "no good"}},
        {"id": 2, "outputs": "good"},
    ]


@pytest.mark.parametrize("scorer", [Broken(), Forgetful()], ids=["raises", "gives too few"])
def test_a_scorer_that_breaks_its_promise_gives_an_error_for_each_event(scorer: Echo) -> None:
    lines = scored([b'{"id": 1, "data": 1}', b"no", b'{"id": 2, "data": 2}'], scorer)
    assert [(line["id"], line["error"]["stage"]) for line in lines] == [
        (1, "score"),
        (None, "decode"),
        (2, "score"),
    ]


def test_outputs_that_json_cannot_say_are_a_score_error() -> None:
    class Odd(Echo):
        def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
            return [object()] * len(inputs)  # type: ignore[list-item]  # the broken promise itself

    assert scored([b'{"id": 3, "data": 1}'], Odd())[0]["error"]["stage"] == "score"


def test_the_model_sees_batches_of_the_size_asked_for() -> None:
    scorer = Echo()
    scored([b'{"data": 1}'] * 7, scorer, batch_size=3)
    assert scorer.batches == [3, 3, 1]


def test_a_batch_of_lines_that_are_no_events_never_reaches_the_model() -> None:
    scorer = Echo()
    assert len(scored([b"no"] * 5, scorer)) == 5
    assert scorer.batches == []


def test_a_batch_is_written_before_the_next_is_read() -> None:
    read: list[int] = []

    def lines() -> Iterator[bytes]:
        for number in range(4):
            read.append(number)
            yield b'{"data": 1}'

    assert len(next(score_lines(partial(score_inputs, Echo()), lines(), 2)).splitlines()) == 2
    assert read == [0, 1]


def test_no_lines_give_no_lines() -> None:
    assert scored([]) == []


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    same = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [value], [same])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("model") / "identity.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def modelstream(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*MODELSTREAM, *arguments], input=stdin, capture_output=True, timeout=60, check=False
    )


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, done.stderr.decode()
    return lines[0]


def test_scores_standard_input(identity: Path) -> None:
    done = modelstream(
        "score", "--format", "onnx", "--artifact", str(identity), "-", stdin=b'{"id":"a","data":[1,2]}\n'
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["a"]
    assert b"1.0,2.0" in done.stdout


def test_scores_a_file_and_exits_0_though_every_record_is_bad(identity: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(b'no\n\n{"id":1,"data":"text"}')
    done = modelstream("score", "--format", "onnx", "--artifact", str(identity), str(events))
    stages = [json.loads(line)["error"]["stage"] for line in done.stdout.splitlines()]
    assert (done.returncode, stages) == (0, ["decode", "decode", "score"])


def test_a_file_that_is_no_model_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"no model")
    done = modelstream("score", "--format", "onnx", "--artifact", str(tmp_path / "model"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert "ONNX" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "nope", "--artifact", "MODEL"], "unknown format 'nope'"),
        (["--format", "onnx", "--artifact", "/no/such/model"], "/no/such/model"),
        (["--format", "onnx"], "--artifact"),
        (["--format", "onnx", "--artifact", "MODEL", "/no/such/events"], "/no/such/events: No such file"),
        (["--format", "onnx", "--artifact", "MODEL", "--option", "novalue"], "expected key=value"),
        (["--format", "onnx", "--artifact", "MODEL", "--option", "a=1", "--option", "a=2"], "given twice"),
        (["--format", "onnx", "--artifact", "MODEL", "--batch-size", "0"], "batch-size"),
        (["--frmat", "onnx"], "--frmat"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(identity: Path, arguments: list[str], said: str) -> None:
    done = modelstream("score", *(str(identity) if text == "MODEL" else text for text in arguments))
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in one_line(done)


def test_a_reader_that_goes_away_is_no_error(identity: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*MODELSTREAM, "score", "--format", "onnx", "--artifact", str(identity)],
        input=b'{"data":[1,2]}\n' * 5000,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


def test_what_a_library_prints_stays_out_of_the_results(identity: Path) -> None:
    noisy = (
        "import os, udfs.scorers.onnx as o; real = o.load\n"
        "def load(*a): os.write(1, b'noise\\n'); return real(*a)\n"
        "o.load = load; from cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", noisy, "score", "--format", "onnx", "--artifact", str(identity)],
        input=b'{"id":1,"data":[1,2]}\n',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (b"noise" in done.stderr, done.stdout.count(b"\n")) == (True, 1)


def test_an_onnx_model_is_scored_without_importing_flink_kafka_or_another_format(identity: Path) -> None:
    heavy = ["pyflink", "tensorflow", "kafka", "pypmml", "titus", "pandas", "httpx", "fsspec", "py4j"]
    script = (
        "import sys; from cli.main import app\n"
        f"app(['score', '--format', 'onnx', '--artifact', {str(identity)!r}], standalone_mode=False)\n"
        f"sys.stderr.write(' '.join(m for m in {heavy!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"", capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""


class _Doubles(BaseHTTPRequestHandler):
    """Stands in for a model server: doubles numbers."""

    def do_POST(self) -> None:  # the library's name
        number = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps(2 * number).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server that doubles numbers."""
    with HTTPServer(("127.0.0.1", 0), _Doubles) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def test_a_server_is_asked_without_an_artifact(server: str) -> None:
    done = modelstream(
        "score", "--format", "rest", "--option", f"url={server}", stdin=b'{"id": 1, "data": 21}\n'
    )

    assert (done.returncode, json.loads(done.stdout)) == (0, {"id": 1, "outputs": 42}), done.stderr


def test_what_a_server_refuses_is_an_error_of_stage_offload(server: str) -> None:
    arguments = ["--option", f"url={server}", "--option", "output=predictions"]
    done = modelstream("score", "--format", "rest", *arguments, stdin=b'{"id": 1, "data": 21}\n')

    error = json.loads(done.stdout)["error"]
    assert (error["stage"], error["type"]) == ("offload", "OffloadError"), error


def test_an_artifact_of_a_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    done = modelstream(
        "score",
        "--format",
        "rest",
        "--artifact",
        str(tmp_path / "model"),
        "--option",
        "url=http://127.0.0.1:1",
    )

    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        b"modelstream: format 'rest' has no --artifact: a server has the model",
    )


def test_a_local_format_without_an_artifact_is_refused() -> None:
    done = modelstream("score", "--format", "onnx")

    assert done.stderr.splitlines()[-1] == b"modelstream: format 'onnx' needs --artifact, the model's file"


def test_a_url_that_is_none_is_refused() -> None:
    done = modelstream("score", "--format", "rest", "--option", "url=nonsense")

    assert done.returncode == 2
    assert b"option url" in done.stderr
