"""Where artifacts may come from, and whom remotes may ask: URIs compared part by part, never as strings."""

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Collection, Sequence
from typing import NamedTuple, Self
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from udfs.errors import ArtifactError, ArtifactUnavailableError

ARTIFACT_SCHEMES = ("file", "http", "https", "s3")
ENDPOINT_SCHEMES = ("grpc", "grpcs", "http", "https")
SCHEMES = tuple(sorted({*ARTIFACT_SCHEMES, *ENDPOINT_SCHEMES}))
DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_IN_A_URI = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_MAX_SHOWN = 200
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))
"""IPv6 networks whose addresses stand for IPv4 ones, in a way that only the local network knows."""
_IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Location(NamedTuple):
    """A URI in its parts."""

    scheme: str
    host: str
    """In lower case; a bucket for s3, empty for a file."""
    port: int | None
    segments: tuple[str, ...]
    """The decoded segments of the path."""

    @classmethod
    def parse(cls, uri: str, schemes: Collection[str] = SCHEMES) -> Self:
        """Take a URI apart.

        Raises:
            ArtifactError: not a URI of one of the schemes, or one that two readers might read in
                two ways: user info, a fragment, ``..``, a backslash, an encoded slash or dot, a
                character that is encoded twice.
        """
        if _NOT_IN_A_URI.search(uri):
            raise ArtifactError(
                f"{shown(uri)}: not a URI: percent-encode spaces, backslashes, non-ASCII characters"
            )
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError as error:
            raise ArtifactError(f"{shown(uri)}: not a URI: {error}") from error
        if "@" in parts.netloc:
            raise ArtifactError(f"{shown(uri)}: user info in a URI is refused")
        if parts.scheme not in schemes:
            raise ArtifactError(f"{shown(uri)}: expected a URI of {', '.join(schemes)}")
        if parts.fragment or uri.endswith("#"):
            raise ArtifactError(f"{shown(uri)}: a fragment (#) in a URI is refused")
        host = _host(parts, uri)
        if parts.scheme in DEFAULT_PORTS:
            port = DEFAULT_PORTS[parts.scheme] if port is None else port
        elif parts.scheme in ENDPOINT_SCHEMES:
            if port is None or parts.query or parts.path.strip("/"):
                raise ArtifactError(
                    f"{shown(uri)}: expected {parts.scheme}://HOST:PORT, and nothing after it"
                )
        elif port is not None or parts.query:
            raise ArtifactError(f"{shown(uri)}: a {parts.scheme} URI has no port and no query")
        return cls(parts.scheme, host, port, _segments(parts, uri))

    def is_within(self, place: "Location") -> bool:
        """Whether a place (a folder, or exactly this file) holds the location."""
        return self[:3] == place[:3] and self.segments[: len(place.segments)] == place.segments

    def file_path(self) -> str:
        """The path of a file URI."""
        return "/" + "/".join(self.segments)

    def with_real_path(self) -> Self:
        """A file URI with its symbolic links followed; any other location as it is."""
        if self.scheme != "file":
            return self
        real = os.path.realpath(self.file_path())
        return self._replace(segments=tuple(real.split("/")[1:]) if real != "/" else ())


class AllowedPlaces:
    """The places that artifacts may come from, and the servers that remote models may be asked at.

    Args:
        allow: URIs of folders, buckets, single files or servers; none: artifacts come inline only.
        private_hosts: host names whose addresses may be loopback, private or link-local. A place that
            is written with an address (``http://10.1.2.3/models``) names that address itself.

    Raises:
        ArtifactError: a place is no URI, or has a query.
    """

    def __init__(self, allow: Sequence[str] = (), private_hosts: Sequence[str] = ()) -> None:
        self._texts = tuple(allow)
        self._places = [_parse_place(text) for text in allow]
        written_addresses = {place.host for place in self._places if _is_address(place.host)}
        self._private_hosts = written_addresses | {_bare_host(host) for host in private_hosts}

    def check(self, uri: str) -> Location:
        """See that an allowed place holds an artifact's URI.

        Returns:
            The location; of a file, its real path.

        Raises:
            ArtifactError: none does.
        """
        location = Location.parse(uri, ARTIFACT_SCHEMES).with_real_path()
        if not self._places:
            raise ArtifactError(
                f"{shown(uri)}: artifacts come inline only; add the place it is in to artifacts.allow"
            )
        self._check_location(location, uri)
        return location

    def check_endpoint(self, url: str) -> Location:
        """See that a server's URL is one of the allowed places, or within one.

        Raises:
            ArtifactError: it is not.
        """
        location = Location.parse(url, ENDPOINT_SCHEMES)
        self._check_location(location, url)
        return location

    def _check_location(self, location: Location, uri: str) -> None:
        if not any(location.is_within(place.with_real_path()) for place in self._places):
            allowed = ", ".join(self._texts) or "there are none"
            raise ArtifactError(
                f"{shown(uri)}: in none of the allowed places ({allowed}); see artifacts.allow"
            )

    async def resolve(self, location: Location) -> list[str]:
        """The addresses to connect to for a location with a host that was checked.

        Connect to these and not to the name: a name may have another address a moment later.

        Raises:
            ArtifactUnavailableError: the host has no address now.
            ArtifactError: it is no host's name, or has an address that is not public and that no setting
                names.
        """
        host = location.host
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, location.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ArtifactUnavailableError(f"{host}: no address: {error}") from error
        except UnicodeError as error:
            raise ArtifactError(f"{host}: no address: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if host not in self._private_hosts:
            for address in addresses:
                if not _is_public(address):
                    raise ArtifactError(
                        f"{host}: {address} is not a public address; "
                        f"add {host} to artifacts.allow_private_addresses to allow it"
                    )
        return addresses


def shown(uri: str) -> str:
    """A URI as an error may show it: one short line, no user info, no query (it may hold a signature)."""
    bare = re.sub(r"//[^/?#]*@", "//…@", uri)
    line = re.sub(r"[?#].*", "", bare, flags=re.DOTALL)
    line = "".join(character if character.isprintable() else "\ufffd" for character in line)
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"


def _host(parts: SplitResult, uri: str) -> str:
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "file":
        if host not in ("", "localhost"):
            raise ArtifactError(f"{shown(uri)}: a file URI names no other host; write file:/path")
        return ""
    if not host:
        raise ArtifactError(f"{shown(uri)}: names no {'bucket' if parts.scheme == 's3' else 'host'}")
    if "%" in host:
        raise ArtifactError(f"{shown(uri)}: an encoded host is refused")
    return host


def _segments(parts: SplitResult, uri: str) -> tuple[str, ...]:
    path = parts.path
    if parts.scheme == "file" and not path.startswith("/"):
        raise ArtifactError(f"{shown(uri)}: expected an absolute path, as in file:/models/iris.onnx")
    raw = path.removeprefix("/").removesuffix("/")
    return tuple(_decode_segment(segment, uri) for segment in raw.split("/")) if raw else ()


def _decode_segment(segment: str, uri: str) -> str:
    text = shown(uri)
    try:
        decoded = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{text}: the path is not UTF-8") from error
    # Some servers take what follows a semicolon for parameters: to them "..;a" is "..".
    if decoded.partition(";")[0] in ("", ".", ".."):
        raise ArtifactError(f"{text}: an empty segment, . and .. in a path are refused")
    if any(character in "/\\" or not character.isprintable() for character in decoded):
        raise ArtifactError(f"{text}: an encoded slash, backslash or control character is refused")
    if _ESCAPE.search(decoded):
        raise ArtifactError(f"{text}: a character that is encoded twice is refused")
    return decoded


def _is_public(text: str) -> bool:
    address: _IpAddress = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and (address.is_site_local or any(address in one for one in _TRANSLATED)):
            return False
        address = inner or address
    return address.is_global and not address.is_multicast


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _bare_host(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")


def _parse_place(text: str) -> Location:
    if "?" in text:
        raise ArtifactError(f"{shown(text)}: a place has no query")
    return Location.parse(text)
