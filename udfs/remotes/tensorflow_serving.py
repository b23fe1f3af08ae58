"""TensorFlow Serving: Predict, Classify and Regress, over gRPC and REST.

Records and outputs are as the format ``tensorflow`` has them, so that a model moves from the one to the
other. Of Classify the outputs are ``classes`` and ``scores``, an array each, of Regress ``outputs``: as the
signatures for them name these.

Options:
    url: ``grpc://HOST:PORT``, ``grpcs://HOST:PORT``, or ``http://HOST:PORT``, ``https://HOST:PORT`` for REST.
    model: its name at the server.
    version: its version; or
    label: the label of its version; the newest version unless told.
    signature: which signature to run; ``serving_default`` unless told.
    call: ``predict``, ``classify`` or ``regress``; ``predict`` unless told.
    outputs: which outputs to give, a list or comma-separated; all of them unless told.
    fields: of ``predict``: names for the elements of the only input tensor, in order.
    input: of ``predict``: ``tf.Example`` where the signature takes serialized examples.
    features: where records become examples: an object with the kind of each feature that does not go by
        its value: ``{"weight": "float", "count": "int64", "name": "bytes"}``.
    request_format: of ``predict`` over REST: ``row`` or ``column``; ``row`` unless told.
    credentials: a name from the job's ``offload.credentials``.

Source: https://www.tensorflow.org/tfx/guide/serving
"""

from collections.abc import Sequence

from udfs.errors import ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import OptionReader, Options
from udfs.remotes._grpc import SCHEMES as GRPC_SCHEMES
from udfs.remotes._grpc import GrpcEndpoint
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._tensorflow_serving_calls import EXAMPLE, Call, Settings, prepare_call
from udfs.remotes._tensorflow_serving_examples import read_kinds
from udfs.remotes._tensorflow_serving_grpc import GrpcModel
from udfs.remotes._tensorflow_serving_model import ServedModel, Wanted
from udfs.remotes._tensorflow_serving_rest import RestModel
from udfs.remotes.base import Surroundings, Trace

OPTIONS = frozenset(
    (
        "url", "model", "version", "label", "signature", "call", "outputs", "fields", "input", "features",
        "request_format", "credentials",
    )
)  # fmt: skip


def connect(options: Options, surroundings: Surroundings) -> "TensorFlowServingRemote":
    """Make a remote of a server's model; see the module for the options. Nobody is asked.

    Raises:
        ModelLoadError: options that can't work, or a server that is not allowed.
    """
    values = OptionReader(options, OPTIONS)
    url, credentials = values.required("url"), values.text("credentials")
    wanted = Wanted(
        values.required("model"),
        values.whole("version", 1, 1, 2**63 - 1) if "version" in options else None,
        values.text("label"),
        values.text("signature") or "serving_default",
    )
    settings = Settings(
        method=values.one_of("call", ("predict", "classify", "regress")),
        outputs=values.names("outputs"),
        fields=values.names("fields"),
        takes_examples=values.chosen("input", EXAMPLE),
        kinds=read_kinds(values.object("features")),
    )
    _check(settings)
    if wanted.version is not None and wanted.label is not None:
        raise ModelLoadError("options version and label: expected one of them, or neither")
    by_row = values.one_of("request_format", ("row", "column")) == "row"
    served: ServedModel
    if url.partition(":")[0] in GRPC_SCHEMES:
        if "request_format" in options:
            raise ModelLoadError("the option request_format is for REST")
        served = GrpcModel(GrpcEndpoint(url, surroundings, credentials), wanted)
    else:
        served = RestModel(HttpEndpoint(url, surroundings, credentials), wanted, by_row=by_row)
    return TensorFlowServingRemote(served, wanted, settings)


def _check(settings: Settings) -> None:
    if settings.takes_examples and settings.method != "predict":
        raise ModelLoadError(f"the option input is for predict; {settings.method} takes examples anyway")
    if settings.sends_examples and settings.fields:
        raise ModelLoadError("the option fields is for predict with a tensor")
    if settings.kinds and not settings.sends_examples:
        raise ModelLoadError(f"the option features is for classify, regress, or input={EXAMPLE}")


class TensorFlowServingRemote:
    """A signature of a model; see `udfs.remotes.base.Remote`.

    Attributes:
        is_repeatable: scoring changes nothing at the server.
        max_batch: known when it is open.
    """

    is_repeatable = True

    def __init__(self, served: ServedModel, wanted: Wanted, settings: Settings) -> None:
        self.endpoint = served.endpoint.name
        self.max_batch: int | None = None
        self._served = served
        self._wanted = wanted
        self._settings = settings
        self._call: Call | None = None

    async def open(self, seconds: float) -> bool:
        """Read the model's metadata: the tensors of its signature."""
        try:
            signatures = await self._served.read_signatures(seconds)
        except ValueError as error:
            raise OffloadError(f"{self._name}: its metadata can't be read: {error}") from error
        if self._wanted.signature not in signatures:
            raise ModelLoadError(
                f"{self._name} has no signature {self._wanted.signature!r}; "
                f"known: {', '.join(sorted(signatures))} (option signature)"
            )
        try:
            self._call = prepare_call(self._served, signatures[self._wanted.signature], self._settings)
        except ModelLoadError as error:
            raise ModelLoadError(f"{self._name}: {error}") from error
        self.max_batch = self._call.max_batch
        return True

    async def score(
        self, inputs: Sequence[JsonValue], seconds: float, trace: Trace
    ) -> list[JsonValue | ScoreError]:
        """Score records with one request; with one for each shape where they differ in shape."""
        if self._call is None:
            raise OffloadError(f"{self._name}: not open")
        try:
            return await self._call.score(inputs, seconds, trace)
        except ValueError as error:
            raise OffloadError(f"{self._name} gave an answer that can't be read: {error}") from error

    async def close(self) -> None:
        """Let go of the server."""
        await self._served.close()

    @property
    def _name(self) -> str:
        wanted = self._wanted
        chosen = wanted.label if wanted.version is None else wanted.version
        return f"{self.endpoint}: model {wanted.model}{f' {chosen}' if chosen else ''}"
