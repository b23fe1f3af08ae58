"""Endpoints: the servers that remotes ask, under the same allow-list as artifacts."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from udfs.errors import ArtifactError, ArtifactUnavailableError, Fault, ModelLoadError, OffloadError
from udfs.models.places import DEFAULT_PORTS, AllowedPlaces, Location, shown
from udfs.remotes.base import Surroundings
from udfs.remotes.credentials import Credentials, Secrets, open_credentials
from udfs.remotes.server_patterns import is_loopback

_WITH_TLS = ("https", "grpcs")


@dataclass(frozen=True)
class Endpoint:
    """A server that may be asked, and what it is shown."""

    location: Location
    places: AllowedPlaces
    secrets: Secrets

    @property
    def has_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.location.scheme in _WITH_TLS

    @cached_property
    def name(self) -> str:
        """As people write it: ``grpc://127.0.0.1:8081``."""
        return f"{self.location.scheme}://{self.authority}"

    @cached_property
    def authority(self) -> str:
        """Host and port; without the port where the scheme says it."""
        scheme, host, port, _ = self.location
        host = f"[{host}]" if ":" in host else host
        return host if port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"

    async def addresses(self) -> list[str]:
        """The addresses to connect to, checked. Connect to these and not to the name.

        Raises:
            OffloadError: there is none now (PASSING), or one that is not allowed (LASTING).
        """
        try:
            return await self.places.resolve(self.location)
        except ArtifactError as error:
            raise unresolved(error) from error


def open_endpoint(
    url: str, schemes: Collection[str], surroundings: Surroundings, credentials: str | None = None
) -> Endpoint:
    """Check a server's URL and read the credentials for it. Nobody is asked.

    Args:
        url: as published.
        schemes: those that the protocol has.
        surroundings: says what is allowed, and has the credentials.
        credentials: their name, None: none.

    Raises:
        ModelLoadError: not a URL of these schemes, none that is allowed, or credentials that are not there
            or not for this server.
    """
    try:
        location = surroundings.places.check_endpoint(url)
    except ArtifactError as error:
        raise ModelLoadError(f"option url: {error}") from error
    if location.scheme not in schemes:
        raise ModelLoadError(f"option url: {shown(url)}: expected a URL of {', '.join(sorted(schemes))}")
    known = None if credentials is None else surroundings.credentials.get(credentials)
    if credentials is not None and known is not None:
        _check_may_be_shown(credentials, known, location, shown(url))
    endpoint = Endpoint(
        location, surroundings.places, open_credentials(surroundings.credentials, credentials)
    )
    if not endpoint.has_tls and endpoint.secrets.ssl_context() is not None:
        raise ModelLoadError(
            f"option credentials: {credentials!r} has certificates, which {location.scheme} does not use; "
            f"write {location.scheme}s, or take them out"
        )
    return endpoint


def _check_may_be_shown(name: str, credentials: Credentials, location: Location, server: str) -> None:
    """See that a server may be shown credentials, and that nobody on the way to it can read them.

    Raises:
        ModelLoadError: they are for other servers, or would go to another machine in clear text.
    """
    if not credentials.may_go_to(location.host, location.port):
        raise ModelLoadError(
            f"option credentials: {name!r} is not for {server}; "
            f"see offload.credentials.{name}.servers ({', '.join(credentials.servers)})"
        )
    if location.scheme in _WITH_TLS or credentials.plaintext or not credentials.have_secret_headers:
        return
    if not is_loopback(location.host):
        raise ModelLoadError(
            f"option credentials: {name!r} would go to {server} in clear text; write {location.scheme}s, or "
            f"allow it with offload.credentials.{name}.plaintext: true"
        )


def unresolved(error: ArtifactError) -> OffloadError:
    """What is said where a host's address can't be had, or is not allowed."""
    passing = isinstance(error, ArtifactUnavailableError)
    return OffloadError(str(error), Fault.PASSING if passing else Fault.LASTING)
