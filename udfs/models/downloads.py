"""Downloads: an artifact's bytes from a file, an http server or an s3 bucket, bounded in size and in time."""

import asyncio
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from types import SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from udfs.errors import ArtifactError, ArtifactUnavailableError
from udfs.models.checked_transport import CheckedAddresses, CheckedTransport
from udfs.models.passing_faults import PASSING_STATUSES, may_pass
from udfs.models.places import DEFAULT_PORTS, AllowedPlaces, Location, shown

CHUNK_BYTES = 1024 * 1024
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class Received:
    """The bytes of an artifact as they come: counted, hashed, written.

    Args:
        file: where they go.
        max_bytes: most bytes to take.
        name: the artifact, for errors.
    """

    def __init__(self, file: BinaryIO, max_bytes: int, name: str) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._name = name
        self._size = 0
        self._digest = hashlib.sha256()

    def expect(self, size: int) -> None:
        """Refuse before the first byte what says that it is too large.

        Raises:
            ArtifactError: it does.
        """
        if size > self._max_bytes:
            raise ArtifactError(
                f"{self._name}: {size} bytes or more, over artifacts.max_bytes ({self._max_bytes})"
            )

    def take(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            ArtifactError: there are too many, or they can't be written.
        """
        self._size += len(chunk)
        self.expect(self._size)
        self._digest.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise ArtifactError(f"{self._file.name}: {error.strerror}; see artifacts.cache_folder") from error

    def check(self, sha256: str) -> None:
        """See that the bytes are those that an update means.

        Raises:
            ArtifactError: they are others.
        """
        actual = self._digest.hexdigest()
        if actual != sha256:
            raise ArtifactError(f"{self._name}: its sha256 is {actual}, the update says {sha256}")


def download(
    uri: str, places: AllowedPlaces, received: Received, timeout: float, s3: Mapping[str, Any]
) -> None:
    """Fetch what a URI names, in this thread and with no other that outlives the call.

    Args:
        uri: checked against the places, and so is each address that it redirects to.
        places: where artifacts may come from.
        received: takes the bytes.
        timeout: seconds that the whole fetch may take. Asking the system for a host's address can't be
            interrupted: it ends by the system's own limit.
        s3: options of s3fs, see `read_s3`.

    Raises:
        ArtifactUnavailableError: unreachable, too slow, or a server that may do better later.
        ArtifactError: refused, not there, or too large.
    """
    location = places.check(uri)
    try:
        asyncio.run(_download(location, uri, places, received, timeout, s3))
    except TimeoutError as error:
        raise ArtifactUnavailableError(
            f"{shown(uri)}: not fetched in {timeout:g} s (artifacts.timeout)"
        ) from error


async def _download(
    location: Location,
    uri: str,
    places: AllowedPlaces,
    received: Received,
    timeout: float,
    s3: Mapping[str, Any],
) -> None:
    async with asyncio.timeout(timeout):
        if location.scheme == "file":
            await read_file(location, uri, received)
        elif location.scheme == "s3":
            await read_s3(location, uri, s3, received)
        else:
            await read_http(location, uri, places, received)


async def read_file(location: Location, uri: str, received: Received) -> None:
    """Read a regular file at its real path: a link that took its place since, or a folder's, is refused.

    Raises:
        ArtifactError: it can't be read.
    """
    try:
        with open(location.file_path(), "rb", opener=_open_itself) as file:
            if os.readlink(f"/proc/self/fd/{file.fileno()}") != location.file_path():
                raise ArtifactError(f"{shown(uri)}: another file took its place")
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError(f"{shown(uri)}: not a regular file")
            received.expect(status.st_size)
            while chunk := file.read(CHUNK_BYTES):
                received.take(chunk)
                await asyncio.sleep(0)  # lets the timeout strike
    except OSError as error:
        raise ArtifactError(f"{shown(uri)}: {error.strerror}") from error


async def read_http(location: Location, uri: str, places: AllowedPlaces, received: Received) -> None:
    """Read from an http or https server.

    Each redirect is checked as the first address was. The connection goes to an address that was
    checked, with the host's name for TLS and ``Host``. Proxies and .netrc of the environment are not
    used, because they would resolve names again; its certificates are.

    Raises:
        ArtifactUnavailableError: unreachable, cut short, or a server that may do better later.
        ArtifactError: refused, or not there.
    """
    current, redirected = uri, False
    try:
        addresses = CheckedAddresses(places)
        transport = CheckedTransport(addresses, httpx.create_ssl_context())
        # There is one timeout for the whole fetch.
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                await addresses.of(location)  # also of hosts that httpx would not call one
                request = _get(client, location, current)
                response = await client.send(request, stream=True, follow_redirects=False)
                async with aclosing(response):
                    target = response.headers.get("location")
                    if response.status_code not in _REDIRECTS or target is None:
                        await _take_body(response, current, received)
                        return
                redirected = True
                current = _join(current, target)
                location = places.check(current)
                if location.scheme not in DEFAULT_PORTS:
                    raise ArtifactError(f"{shown(current)}: a redirect to {location.scheme} is refused")
    except ArtifactError as error:
        if not redirected:
            raise
        raise type(error)(f"{shown(uri)} redirects: {error}") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        said = str(error) or type(error).__name__
        raise _failed(error)(f"{shown(current)}: {said}") from error
    raise ArtifactError(f"{shown(uri)}: more than {_MAX_REDIRECTS} redirects")


async def read_s3(location: Location, uri: str, options: Mapping[str, Any], received: Received) -> None:
    """Read an object of an s3 bucket, with the credentials of the options or of the environment.

    Args:
        location: bucket and key.
        uri: for errors.
        options: of s3fs, such as ``endpoint_url``, ``key``, ``client_kwargs``; ``region`` is short for
            ``client_kwargs: {region_name: ...}``.
        received: takes the bytes.

    Raises:
        ArtifactUnavailableError: unreachable, cut short, or a server that may do better later.
        ArtifactError: s3fs is not installed, or the object can't be read.
    """
    try:
        from s3fs import S3FileSystem
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"{shown(uri)}: needs {error.name}, which is not installed: pip install 'modelstream[s3]'"
        ) from error
    settings = dict(options)
    config = settings.get("config_kwargs", {})
    settings["config_kwargs"] = {"http_session_cls": _session_without_redirects(), **config}
    if "region" in settings:
        client = settings.get("client_kwargs", {})
        settings["client_kwargs"] = {"region_name": settings.pop("region"), **client}
    try:
        # Asynchronous, so that it runs in this thread and not in one of fsspec's own that never ends.
        filesystem = S3FileSystem(asynchronous=True, skip_instance_cache=True, **settings)
        session = await filesystem.set_session()
        try:
            file = await filesystem.open_async("/".join((location.host, *location.segments)))
            try:
                while chunk := await file.read(CHUNK_BYTES):
                    received.expect(file.size)
                    received.take(chunk)
            finally:
                if file.r is not None:  # s3fs leaves the response open
                    file.r.close()
        finally:
            await session.close()
    except ArtifactError:
        raise
    except Exception as error:  # the edge to s3fs, botocore and aiohttp
        said = " ".join(str(error).split()) or "no more is known"
        raise _failed(error)(f"{shown(uri)}: {type(error).__name__}: {said}") from error


def _failed(error: Exception) -> type[ArtifactError]:
    return ArtifactUnavailableError if may_pass(error) else ArtifactError


def _open_itself(path: str, flags: int) -> int:
    # Without O_NONBLOCK a named pipe would be waited for.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _get(client: httpx.AsyncClient, location: Location, uri: str) -> httpx.Request:
    parts = urlsplit(uri)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    url = httpx.URL(
        scheme=location.scheme, host=location.host, port=location.port, raw_path=target.encode("ascii")
    )
    return client.build_request("GET", url, headers={"accept-encoding": "identity"})


def _session_without_redirects() -> type:
    from aiobotocore.httpsession import AIOHTTPSession

    class Session(AIOHTTPSession):  # type: ignore[misc]  # it has no types
        # aiobotocore has no setting for this, and aiohttp would follow a redirect to anywhere.
        async def _get_session(self, proxy_url: str | None) -> SimpleNamespace:
            session = await super()._get_session(proxy_url)
            return SimpleNamespace(request=partial(session.request, allow_redirects=False))

    return Session


def _join(base: str, target: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError as error:
        raise ArtifactError(f"{shown(target)}: not a URI: {error}") from error


async def _take_body(response: httpx.Response, uri: str, received: Received) -> None:
    if response.status_code != 200:
        kind = ArtifactUnavailableError if response.status_code in PASSING_STATUSES else ArtifactError
        raise kind(f"{shown(uri)}: the server said {response.status_code} {response.reason_phrase}")
    received.expect(int(response.headers.get("content-length", 0)))
    async for chunk in response.aiter_raw():
        received.take(chunk)
