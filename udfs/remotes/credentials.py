"""Credentials of remotes: where a job finds them. They are in no version's descriptor, error or log."""

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import certifi
import msgspec

from udfs.errors import Fault, ModelLoadError, OffloadError
from udfs.remotes.server_patterns import ServerPattern

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HIDDEN = "…"


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of environment variables and paths of files that hold what a server wants to see; no secrets.

    Attributes:
        bearer_env: the environment variable of a bearer token.
        bearer_file: the file of one, read again whenever it changes.
        headers_env: environment variables of other headers, by the header (``x-api-key``).
        ca_file: PEM certificates to trust in place of the system's.
        client_cert_file: PEM certificates that the server asks of its clients.
        client_key_file: the PEM key of these, not encrypted; None: it is in ``client_cert_file``.
        servers: whom they may be shown to, as `ServerPattern` has it; none: every server that is allowed.
        plaintext: whether tokens and headers may go over connections without TLS to other machines.
    """

    bearer_env: str | None = None
    bearer_file: str | None = None
    headers_env: dict[str, str] = {}
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    servers: tuple[str, ...] = ()
    plaintext: bool = False

    def __post_init__(self) -> None:
        if self.bearer_env is not None and self.bearer_file is not None:
            raise ValueError("bearer_env and bearer_file: expected one of them")
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ValueError("client_key_file: expected client_cert_file with it")
        names = [name.lower() for name in self.headers_env]
        for name in names:
            if not HEADER_NAME.fullmatch(name) or names.count(name) > 1:
                raise ValueError(f"headers_env: expected names of headers, each once, got {name!r}")
        if "authorization" in names and (self.bearer_env or self.bearer_file):
            raise ValueError("headers_env: authorization is the header of the bearer token too")
        for server in self.servers:
            try:
                ServerPattern.parse(server)
            except ValueError as error:
                raise ValueError(f"servers: {error}") from error

    @property
    def have_secret_headers(self) -> bool:
        """Whether a request has any secret among its headers."""
        return bool(self.bearer_env or self.bearer_file or self.headers_env)

    @property
    def have_tls_files(self) -> bool:
        """Whether they say anything of TLS."""
        return self.ca_file is not None or self.client_cert_file is not None

    def may_go_to(self, host: str, port: int | None) -> bool:
        """Whether a server may see them; its host in lower case."""
        return not self.servers or any(ServerPattern.parse(one).matches(host, port) for one in self.servers)


class TlsFiles(NamedTuple):
    """The bytes of the files that credentials name, as gRPC takes them."""

    ca: bytes | None
    client_cert: bytes | None
    client_key: bytes | None


class Secrets:
    """What credentials stand for, read. It has no text that shows it.

    Args:
        name: of the credentials, for errors.
        credentials: what to read.

    Raises:
        ModelLoadError: a variable or file is missing, or holds nothing that could be sent.
    """

    def __init__(self, name: str, credentials: Credentials) -> None:
        self._name = name
        self._credentials = credentials
        self._headers = {
            header.lower(): self._variable(variable, HEADER_VALUE)
            for header, variable in credentials.headers_env.items()
        }
        if credentials.bearer_env is not None:
            self._headers["authorization"] = f"Bearer {self._variable(credentials.bearer_env, _TOKEN)}"
        self._token_file_seen: tuple[int, ...] = ()
        try:
            self._read_token_file()
        except OffloadError as error:
            raise ModelLoadError(str(error)) from error
        self._cert_files_seen = _seen(self._cert_files)
        self._context = self._ssl_context() if credentials.have_tls_files else None

    def headers(self) -> Mapping[str, str]:
        """The headers, or gRPC's metadata, that go with a request; names in lower case.

        A client certificate that has changed is read too, and shown on the connections made from now on.

        Raises:
            OffloadError: the token's file has changed to something that can't be sent; a PASSING fault.
        """
        self._read_token_file()
        self._read_client_cert()
        return self._headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS trusts and shows; None where the credentials say nothing of it."""
        return self._context

    def tls_files(self) -> TlsFiles:
        """The bytes of the certificates and the key."""
        cert = self._file(self._credentials.client_cert_file)
        key = self._file(self._credentials.client_key_file)
        return TlsFiles(self._file(self._credentials.ca_file), cert, cert if key is None else key)

    def hide(self, text: str) -> str:
        """A text without the secrets that are in it: servers repeat what they were sent."""
        for value in self._headers.values():
            text = text.replace(value.removeprefix("Bearer "), _HIDDEN)
        return text

    def _variable(self, variable: str, expected: re.Pattern[str]) -> str:
        value = os.environ.get(variable, "").strip()
        if not value:
            raise ModelLoadError(f"credentials {self._name}: environment variable {variable} is not set")
        if not expected.fullmatch(value):
            raise ModelLoadError(
                f"credentials {self._name}: environment variable {variable} holds what no header can"
            )
        return value

    def _file(self, path: str | None) -> bytes | None:
        if path is None:
            return None
        try:
            return Path(path).read_bytes()
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"credentials {self._name}: {path}: {_cause(error)}") from error

    def _read_token_file(self) -> None:
        """Read the token again, where its file is another than before."""
        path = self._credentials.bearer_file
        if path is None:
            return
        try:
            seen = _stamp(path)
            if seen == self._token_file_seen:
                return
            token = Path(path).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise OffloadError(f"credentials {self._name}: {path}: {_cause(error)}", Fault.PASSING) from error
        if not _TOKEN.fullmatch(token):
            raise OffloadError(f"credentials {self._name}: {path}: holds no bearer token", Fault.PASSING)
        self._headers = {**self._headers, "authorization": f"Bearer {token}"}
        self._token_file_seen = seen

    def _ssl_context(self) -> ssl.SSLContext:
        paths = self._credentials
        self.tls_files()  # says which file is missing
        try:
            context = ssl.create_default_context(cafile=paths.ca_file or certifi.where())
        except (ssl.SSLError, ValueError) as error:
            raise ModelLoadError(
                f"credentials {self._name}: {paths.ca_file}: no PEM certificates: {_cause(error)}"
            ) from error
        if paths.client_cert_file is not None:
            try:
                self._load_client_cert(context)
            except (OSError, ValueError) as error:
                files = " and ".join(self._cert_files)
                raise ModelLoadError(
                    f"credentials {self._name}: {files}: expected a PEM certificate and its key, "
                    f"not encrypted: {_cause(error)}"
                ) from error
        return context

    @property
    def _cert_files(self) -> tuple[str, ...]:
        """The files of the client's certificate and its key."""
        paths = self._credentials
        return tuple(path for path in (paths.client_cert_file, paths.client_key_file) if path is not None)

    def _load_client_cert(self, context: ssl.SSLContext) -> None:
        paths = self._credentials
        if paths.client_cert_file is not None:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(paths.client_cert_file, paths.client_key_file, password="")

    def _read_client_cert(self) -> None:
        """Read the client's certificate and key again, where their files are others than before.

        While they don't fit each other, as between the writing of the one and of the other, what was read
        before is shown.
        """
        if self._context is None or not self._cert_files:
            return
        seen = _seen(self._cert_files)
        if seen == self._cert_files_seen:
            return
        self._cert_files_seen = seen
        try:
            # A context that was given half of a pair has none.
            self._load_client_cert(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            self._load_client_cert(self._context)
        except (OSError, ValueError):
            return


def open_credentials(known: Mapping[str, Credentials], name: str | None) -> Secrets:
    """Read the credentials of a name; None: none are sent.

    Raises:
        ModelLoadError: there are none of that name, or a variable or file of them is missing.
    """
    if name is None:
        return Secrets("", Credentials())
    if name not in known:
        names = ", ".join(sorted(known)) or "there are none"
        raise ModelLoadError(f"option credentials: {name!r} is not in offload.credentials ({names})")
    return Secrets(name, known[name])


def _stamp(path: str) -> tuple[int, ...]:
    """What is another when a file has changed. Raises OSError."""
    status = os.stat(path)
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _seen(paths: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The stamps of files; none while one of them is missing."""
    try:
        return tuple(map(_stamp, paths))
    except (OSError, ValueError):
        return ()


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not readable"
    return (error.strerror if isinstance(error, OSError) else None) or "not a text of ASCII characters"
