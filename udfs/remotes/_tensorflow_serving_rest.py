"""A model of TensorFlow Serving, asked over REST.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from udfs.json_values import JsonValue, read_json, write_json
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._tensorflow_serving_examples import Features, json_example_of
from udfs.remotes._tensorflow_serving_model import Classes, Wanted
from udfs.remotes._tensorflow_serving_signature import Signature, TensorInfo, read_metadata_json
from udfs.remotes._tensorflow_serving_tensors import dtype_of, json_column, read_json_values
from udfs.remotes.base import Trace
from udfs.tensors.reader import Columns


class RestModel:
    """See `udfs.remotes._tensorflow_serving_model.ServedModel`.

    Args:
        endpoint: the server.
        wanted: which model of it.
        by_row: a request has an object a record, in place of one with a column an input.

    Raises:
        ModelLoadError: the model's path is not allowed.
    """

    def __init__(self, endpoint: HttpEndpoint, wanted: Wanted, *, by_row: bool) -> None:
        self.endpoint = endpoint
        self._signature = wanted.signature
        self._by_row = by_row
        self._path = f"/v1/models/{quote(wanted.model, safe='')}"
        if wanted.version is not None:
            self._path += f"/versions/{wanted.version}"
        elif wanted.label is not None:
            self._path += f"/labels/{quote(wanted.label, safe='')}"
        endpoint.url_of(self._path)

    async def read_signatures(self, seconds: float) -> dict[str, Signature]:
        """See the protocol class."""
        return read_metadata_json(await self.endpoint.get(f"{self._path}/metadata", seconds))

    async def predict(
        self, columns: Columns, outputs: Mapping[str, TensorInfo], seconds: float, trace: Trace
    ) -> dict[str, NDArray[Any]]:
        """See the protocol class."""
        values = {name: json_column(column) for name, column in columns.items()}
        if self._by_row:
            rows = zip(*values.values(), strict=True)
            body = {"instances": [dict(zip(values, row, strict=True)) for row in rows]}
            answer = _by_name(await self._call("predict", body, "predictions", seconds, trace), outputs)
        else:
            answer = await self._call("predict", {"inputs": values}, "outputs", seconds, trace)
        # The name of a signature's only output is left out.
        named = answer if isinstance(answer, dict) else dict.fromkeys(outputs, answer)
        return {
            name: read_json_values(named[name], dtype_of(info.kind))
            for name, info in outputs.items()
            if name in named
        }

    async def classify(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[Classes]:
        """See the protocol class."""
        results = await self._examples("classify", examples, seconds, trace)
        return [_classes(record) for record in results]

    async def regress(self, examples: Sequence[Features], seconds: float, trace: Trace) -> list[float]:
        """See the protocol class."""
        return [_float(one) for one in await self._examples("regress", examples, seconds, trace)]

    async def close(self) -> None:
        """See the protocol class."""
        await self.endpoint.close()

    async def _examples(
        self, method: str, examples: Sequence[Features], seconds: float, trace: Trace
    ) -> list[Any]:
        body = {"examples": list(map(json_example_of, examples))}
        results = await self._call(method, body, "results", seconds, trace)
        if not isinstance(results, list):
            raise ValueError("its results are no list")
        return results

    async def _call(
        self, method: str, body: dict[str, Any], wanted: str, seconds: float, trace: Trace
    ) -> JsonValue:
        request = _write({"signature_name": self._signature, **body})
        answer = await self.endpoint.post(f"{self._path}:{method}", request, seconds, trace)
        try:
            read = read_json(answer.body)
        except ValueError as error:
            raise ValueError("it is no JSON") from error
        if not isinstance(read, dict) or wanted not in read:
            raise ValueError(f"it has no {wanted!r}")
        found: JsonValue = read[wanted]
        return found


def _write(body: dict[str, JsonValue]) -> bytes:
    """JSON in which NaN is NaN, as TensorFlow Serving reads it."""
    written = write_json(body)
    # Records have no null: where one is written it stands for NaN or infinity.
    return json.dumps(body).encode() if b"null" in written else written


def _by_name(predictions: JsonValue, outputs: Mapping[str, TensorInfo]) -> JsonValue:
    """Columns of what is said of each record."""
    if not isinstance(predictions, list):
        raise ValueError("its predictions are no list")
    if not predictions or not isinstance(predictions[0], dict) or predictions[0].keys() == {"b64"}:
        return predictions
    try:
        return {name: [record[name] for record in predictions] for name in outputs if name in predictions[0]}
    except (TypeError, KeyError) as error:
        raise ValueError("its predictions are not all alike") from error


def _classes(record: Any) -> Classes:
    try:
        return [(str(label), _float(score)) for label, score in record]
    except TypeError as error:
        raise ValueError("its results are no pairs of label and score") from error


def _float(value: object) -> float:
    """A float32, as the server had it before it wrote it."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("its results are no numbers")
    return float(np.float32(value))
