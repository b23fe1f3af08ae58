"""Artifacts to publish, statuses to show, and what the commands need not import."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.artifacts import LARGEST_INLINE, make_artifact
from cli.statuses import Statuses
from connectors.client import Record
from tests.s3 import s3_server
from udfs.errors import ArtifactError
from udfs.records import ModelId, ModelStatus


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(b"x" * LARGEST_INLINE)
    return path


def test_a_file_of_just_the_limit_is_inline(file: Path) -> None:
    artifact = make_artifact(file)

    assert artifact.inline == file.read_bytes()
    assert artifact.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_beyond_the_limit_is_refused_with_what_to_do(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")

    with pytest.raises(ArtifactError, match=r"--upload URI puts the file .* --uri URI says where"):
        make_artifact(file)


def test_a_place_where_the_bytes_are_is_published_with_their_sha256(file: Path) -> None:
    artifact = make_artifact(file, uri="https://models.example/iris.onnx")

    assert (artifact.inline, artifact.uri) == (None, "https://models.example/iris.onnx")
    assert artifact.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_upload_that_is_there_already_stays(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    first = make_artifact(file, upload=f"{folder.as_uri()}/")
    (copied,) = folder.iterdir()
    before = copied.stat().st_mtime_ns

    assert make_artifact(file, upload=folder.as_uri()) == first
    assert copied.stat().st_mtime_ns == before


def test_an_upload_of_another_length_is_written_anew(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "up"
    make_artifact(file, upload=folder.as_uri())
    (copied,) = folder.iterdir()
    copied.write_bytes(b"half")

    make_artifact(file, upload=folder.as_uri())

    assert copied.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("upload", "said"),
    [
        ("http://models.example/up", "can be put at file: and s3: URIs"),
        ("ftp://models.example/up", "expected a URI of"),
        ("/plain/path", "expected a URI of"),
        ("file:///models/../secret", "are refused"),
        ("file://host/path", "names no other host"),
        ("file:relative", "expected an absolute path"),
        ("file:///proc/nowhere", "file:///proc/nowhere/"),
    ],
)
def test_a_place_that_cannot_take_the_file_is_refused(file: Path, upload: str, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        make_artifact(file, upload=upload)


@pytest.mark.parametrize(
    "uri",
    ["iris.onnx", "/models/iris.onnx", "", "ftp://models.example/iris.onnx", "grpc://models.example:8081"],
)
def test_a_place_that_is_no_uri_is_refused(file: Path, uri: str) -> None:
    with pytest.raises(ArtifactError, match="expected a URI of"):
        make_artifact(file, uri=uri)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    """Options for a server of S3 on loopback that has the bucket ``models``."""
    with s3_server("models") as options:
        yield options


def test_a_file_is_uploaded_to_s3_once(file: Path, s3: dict[str, Any]) -> None:
    file.write_bytes(bytes(6 * 1024 * 1024))

    artifact = make_artifact(file, upload="s3://models/iris", s3=s3)

    assert artifact.uri == f"s3://models/iris/{artifact.sha256}"
    assert make_artifact(file, upload="s3://models/iris/", s3=s3) == artifact


def test_a_bucket_that_is_missing_is_not_made(file: Path, s3: dict[str, Any]) -> None:
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"^s3://modles/.*NotFound"):
            make_artifact(file, upload="s3://modles", s3=s3)


def test_two_places_are_refused(file: Path) -> None:
    with pytest.raises(ArtifactError, match="only one of them"):
        make_artifact(file, upload="s3://models", uri="s3://models/iris")


# --- statuses -------------------------------------------------------------------------------------------


def said(subtask: int, phase: Any, parallelism: int = 4, job: str = "job", model: str = "iris:1") -> Record:
    status = ModelStatus(job, ModelId.parse(model), phase, subtask, parallelism, 0, "0" * 64, "now")
    return Record(msgspec.json.encode(status), status.key())


def now(records: list[Record], of: str | None = None) -> list[tuple[str, int, str]]:
    statuses = Statuses()
    statuses.add(records)
    return [(str(one.model), one.subtask, one.status) for one in statuses.now(of)]


def test_the_last_word_counts() -> None:
    assert now([said(0, "ready"), said(0, "active")]) == [("iris:1", 0, "active")]


def test_subtasks_that_are_no_more_are_left_out() -> None:
    records = [said(subtask, "active") for subtask in range(4)]

    assert now([*records, said(0, "active", parallelism=2)]) == [
        ("iris:1", 0, "active"),
        ("iris:1", 1, "active"),
    ]


def test_another_job_has_words_of_its_own() -> None:
    assert len(now([said(0, "active"), said(0, "failed", job="other", parallelism=1)])) == 2


@pytest.mark.parametrize(
    ("of", "count"), [(None, 3), ("iris", 2), ("iris:2", 1), ("rose", 1), ("iris:3", 0), ("iri", 0)]
)
def test_a_model_or_a_version_is_chosen(of: str | None, count: int) -> None:
    records = [said(0, "active", model=model) for model in ("iris:1", "iris:2", "rose:1")]

    assert len(now(records, of)) == count


def test_versions_are_sorted_by_number() -> None:
    records = [said(0, "active", model=model) for model in ("iris:10", "iris:9")]

    assert [model for model, _, _ in now(records)] == ["iris:9", "iris:10"]


def test_a_deleted_status_is_gone() -> None:
    record = said(0, "active")

    assert now([record, record._replace(value=None)]) == []


@pytest.mark.parametrize("value", [b"", b"no json", b"{}", b"\xff", b'{"job": 1}'])
def test_what_is_no_status_is_left_out(value: bytes) -> None:
    assert now([Record(value, b"key"), said(0, "active")]) == [("iris:1", 0, "active")]


# --- all of them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["cli.models", "cli.events", "cli.dead_letters", "cli.topics"])
def test_the_commands_start_without_flink_a_format_or_a_file_system(module: str) -> None:
    heavy = ["pyflink", "py4j", "onnxruntime", "tensorflow", "pypmml", "titus", "pandas", "fsspec", "httpx"]
    script = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.stderr) == ("", "")


STAGED = ["models", "publish", "iris:1", "FILE", "--format", "onnx", "--no-activate"]
EVERYWHERE = [
    *("models", "publish", "iris:1", "FILE", "--format", "onnx"),
    *("--activate-when", "ready-everywhere"),
]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["models", "publish", "iris", "FILE", "--format", "onnx"], "'iris' is not NAME:VERSION"),
        (["models", "publish", "iris:0", "FILE", "--format", "onnx"], "'iris:0' is not NAME:VERSION"),
        (["models", "publish", "a/b:1", "FILE", "--format", "onnx"], "'a/b:1' is not NAME:VERSION"),
        (["models", "publish", "iris:1", "FILE", "--format", "nope"], "unknown format 'nope'"),
        (["models", "publish", "iris:1", "FILE"], "--format"),
        (["models", "publish", "iris:1", "/no/such", "--format", "onnx"], "/no/such"),
        (
            ["models", "publish", "iris:1", "FILE", "--format", "onnx", "--check", "FILE"],
            "line 1: not a check",
        ),
        (["models", "publish", "iris:1", "FILE", "--format", "onnx", "--option", "x"], "expected key=value"),
        (
            ["models", "publish", "iris:1", "FILE", "--format", "onnx", "--effective-from", "tomorrow"],
            "--effective-from: ",
        ),
        (
            ["models", "publish", "iris:1", "FILE", "--format", "onnx", "--wait", "--timeout", "soon"],
            "--timeout: expected a duration",
        ),
        (
            [*STAGED, "--effective-from", "5"],
            "--effective-from is the time of an activation: leave it out, or --no-activate",
        ),
        ([*STAGED, "--activate-when", "ready-everywhere"], "only one of them"),
        (["models", "publish", "iris:1", "FILE", "--format", "onnx", "--activate-when", "soon"], "soon"),
        (
            [*EVERYWHERE, "--effective-from", "5"],
            "leave it out, or --activate-when ready-everywhere",
        ),
        ([*EVERYWHERE, "--margin", "far"], "--margin: expected a duration"),
        (["models", "rollback", "iris", "--effective-from", "2026-11-24T10:00:00"], "with its zone"),
        (["models", "activate", "iris"], "'iris' is not NAME:VERSION"),
        (["models", "retire", "iris"], "'iris' is not NAME:VERSION"),
        (["models", "retire", "iris:1", "--all"], "say iris alone"),
        (["models", "list", "--set", "nope=1"], "nope: unknown key"),
        (["models", "list", "--set", "kafka.command_line.nope=1"], "kafka.command_line.nope"),
        (
            ["models", "list", "--set", "kafka.command_line.security_protocol=TLS"],
            "expected one of PLAINTEXT",
        ),
        (
            ["models", "list", "--set", "kafka.command_line.security_protocol=SASL_SSL"],
            "sasl_mechanism: missing",
        ),
        (["models", "list", "--set", "kafka.command_line.request_timeout_ms=x"], "kafka.command_line: "),
        (["models", "list", "--config", "/no/such"], "/no/such: No such file"),
        (["models", "forget"], "forget"),
        (["events", "send", "/no/such"], "/no/such: No such file"),
        (["events", "tail", "--limit", "0"], "limit"),
        (["dead-letters", "replay", "--limit", "0"], "limit"),
        (["topics", "create", "--partitions", "0"], "partitions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], line: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a model, no check")
    given = [str(file) if text == "FILE" else text for text in arguments]

    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *given], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert line in done.stderr
