"""The process that a worker is, see `udfs.offload.worker`: loads a version and scores what it is sent."""

import os
import socket
from pathlib import Path

import msgspec

from udfs.engine import score_inputs
from udfs.errors import ModelstreamError
from udfs.json_values import read_struct
from udfs.models.child_process import begin_as_child
from udfs.models.loaded import load_version
from udfs.offload.worker_messages import (
    LoadReport,
    Ready,
    Refused,
    WorkerRequest,
    decode_inputs,
    encode_report,
    encode_results,
    frame,
    read_frame,
)
from udfs.scorers import Scorer, load_prepared
from udfs.worker import settle_memory


def main() -> None:
    """Serve until the other end of the channel is closed."""
    channel = socket.socket(fileno=begin_as_child())
    with channel.makefile("rb") as received:
        request = read_struct(msgspec.json.Decoder(WorkerRequest), read_frame(received) or b"")
        report, scorer = _load(request)
        channel.sendall(frame(encode_report(report)))
        while scorer is not None and (body := read_frame(received)) is not None:
            channel.sendall(frame(_score(scorer, body)))
    # Nothing is left to do, and native libraries may take seconds to take themselves down.
    os._exit(0)


def _load(request: WorkerRequest) -> tuple[LoadReport, Scorer | None]:
    if request.prepared is None:
        path, load_scorer = Path(request.artifact), request.find_loader()
    else:
        path, load_scorer = Path(request.prepared), load_prepared
    try:
        scorer = load_version(request.published, path, load_scorer, request.formats)
    except ModelstreamError as error:
        return Refused(str(error)), None
    settle_memory()
    return Ready(tuple(getattr(scorer, "notes", ()))), scorer


def _score(scorer: Scorer, body: bytes) -> bytes:
    try:
        return encode_results(score_inputs(scorer, decode_inputs(body)))
    except ValueError as error:
        return encode_report(Refused(str(error)))


if __name__ == "__main__":
    main()
