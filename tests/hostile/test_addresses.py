"""URIs that would fetch from places that are not allowed; nothing is connected to.

`test_places.py`, `test_downloads.py` and `test_file_downloads.py` in `tests/unit` have the plain ones.
"""

import socket
from io import BytesIO
from pathlib import Path

import pytest

from tests.hostile.refusals import Surroundings
from udfs.errors import ArtifactError
from udfs.models.artifacts import ArtifactSettings, ArtifactStore
from udfs.models.downloads import Received, download
from udfs.models.places import AllowedPlaces
from udfs.models.updates import Artifact


def failure(uri: str, *places: str) -> str:
    file = BytesIO()
    with pytest.raises(ArtifactError) as caught:
        download(uri, AllowedPlaces(places), Received(file, 1 << 20, "x"), 5, {})
    assert file.getvalue() == b""
    return str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "017700000001",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
    ],
)
def test_loopback_in_any_writing_is_refused_though_its_host_is_allowed(
    surroundings: Surroundings, host: str
) -> None:
    place = f"http://{host}:{surroundings.port}"
    assert "is not a public address" in failure(f"{place}/m", place)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1"])
def test_a_name_for_loopback_is_refused(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, surroundings.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    place = f"http://models.example.com:{surroundings.port}"
    assert "is not a public address" in failure(f"{place}/m", place)


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://100.100.100.200/latest/meta-data/",
    ],
)
def test_the_addresses_of_clouds_for_credentials_are_in_no_place(uri: str) -> None:
    assert "in none of the allowed places" in failure(uri, "https://models.example.com/prod", "s3://models")


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
def test_such_an_address_in_another_writing_is_refused_though_its_host_is_allowed(host: str) -> None:
    assert "169.254.169.254 is not a public address" in failure(f"http://{host}/x", f"http://{host}")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("{place}/../secret.txt", ". and .. in a path"),
        ("{place}/%2e%2e/secret.txt", ". and .. in a path"),
        ("{place}/%2e%2e%2fsecret.txt", "an encoded slash"),
        ("{place}/..%5csecret.txt", "an encoded slash"),
        ("{place}/%252e%252e/secret.txt", "encoded twice"),
        ("{place}/link", "in none of the allowed places"),
        ("{place}/up/secret.txt", "in none of the allowed places"),
        ("file:{secret}", "in none of the allowed places"),
        ("file://localhost{secret}", "in none of the allowed places"),
        ("file://127.0.0.1{secret}", "names no other host"),
        ("file:///proc/self/environ", "in none of the allowed places"),
        ("FILE:{secret}", "in none of the allowed places"),
        ("{secret}", "expected a URI of"),
        ("ftp://localhost/x", "expected a URI of"),
        ("data:,x", "expected a URI of"),
        ("jar:{place}!/x", "expected a URI of"),
        ("file::{place}", "expected an absolute path"),
    ],
)
def test_a_file_elsewhere_is_refused(tmp_path: Path, surroundings: Surroundings, uri: str, said: str) -> None:
    (tmp_path / "link").symlink_to(surroundings.secret)
    (tmp_path / "up").symlink_to(surroundings.secret.parent)
    place = tmp_path.as_uri()
    assert said in failure(uri.format(place=place, secret=surroundings.secret), place)


def test_a_file_of_others_is_refused_before_its_bytes_are_known_to_be_here(
    tmp_path: Path, surroundings: Surroundings
) -> None:
    """A sha256 that is in the cache is no way past the allowed places."""
    store = ArtifactStore(ArtifactSettings(folder=str(tmp_path / "cache"), max_bytes=100))
    kept = store.fetch(Artifact(sha256=SHA256_OF_X, inline=b"x"))
    assert kept.read_bytes() == b"x"
    with pytest.raises(ArtifactError, match="artifacts come inline only"):
        store.fetch(Artifact(sha256=SHA256_OF_X, uri=surroundings.secret.as_uri()))


SHA256_OF_X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
