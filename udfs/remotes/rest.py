"""rest: any endpoint that takes JSON and answers with JSON, as options say.

    url         the whole URL that is asked
    method      POST (without the option) or PUT
    credentials a name of offload.credentials
    headers     a JSON object of other headers, none of them secret
    batch       single (without the option): one record a request; list: the inputs as an array
    body        a JSON object that the inputs are put into
    inputs      where in the body they go; without it they are the body
    output      where in the answer the output is, or the array of outputs; without it the answer is
    error       where an item of that array, or with batch=single the answer, says that its record failed
    repeatable  true: sending a request again does no harm

Places are written with dots: ``payload.instances``, see `JsonPath`.
"""

import json
import uuid
from collections.abc import Mapping, Sequence

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue, write_json
from udfs.options import OptionReader, Options
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._json_paths import JsonPath
from udfs.remotes._records import prepare_each, put_together, write_record
from udfs.remotes.base import Surroundings, Trace
from udfs.remotes.credentials import HEADER_NAME, HEADER_VALUE

OPTIONS = (
    "url",
    "method",
    "credentials",
    "headers",
    "batch",
    "body",
    "inputs",
    "output",
    "error",
    "repeatable",
)
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key"})
_HTTPS_OWN_HEADERS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class RestRemote:
    """A model behind a JSON endpoint."""

    def __init__(self, server: HttpEndpoint, options: OptionReader) -> None:
        self._server = server
        self._method = options.one_of("method", ("POST", "PUT"))
        self._is_list = options.one_of("batch", ("single", "list")) == "list"
        self._around = _around(options.object("body"), JsonPath.parse("inputs", options.text("inputs")))
        self._output = JsonPath.parse("output", options.text("output"))
        error = options.text("error")
        self._error = JsonPath.parse("error", error) if error is not None else None
        self._is_repeatable = options.flag("repeatable", False)

    @property
    def endpoint(self) -> str:
        """The server."""
        return self._server.name

    @property
    def is_repeatable(self) -> bool:
        """As the options say."""
        return self._is_repeatable

    @property
    def max_batch(self) -> int | None:
        """One, unless the inputs go as an array."""
        return None if self._is_list else 1

    async def open(self, seconds: float) -> bool:  # noqa: ARG002  # nothing takes time
        """Nothing is known of the endpoint that could be asked for."""
        return False

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        """Score records with one request; see `Remote.score`."""
        sent, errors = prepare_each(inputs, write_record)
        return put_together(await self._ask(sent, seconds, trace) if sent else (), errors, len(inputs))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def _ask(
        self, records: Sequence[bytes], seconds: float, trace: Trace
    ) -> Sequence[JsonValue | ScoreError]:
        inputs = b"[" + b",".join(records) + b"]" if self._is_list else records[0]
        body = inputs.join(self._around)
        answer = await self._server.post("", body, seconds, trace, method=self._method)
        value = self._server.json_of(answer)
        try:
            if self._is_list:
                return self._items(value, len(records))
            return [self._failure(value) or self._output.get(value)]
        except LookupError as error:
            raise self._server.unreadable(str(error.args[0]), answer) from error

    def _items(self, answer: JsonValue, count: int) -> Sequence[JsonValue | ScoreError]:
        items = self._output.get(answer)
        where = f"at {self._output} " if not self._output.is_whole else ""
        if not isinstance(items, list):
            raise LookupError(f"has no array {where}".rstrip())
        if len(items) != count:
            raise LookupError(f"has {len(items)} items {where}for {count} records")
        return [self._failure(item) or item for item in items]

    def _failure(self, item: JsonValue) -> ScoreError | None:
        """What the server says against a record."""
        if self._error is None:
            return None
        try:
            said = self._error.get(item)
        except LookupError:
            return None
        if not said:
            return None
        text = said if isinstance(said, str) else json.dumps(said)
        return ScoreError(f"{self.endpoint} says: {self._server.words(text)}")


def connect(options: Options, surroundings: Surroundings) -> RestRemote:
    """Make a remote of options.

    Raises:
        ModelLoadError: options that can't work.
    """
    read = OptionReader(options, OPTIONS)
    server = HttpEndpoint(
        read.required("url"), surroundings, read.text("credentials"), _headers(read.object("headers"))
    )
    return RestRemote(server, read)


def _headers(given: Mapping[str, JsonValue]) -> dict[str, str]:
    headers = {}
    for name, value in given.items():
        if name.lower() in _SECRET_HEADERS:
            raise ModelLoadError(
                f"option headers: {name} is refused, because secrets go there: use credentials"
            )
        if name.lower() in _HTTPS_OWN_HEADERS or not HEADER_NAME.fullmatch(name):
            raise ModelLoadError(f"option headers: {name!r} is no header that can be set")
        if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
            raise ModelLoadError(f"option headers: {name}: expected a text of visible ASCII characters")
        headers[name.lower()] = value
    return headers


def _around(body: Mapping[str, JsonValue], inputs: JsonPath) -> tuple[bytes, bytes]:
    """A body's JSON before and after the inputs."""
    if body and inputs.is_whole:
        raise ModelLoadError("option body: say with the option inputs where in it the inputs go")
    here = uuid.uuid4().hex
    try:
        before, _, after = write_json(inputs.put(body, here)).partition(b'"%s"' % here.encode())
    except LookupError as error:
        raise ModelLoadError(f"option inputs: {inputs}: the body {error.args[0]}") from error
    except ValueError as error:
        raise ModelLoadError(f"option body: can't be written as JSON: {error}") from error
    return before, after
