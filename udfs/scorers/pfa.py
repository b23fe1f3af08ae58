"""PFA engines, run by titus.

The artifact is a PFA document, JSON or YAML. An input is a value of the document's input type and an output
one of its output type, in Avro's JSON encoding: any type, bytes as strings, a value of a union as an object
of its branch's name. NaN and infinity, which JSON has no numbers for, are the strings "NaN", "Infinity" and
"-Infinity", as Avro writes them. The outputs of an engine that emits are the list of what it emitted for the
input. ``begin`` runs when the engine is loaded, ``end`` when it is closed; what they emit is nobody's output.

An engine that has something of its own from input to input is stateful: one that folds, writes a cell or a
pool, draws random numbers or counts its inputs.

There are no options. An input may take 10 seconds, or as many milliseconds as the document's own option
``timeout`` says if they are fewer; the time is looked at in loops.

Source: http://dmg.org/pfa/docs/, https://github.com/animator/titus2
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from udfs.errors import ModelLoadError, ScoreError
from udfs.json_values import JsonValue
from udfs.options import Options
from udfs.scorers import _titus
from udfs.scorers._pfa_document import read_document
from udfs.scorers._pfa_scalars import MismatchError
from udfs.scorers._pfa_values import compile_decoder, compile_encoder
from udfs.scorers.base import score_each

_log = logging.getLogger(__name__)

_MOST_MS: Final = 10_000
_COUNTERS: Final = ("actionsStarted", "actionsFinished")
_RANDOM: Final = ("rand.", "a.shuffle", "model.cluster.randomSeeds")
_ERROR_CHARACTERS: Final = 300


def load(artifact: Path, options: Options) -> "PfaScorer":
    """Load a PFA document and run its ``begin``.

    Args:
        artifact: the document, JSON or YAML in UTF-8.
        options: none are known.

    Raises:
        ModelLoadError: it is no PFA document, has an error in it, or is not safe to make an engine of.
    """
    if options:
        raise ModelLoadError(f"unknown option {min(options)!r}: the format pfa has none")
    try:
        data = artifact.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"{artifact.name} can't be read: {error.strerror}") from error
    document = read_document(data)
    with _load_errors():
        return PfaScorer(document)


class PfaScorer:
    """A PFA engine.

    Attributes:
        stateful: an output depends on the inputs before.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        config = _titus.reader.jsonToAst(document)
        timeout_ms = _read_timeout(config.options)
        (self._engine,) = _titus.genpy.PFAEngine.fromAst(config, {"timeout": timeout_ms})
        self._engine.log = _write_log
        self._emitted: list[Any] = []
        self._engine.emit = lambda value: self._emitted.append(value)
        self._emits = config.method == _titus.pfaast.Method.EMIT
        self._decode = compile_decoder(config.input)
        self._encode = compile_encoder(config.output)
        self.stateful = _is_stateful(self._engine)
        self._engine.begin()

    def score_batch(self, inputs: Sequence[JsonValue]) -> Sequence[JsonValue | ScoreError]:
        """Score a batch, in order; see `udfs.scorers.base.Scorer`."""
        return score_each(self._score, inputs)

    def close(self) -> None:
        """Run ``end``. An error in it is logged: there is no input that it could be of."""
        try:
            self._engine.end()
        except Exception as error:  # noqa: BLE001 - the document's own code
            _log.warning("the engine's end failed: %s", _text_of(error))

    def _score(self, value: JsonValue) -> JsonValue:
        self._emitted = []
        try:
            decoded = self._decode(value)
        except MismatchError as error:
            raise ScoreError(str(error.under("input"))) from None
        output = self._engine.action(decoded, check=False)
        if self._emits:
            return [self._encode_output(item) for item in self._emitted]
        return self._encode_output(output)

    def _encode_output(self, output: Any) -> JsonValue:
        try:
            encoded: JsonValue = self._encode(output)
        except MismatchError as error:
            raise ScoreError(str(error.under("output"))) from None
        return encoded


def _read_timeout(options: Mapping[str, Any]) -> int:
    requested = options.get("timeout", 0)
    if type(requested) is not int:
        raise ModelLoadError(f"options.timeout: expected whole milliseconds, found {str(requested)[:60]!r}")
    return min(requested, _MOST_MS) if requested > 0 else _MOST_MS


def _is_stateful(engine: Any) -> bool:
    reached = engine.calledBy("(action)")
    ast = _titus.pfaast
    writes = {ast.CellTo.desc, ast.PoolTo.desc, ast.PoolDel.desc} & reached
    draws = any(name.startswith(_RANDOM) for name in reached)
    return bool(
        engine.config.method == ast.Method.FOLD or writes or draws or engine.config.collect(_Counters())
    )


class _Counters:
    """titus's pattern of the variables that count an engine's inputs."""

    def isDefinedAt(self, node: Any) -> bool:  # noqa: N802 - the name that titus calls
        return isinstance(node, _titus.pfaast.Ref) and node.name in _COUNTERS

    def __call__(self, node: Any) -> Any:
        return node


def _write_log(values: Sequence[Any], namespace: str | None) -> None:
    # A document may log its inputs, which are nobody's business but the job's.
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%.100r: %.300s", namespace or "", " ".join(map(repr, values)))


@contextlib.contextmanager
def _load_errors() -> Iterator[None]:
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:  # titus raises anything, also the document's own errors
        raise ModelLoadError(f"titus can't load the document: {_text_of(error)}") from error


def _text_of(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_ERROR_CHARACTERS]
