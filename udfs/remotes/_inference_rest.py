"""The Open Inference Protocol V2 over REST, with tensors as JSON.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from udfs.json_values import read_struct
from udfs.remotes._http import HttpEndpoint
from udfs.remotes._inference_model import ModelMetadata, Wanted
from udfs.remotes._inference_tensors import Output, datatype_of, read_data
from udfs.remotes.base import Trace
from udfs.tensors.reader import Columns


class _OutputTensor(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    """Checked when it is known which datatype they are of."""


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_OutputTensor]


_ANSWER = msgspec.json.Decoder(_Answer)
_METADATA = msgspec.json.Decoder(ModelMetadata)


class RestModel:
    """One model of an HTTP server."""

    def __init__(self, endpoint: HttpEndpoint, wanted: Wanted) -> None:
        """Prepare to ask.

        Raises:
            ModelLoadError: the model's name or version makes no path that is allowed.
        """
        self.endpoint = endpoint
        version = f"/versions/{quote(wanted.version, safe='')}" if wanted.version else ""
        self._path = f"/v2/models/{quote(wanted.model, safe='')}{version}"
        self._infer_path = f"{self._path}/infer"
        endpoint.url_of(self._infer_path)
        self._request: dict[str, object] = {}
        if wanted.outputs:
            self._request["outputs"] = [{"name": name} for name in wanted.outputs]
        if wanted.parameters:
            self._request["parameters"] = wanted.parameters

    async def read_metadata(self, seconds: float) -> ModelMetadata:
        """Ask for the model's tensors.

        Raises:
            OffloadError: as the endpoint says.
            ValueError: the answer can't be read.
        """
        return read_struct(_METADATA, await self.endpoint.get(self._path, seconds))

    async def infer(self, columns: Columns, seconds: float, trace: Trace) -> list[Output]:
        """Have records scored.

        Raises:
            OffloadError: as the endpoint says.
            ValueError: the answer can't be read.
        """
        inputs = [
            {
                "name": name,
                "datatype": datatype_of(column.dtype),
                "shape": column.shape,
                # Flat, which all servers take. NaN becomes null.
                "data": column.reshape(-1).tolist() if column.dtype.kind == "O" else column.reshape(-1),
            }
            for name, column in columns.items()
        ]
        body = orjson.dumps({"inputs": inputs, **self._request}, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = await self.endpoint.post(self._infer_path, body, seconds, trace)
        return [
            read_data(one.name, one.datatype, one.shape, one.data)
            for one in read_struct(_ANSWER, answer.body).outputs
        ]

    async def close(self) -> None:
        """Let go of the server."""
        await self.endpoint.close()
