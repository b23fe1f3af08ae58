"""Whatever is configured is read or refused with a ConfigError, and whatever URI with an ArtifactError."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import JobConfig, load_config
from tests.fuzz.examples import JSON_VALUES, NUMBERS, TEXTS, changed, examples, mutated
from udfs.errors import ArtifactError, ConfigError
from udfs.models.places import AllowedPlaces, Location

CONFIGURATION: dict[str, Any] = {
    "name": "job",
    "kafka": {"bootstrap": "localhost:9092", "properties": {"security.protocol": "SSL"}},
    "topics": {"events": "e", "control": "c"},
    "models": {"default": "iris", "formats": ["onnx", "pfa"]},
    "batching": {"max_events": 500, "max_bytes": "4 MB", "interval": "5 ms"},
    "artifacts": {"allow": ["s3://models"], "timeout": "1 min"},
    "loading": {"deadline": "10 s", "trial_process": True},
    "missing_model": {"hold": "30 s"},
    "offload": {"credentials": {"bank": {"bearer_env": "TOKEN"}}, "max_memory": "1GiB"},
}
WORDS = [
    "name",
    "kafka",
    "models",
    "formats",
    "batching",
    "max_events",
    "artifacts",
    "allow",
    "flink",
    "loading",
    "offload",
    "credentials",
]
KEYS = st.lists(st.sampled_from(WORDS) | TEXTS, min_size=1, max_size=3).map(".".join)
YAML = st.one_of(
    st.sampled_from(
        [
            "2020-13-45",
            "!!int x",
            "!!python/object/apply:os.system [id]",
            "&a [*a]",
            "&a {b: *a}",
            "{[1]: 2}",
            "[" * 2000,
            "? ? ?",
            "!!binary x",
            "!!timestamp x",
            "<<: 1",
            "{<<: [1]}",
            "0x",
            "0o9",
            "1:99:99",
            "\x00",
            "%YAML 9.9\n---\n1",
        ]
    ),
    (NUMBERS | JSON_VALUES).map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
    st.text(max_size=30),
)


def reads(path: Path | None, settings: list[str]) -> None:
    with suppress(ConfigError):
        assert isinstance(load_config(path, settings), JobConfig)


@examples(200)
@given(st.lists(st.tuples(KEYS, YAML).map("=".join) | st.text(max_size=20), min_size=1, max_size=3))
def test_settings_are_read_or_refused(settings: list[str]) -> None:
    reads(None, settings)


@examples(200)
@given(
    changed(CONFIGURATION).map(yaml.safe_dump).map(str.encode)
    | mutated(yaml.safe_dump(CONFIGURATION).encode())
)
def test_a_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    reads(path, [])


@examples(200)
@given(YAML)
def test_any_yaml_is_read_or_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(content, errors="surrogatepass")
    reads(path, [])


URIS = st.one_of(
    mutated(b"https://models.example.com:8443/prod/a%20model/2.onnx?x=1").map(
        lambda uri: uri.decode("latin-1")
    ),
    mutated(b"file:///srv/models/..%2fmodel").map(lambda uri: uri.decode("utf-8", "replace")),
    st.tuples(
        st.sampled_from(["http://", "https://[", "s3://", "file:", "file://"]), st.text(max_size=20)
    ).map("".join),
    st.text(max_size=20),
)


@examples(400)
@given(URIS)
def test_a_uri_is_in_an_allowed_place_or_refused(uri: str) -> None:
    places = AllowedPlaces(["https://models.example.com:8443/prod", "file:///srv/models"])
    try:
        location = places.check(uri)
    except ArtifactError:
        return
    assert isinstance(location, Location)
    assert ".." not in location.segments
    assert location[:3] == ("https", "models.example.com", 8443) or location.segments[:2] == ("srv", "models")
