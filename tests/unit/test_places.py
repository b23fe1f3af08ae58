"""Allowed places: URIs are compared part by part, and addresses are public unless a setting names them."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from udfs.errors import ArtifactError
from udfs.models.places import AllowedPlaces, Location, shown

HTTPS = "https://models.example.com/prod"
PLACES = AllowedPlaces(
    [HTTPS, "s3://bucket/models", "http://10.1.2.3:8080/m", "https://one.example.com/a.onnx"]
)


def refusal(uri: str, places: AllowedPlaces = PLACES) -> str:
    with pytest.raises(ArtifactError) as caught:
        places.check(uri)
    return str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        f"{HTTPS}/iris.onnx",
        f"{HTTPS}/a/b/iris%20v2.onnx?version=7",
        "HTTPS://MODELS.example.com:443/prod/iris.onnx",
        "https://models.example.com./prod/iris.onnx",
        "https://models.example.com/%70rod/iris.onnx",
        "s3://bucket/models/iris.onnx",
        "http://10.1.2.3:8080/m/iris.onnx",
        "https://one.example.com/a.onnx",
    ],
)
def test_what_an_allowed_place_holds_is_allowed(uri: str) -> None:
    assert PLACES.check(uri) == Location.parse(uri)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("https://models.example.com/other/iris.onnx", id="another folder"),
        pytest.param("https://models.example.com/", id="the folder above"),
        pytest.param("https://models.example.com/prod-evil/iris.onnx", id="a folder with the same beginning"),
        pytest.param("https://models.example.com/Prod/iris.onnx", id="a path in other case"),
        pytest.param("https://models.example.com.evil.test/prod/x", id="a host with the same beginning"),
        pytest.param("https://evil-models.example.com/prod/x", id="a host with the same end"),
        pytest.param("https://models.example.com:8443/prod/x", id="another port"),
        pytest.param("http://models.example.com/prod/x", id="another scheme"),
        pytest.param("http://models.example.com:443/prod/x", id="another scheme at the same port"),
        pytest.param("http://10.1.2.3/m/x", id="an address at another port"),
        pytest.param("http://167838211:8080/m/x", id="an address written as a number"),
        pytest.param("s3://bucket/models-evil/x", id="a key with the same beginning"),
        pytest.param("s3://bucket2/models/x", id="another bucket"),
        pytest.param("file:///models.example.com/prod/x", id="a file"),
        pytest.param("https://one.example.com/a.onnx.bak", id="a file with the same beginning"),
    ],
)
def test_what_no_allowed_place_holds_is_refused(uri: str) -> None:
    assert "in none of the allowed places" in refusal(uri)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("../secret", ". and .. in a path"),
        ("./iris", ". and .. in a path"),
        ("a//b", "an empty segment"),
        ("%2e%2e/secret", ". and .. in a path"),
        ("%2E./secret", ". and .. in a path"),
        ("..;a=b/secret", ". and .. in a path"),
        ("..%2fsecret", "an encoded slash"),
        ("a%2Fb", "an encoded slash"),
        ("a%5cb", "an encoded slash, backslash"),
        ("a\\b", "backslashes"),
        ("%252e%252e/secret", "encoded twice"),
        ("a%00b", "control character"),
        ("a%0d%0ab", "control character"),
        ("a\nb", "not a URI"),
        ("a b", "not a URI"),
        ("modèle", "non-ASCII"),
        ("%ff", "not UTF-8"),
        ("a#b", "a fragment"),
        ("a#", "a fragment"),
    ],
)
@pytest.mark.parametrize("place", [HTTPS, "s3://bucket/models"])
def test_a_path_that_can_be_read_in_two_ways_is_refused(place: str, path: str, cause: str) -> None:
    assert cause in refusal(f"{place}/{path}")


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("https://user@models.example.com/prod/x", "user info"),
        ("https://user:secret@models.example.com/prod/x", "user info"),
        ("https://@models.example.com/prod/x", "user info"),
        ("https://models.example.com@evil.test/prod/x", "user info"),
        ("s3://key:secret@bucket/models/x", "user info"),
        ("https://models.example.com:99999/prod/x", "not a URI"),
        ("https://models.example.com:x/prod/x", "not a URI"),
        ("https://[models.example.com/prod/x", "not a URI"),
        ("https://models%2eexample.com/prod/x", "an encoded host"),
        ("https:///prod/x", "names no host"),
        ("https:models.example.com/prod/x", "names no host"),
        ("s3:///models/x", "names no bucket"),
        ("s3://bucket/models/x?versionId=1", "no port and no query"),
        ("s3://bucket:80/models/x", "no port and no query"),
        ("ftp://models.example.com/prod/x", "expected a URI of"),
        ("gopher://models.example.com/prod/x", "expected a URI of"),
        ("iris.onnx", "expected a URI of"),
        ("//models.example.com/prod/x", "expected a URI of"),
        ("", "expected a URI of"),
        ("file://elsewhere/srv/x", "names no other host"),
        ("file:srv/x", "an absolute path"),
    ],
)
def test_a_malformed_uri_is_refused_with_its_fault(uri: str, cause: str) -> None:
    assert cause in refusal(uri)


def test_without_places_every_uri_is_refused_and_the_setting_named() -> None:
    assert refusal("https://models.example.com/x", AllowedPlaces()).endswith(
        "artifacts come inline only; add the place it is in to artifacts.allow"
    )


@pytest.mark.parametrize("place", ["/srv/models", "ftp://h/x", "https://h/x?y=1", "https://u@h/x", "file:x"])
def test_a_place_that_is_no_uri_is_refused(place: str) -> None:
    with pytest.raises(ArtifactError, match=r"expected|query|user info"):
        AllowedPlaces([place])


def test_a_refusal_is_one_short_line_without_secrets() -> None:
    text = refusal("https://user:secret@models.example.com/\n" + "x" * 100_000 + "?signature=secret")
    assert "secret" not in text
    assert "\n" not in text
    assert len(text) < 400


def test_shown_keeps_what_tells_uris_apart() -> None:
    assert shown("https://u:p@h:1/a/b?token=x#y") == "https://…@h:1/a/b"


class TestEndpoints:
    PLACES = AllowedPlaces(
        ["http://models.example.com/v2", "grpc://models.example.com:8081", HTTPS, "file:/m"]
    )

    @pytest.mark.parametrize(
        "url",
        [
            "http://models.example.com/v2",
            "http://models.example.com:80/v2/models/iris/infer?a=b",
            "grpc://models.example.com:8081",
            "GRPC://Models.Example.com:8081/",
            HTTPS,
        ],
    )
    def test_a_server_that_an_allowed_place_names_may_be_asked(self, url: str) -> None:
        assert self.PLACES.check_endpoint(url) == Location.parse(url)

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("http://models.example.com/v3", id="another folder"),
            pytest.param("http://models.example.com:8080/v2", id="another port"),
            pytest.param("https://models.example.com/v2", id="another scheme"),
            pytest.param("grpcs://models.example.com:8081", id="the same port with TLS"),
            pytest.param("grpc://models.example.com:8082", id="another port of gRPC"),
            pytest.param("grpc://evil.test:8081", id="another host"),
        ],
    )
    def test_any_other_may_not(self, url: str) -> None:
        with pytest.raises(ArtifactError, match="in none of the allowed places"):
            self.PLACES.check_endpoint(url)

    @pytest.mark.parametrize(
        ("url", "cause"),
        [
            ("grpc://models.example.com", "expected grpc://HOST:PORT, and nothing after it"),
            ("grpcs://models.example.com:1/path", "expected grpcs://HOST:PORT, and nothing after it"),
            ("grpc://models.example.com:1?a=b", "expected grpc://HOST:PORT, and nothing after it"),
            ("grpc://:8081", "names no host"),
            ("grpc://token@models.example.com:8081", "user info"),
            ("s3://models/v2", "expected a URI of grpc, grpcs, http, https"),
            ("file:/m/v2", "expected a URI of grpc, grpcs, http, https"),
            ("models.example.com:8081", "expected a URI of grpc, grpcs, http, https"),
        ],
    )
    def test_what_is_no_server_is_refused_with_its_fault(self, url: str, cause: str) -> None:
        with pytest.raises(ArtifactError) as caught:
            self.PLACES.check_endpoint(url)
        assert cause in str(caught.value)

    def test_without_places_every_server_is_refused_and_the_setting_named(self) -> None:
        with pytest.raises(ArtifactError, match=r"\(there are none\); see artifacts\.allow"):
            AllowedPlaces().check_endpoint("http://models.example.com/v2")

    def test_an_artifact_does_not_come_over_grpc(self) -> None:
        assert "expected a URI of file, http, https, s3" in refusal(
            "grpc://models.example.com:8081", self.PLACES
        )


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "models"
        folder.mkdir()
        (folder / "iris").write_bytes(b"model")
        (tmp_path / "secret").write_bytes(b"secret")
        return folder

    def test_a_file_in_an_allowed_folder_is_allowed(self, folder: Path) -> None:
        location = AllowedPlaces([folder.as_uri()]).check(f"{folder.as_uri()}/iris")
        assert location.file_path() == str((folder / "iris").resolve())

    @pytest.mark.parametrize("form", ["file:{}", "file://{}", "file://localhost{}"])
    def test_the_forms_of_a_file_uri_are_one(self, folder: Path, form: str) -> None:
        location = AllowedPlaces([folder.as_uri()]).check(form.format(folder / "iris"))
        assert location.file_path() == str((folder / "iris").resolve())

    def test_a_link_that_leads_out_is_refused(self, folder: Path) -> None:
        (folder / "link").symlink_to(folder.parent / "secret")
        assert "in none of" in refusal(f"{folder.as_uri()}/link", AllowedPlaces([folder.as_uri()]))

    def test_a_linked_folder_that_leads_out_is_refused(self, folder: Path) -> None:
        (folder / "up").symlink_to("..")
        assert "in none of" in refusal(f"{folder.as_uri()}/up/secret", AllowedPlaces([folder.as_uri()]))

    def test_a_link_that_stays_inside_is_followed(self, folder: Path) -> None:
        (folder / "latest").symlink_to("iris")
        location = AllowedPlaces([folder.as_uri()]).check(f"{folder.as_uri()}/latest")
        assert location.file_path() == str((folder / "iris").resolve())

    def test_an_allowed_folder_may_be_a_link(self, folder: Path) -> None:
        link = folder.parent / "current"
        link.symlink_to(folder)
        AllowedPlaces([link.as_uri()]).check(f"{link.as_uri()}/iris")

    def test_a_folder_with_the_same_beginning_is_refused(self, folder: Path) -> None:
        evil = folder.with_name("models-evil")
        evil.mkdir()
        assert "in none of" in refusal(f"{evil.as_uri()}/iris", AllowedPlaces([folder.as_uri()]))


class TestAddresses:
    @staticmethod
    def resolve(
        monkeypatch: pytest.MonkeyPatch, host: str, found: list[str], private_hosts: tuple[str, ...] = ()
    ) -> list[str]:
        def getaddrinfo(name: str, port: int, *_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        uri = f"http://{host}/models"
        places = AllowedPlaces([uri], private_hosts)
        return asyncio.run(places.resolve(places.check(uri)))

    def test_public_addresses_are_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
        assert self.resolve(monkeypatch, "example.com", found) == found

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1%eth0",
            "fc00::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "64:ff9b:1:ffff::5db8:d70e",
            "::7f00:1",
            "::5db8:d70e",
            "::ffff:0:7f00:1",
            "fec0::1",
            "ff0e::1",
        ],
    )
    def test_an_address_that_is_not_public_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        with pytest.raises(ArtifactError, match=r"not a public address; add example\.com to"):
            self.resolve(monkeypatch, "example.com", [address])

    def test_one_private_address_among_public_ones_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ArtifactError, match="not a public address"):
            self.resolve(monkeypatch, "example.com", ["93.184.215.14", "10.0.0.1"])

    @pytest.mark.parametrize("setting", ["models.internal", "MODELS.internal."])
    def test_a_named_host_may_have_a_private_address(
        self, monkeypatch: pytest.MonkeyPatch, setting: str
    ) -> None:
        assert self.resolve(monkeypatch, "models.internal", ["10.0.0.1"], (setting,)) == ["10.0.0.1"]

    def test_another_host_named_does_not_help(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ArtifactError, match="not a public address"):
            self.resolve(monkeypatch, "models.internal", ["10.0.0.1"], ("internal",))

    @pytest.mark.parametrize("host", ["10.0.0.1", "[::1]"])
    def test_a_place_that_is_written_with_an_address_names_it(
        self, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        assert self.resolve(monkeypatch, host, [host.strip("[]")]) == [host.strip("[]")]

    def test_an_address_in_an_unusual_form_is_not_named_by_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ArtifactError, match="not a public address"):
            self.resolve(monkeypatch, "2130706433", ["127.0.0.1"])
