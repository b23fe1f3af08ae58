"""What an asyncio client reaches that does nothing but ask: no Kafka, no retries, no order.

``python -m benchmarks.offload_client grpc|rest URL BATCH IN_FLIGHT SECONDS`` prints events/s:

grpc    asks a model ``iris`` of the Open Inference Protocol V2, with `grpc.aio`
rest    posts to the URL, with httpx; always one record a request
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc.aio
import httpx
import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

from benchmarks.stand import FLOWERS
from devtools import ROOT
from examples.iris.train import FIELDS

_WARM_SECONDS = 2.0
_GRACE_SECONDS = 60.0

Record = Mapping[str, float]
Ask = Callable[[Sequence[Record]], Awaitable[None]]
"""Has records scored, and reads what is said of them."""


def measure(kind: str, url: str, *, batch: int, in_flight: int, seconds: float) -> float:
    """Events/s of the client, in a process of its own.

    Args:
        kind: ``grpc`` or ``rest``.
        url: of the server, as the formats of remote models have it.
        batch: records a request.
        in_flight: requests at a time.
        seconds: how long is measured, after two in which the server gets warm.
    """
    arguments = [kind, url, str(batch), str(in_flight), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.offload_client", *arguments]
    done = subprocess.run(
        command,
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=seconds + _WARM_SECONDS + _GRACE_SECONDS,
    )
    return float(done.stdout)


async def _over_grpc(url: str, batch: int, in_flight: int, seconds: float) -> float:
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(url.removeprefix("grpc://"), options) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer

        async def ask(records: Sequence[Record]) -> None:
            table = np.array([[record[name] for name in FIELDS] for record in records], "<f8")
            request = service_pb2.ModelInferRequest(model_name="iris")
            request.inputs.add(name="measures", datatype="FP64", shape=table.shape)
            request.raw_input_contents.append(table.tobytes())
            answer = await infer(request)
            found = [_elements(answer, index).tolist() for index in range(len(answer.outputs))]
            assert all(len(one) == len(records) for one in found), answer

        return await _rate(ask, batch, in_flight, seconds)


def _elements(answer: service_pb2.ModelInferResponse, index: int) -> NDArray[Any]:
    """An output, whichever way the server says it."""
    output = answer.outputs[index]
    shape = tuple(output.shape)
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[index]
        found = deserialize_bytes_tensor(raw) if output.datatype == "BYTES" else np.frombuffer(raw, "<f8")
    elif output.datatype == "BYTES":
        found = np.array([text.decode() for text in output.contents.bytes_contents], object)
    else:
        found = np.array(output.contents.fp64_contents)
    return found.reshape(shape)


async def _over_rest(url: str, batch: int, in_flight: int, seconds: float) -> float:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=30) as client:

        async def ask(records: Sequence[Record]) -> None:
            [record] = records
            answer = await client.post(url, content=orjson.dumps(record), headers=headers)
            answer.raise_for_status()
            orjson.loads(answer.content)

        return await _rate(ask, batch, in_flight, seconds)


async def _rate(ask: Ask, batch: int, in_flight: int, seconds: float) -> float:
    """Keep so many requests in flight, and count the records of those that are answered in the time."""
    records = [FLOWERS[number % len(FLOWERS)] for number in range(batch)]
    begin = time.perf_counter() + _WARM_SECONDS
    end = begin + seconds
    answered = 0

    async def work() -> None:
        nonlocal answered
        while time.perf_counter() < end:
            await ask(records)
            if begin <= time.perf_counter() < end:
                answered += len(records)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return answered / seconds


def _main(kind: str, url: str, batch: str, in_flight: str, seconds: str) -> None:
    over = {"grpc": _over_grpc, "rest": _over_rest}[kind]
    sys.stdout.write(f"{asyncio.run(over(url, int(batch), int(in_flight), float(seconds)))}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
