"""HTTP for every protocol that goes over it: one way to ask, and one reading of what can go wrong.

HTTP: RFC 9110 (https://www.rfc-editor.org/rfc/rfc9110), statuses in section 15, Retry-After in 10.2.3.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from udfs.errors import ArtifactError, Fault, ModelLoadError, ModelstreamError, OffloadError
from udfs.json_values import JsonValue, read_json
from udfs.models.passing_faults import may_pass
from udfs.models.places import shown
from udfs.remotes._http_bodies import UnreadableBodyError, read_beginning, read_body
from udfs.remotes._http_pool import Pool
from udfs.remotes.base import Surroundings, Trace
from udfs.remotes.endpoints import open_endpoint, unresolved

_RECORD_STATUSES = frozenset({400, 413, 422})
_FAILED = 500
"""What servers answer where the model fails of a record, and where they are broken."""
_PASSING_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
_MAX_SHOWN = 300
_MAX_READ = 10_000
_VISIBLE = re.compile(r"[\x20-\x7e]*")


class HttpAnswer(NamedTuple):
    """What a server answered, with a status that says that it did as asked."""

    body: bytes
    headers: Mapping[str, str]
    """By names in any case."""


class HttpEndpoint:
    """One HTTP server, asked over pooled connections; HTTP/2 where an https server has it.

    It follows no redirect, keeps no cookie, uses no proxy, and takes answers of up to `MAX_ANSWER_BYTES`.

    Args:
        url: of the server, or of a folder of it; http or https.
        surroundings: must allow the URL, and have the credentials.
        credentials: a name of credentials, None: none are shown.
        headers: that go with every request; no secrets.

    Raises:
        ModelLoadError: a URL that is wrong or not allowed, credentials that are not there.
    """

    def __init__(
        self,
        url: str,
        surroundings: Surroundings,
        credentials: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> None:
        self._endpoint = open_endpoint(url, ("http", "https"), surroundings, credentials)
        self._base, mark, query = url.partition("?")
        self._query = mark + query
        self._urls: dict[str, httpx.URL] = {}
        self._headers = {"accept-encoding": "identity"} | {key.lower(): headers[key] for key in headers}
        self._context = self._ssl_context()
        self._pool: Pool | None = None
        self._is_closed = False
        self.url_of("")

    @property
    def name(self) -> str:
        """As people write it: ``http://127.0.0.1:8080``."""
        return self._endpoint.name

    def url_of(self, path: str) -> httpx.URL:
        """The URL of a path under the endpoint's.

        Raises:
            ModelLoadError: it is no URL, or leads out of what is allowed.
        """
        if path not in self._urls:
            base = self._base.rstrip("/") if path else self._base
            url = f"{base}{path}{self._query}"
            try:
                self._endpoint.places.check_endpoint(url)
                self._urls[path] = httpx.URL(url)
            except (ArtifactError, httpx.InvalidURL) as error:
                raise ModelLoadError(f"option url: {error}") from error
        return self._urls[path]

    async def get(self, path: str, seconds: float) -> bytes:
        """What is at a path.

        Args:
            path: appended to the path of the endpoint's URL; begins with a slash, or is empty.
            seconds: how long the whole exchange may take.

        Raises:
            OffloadError: there is no answer, or one that says no.
        """
        return (await self._exchange("GET", path, None, seconds, {})).body

    async def post(
        self,
        path: str,
        body: bytes,
        seconds: float,
        trace: Trace,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] = {},
        method: str = "POST",
    ) -> HttpAnswer:
        """Send a body to a path.

        Args:
            path: appended to the path of the endpoint's URL; begins with a slash, or is empty.
            body: what to send.
            seconds: how long the whole exchange may take.
            trace: headers of trace context; one that HTTP can't say is left out.
            content_type: of the body.
            headers: others.
            method: POST or PUT.

        Raises:
            OffloadError: there is no answer, or one that says no.
        """
        sent = {name: value for name, value in trace if value.isascii() and _VISIBLE.fullmatch(value)}
        return await self._exchange(
            method, path, body, seconds, {**sent, "content-type": content_type, **headers}
        )

    def json_of(self, answer: HttpAnswer) -> JsonValue:
        """The JSON that a server answered with.

        Raises:
            OffloadError: it is none.
        """
        try:
            return read_json(answer.body)
        except ValueError as error:
            raise self.unreadable("is no JSON", answer) from error

    def unreadable(self, cause: str, answer: HttpAnswer) -> OffloadError:
        """What is said of an answer that is not what it should be, with its beginning."""
        said = self.words(answer.body[:_MAX_READ]) or "nothing"
        return OffloadError(f"{self.name}: the answer {cause}: {said}")

    def words(self, said: str | bytes) -> str:
        """The beginning of what a server said, on one line and without secrets, for errors."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        line = " ".join(self._endpoint.secrets.hide(text).split())
        line = "".join(character if character.isprintable() else "\ufffd" for character in line)
        return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"

    async def close(self) -> None:
        """Close the connections; nothing can be asked afterwards."""
        self._is_closed = True
        if self._pool is not None:
            await self._pool.close()

    async def _exchange(
        self, method: str, path: str, body: bytes | None, seconds: float, headers: Mapping[str, str]
    ) -> HttpAnswer:
        url = self.url_of(path)
        what = f"{method} {shown(str(url))}"
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(what, method, url, body, seconds, headers)
        except TimeoutError as error:
            raise OffloadError(f"{what}: no whole answer in {seconds:g} s", Fault.PASSING) from error
        except ArtifactError as error:
            raise unresolved(error) from error
        except UnreadableBodyError as error:
            raise OffloadError(f"{what}: {error}") from error
        except ModelstreamError:
            raise
        except Exception as error:  # the edge to httpx, which does not map all of what it stands on
            fault = Fault.PASSING if may_pass(error) else Fault.LASTING
            raise OffloadError(f"{what}: {self.words(str(error)) or type(error).__name__}", fault) from error

    async def _ask(
        self,
        what: str,
        method: str,
        url: httpx.URL,
        body: bytes | None,
        seconds: float,
        headers: Mapping[str, str],
    ) -> HttpAnswer:
        pool = self._opened()
        sent = {**headers, **self._headers, **self._endpoint.secrets.headers()}
        try:
            async with pool.ask(method, url, body, sent, seconds) as response:
                if response.is_success:
                    return HttpAnswer(await read_body(response), response.headers)
                raise await self._refusal(response, what)
        except asyncio.CancelledError:
            # Requests that are left keep a part of an HTTP/2 connection's window to themselves, and
            # nothing else tells a connection that is dead from one whose server is slow.
            if pool.is_over_http2 and pool is self._pool:
                self._pool = None
                await pool.give_up()
            raise

    def _ssl_context(self) -> ssl.SSLContext:
        if not self._endpoint.has_tls:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and costs nothing
        return self._endpoint.secrets.ssl_context() or httpx.create_ssl_context()

    def _opened(self) -> Pool:
        if self._is_closed:
            raise OffloadError(f"{self.name}: closed")
        if self._pool is None:
            self._pool = Pool(self._endpoint.places, self._context)
        return self._pool

    async def _refusal(self, response: httpx.Response, what: str) -> OffloadError:
        status = response.status_code
        said = f"{what}: {status} {self.words(response.reason_phrase)}".rstrip()
        if response.has_redirect_location:
            target = self.words(shown(response.headers["location"]))
            text = f"{said}: redirects to {target}, which is not followed; see option url"
            return OffloadError(text, is_answer=True)
        words = self.words(await read_beginning(response))
        text = f"{said}: {words}" if words else said
        return OffloadError(text, _fault_of(status), _retry_after(response), is_answer=True)


def _fault_of(status: int) -> Fault:
    if status in _RECORD_STATUSES:
        return Fault.RECORD
    if status == _FAILED:
        return Fault.UNCLEAR
    return Fault.PASSING if status in _PASSING_STATUSES else Fault.LASTING


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for, as a number or until a date; None where it does not."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
