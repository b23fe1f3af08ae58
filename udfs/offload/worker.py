"""A worker: a process that has one version loaded, as the event loop sees it that it works for."""

import asyncio
import logging
import os
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import Self

from udfs.errors import ModelCrashedError, ModelLoadError
from udfs.models.child_process import ChildProcess, usable_cores
from udfs.offload.worker_ended import WorkerEndedError
from udfs.offload.worker_log import WorkerLog
from udfs.offload.worker_messages import (
    LENGTH,
    MOST_BYTES,
    Refused,
    WorkerRequest,
    decode_load_report,
    frame,
)

_LOG = logging.getLogger(__name__)
_BUFFER_BYTES = 1 << 20
_HEARS_EVERY = 0.01
"""Seconds: a model that writes without end waits, and not the loop."""


class Worker:
    """A process that has one version loaded. It scores one batch at a time.

    What it takes of the processor is what others leave of all cores but one. It ends with the thread of its
    event loop at the latest.
    """

    def __init__(
        self,
        model: str,
        child: ChildProcess,
        max_memory: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Made by `start`."""
        self.gone = asyncio.Event()
        """Set once it answers no more; `end` has then still to be called."""
        self.notes: tuple[str, ...] = ()
        """What its scorer says of how it scores."""
        self._model = model
        self._child = child
        self._max_memory = max_memory
        self._reader = reader
        self._writer = writer
        self._cause = ""
        self._ending: asyncio.Future[str] | None = None
        self._log = WorkerLog(f"{model}: worker {child.pid}", _LOG, time.monotonic)
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(child.pid)
        os.set_blocking(child.output.fileno(), False)
        self._loop.add_reader(self._pidfd, self._leave)
        self._loop.add_reader(child.alarm, self._take_alarm)
        self._hears_again: asyncio.Handle = self._loop.call_soon(self._listen)

    @classmethod
    async def start(cls, request: WorkerRequest, max_memory: int, seconds: float) -> Self:
        """Start one, and wait until its version is loaded.

        Args:
            request: what to load.
            max_memory: bytes of resident memory that it may use, with all that it starts.
            seconds: how long it may take.

        Raises:
            ModelCrashedError: it died.
            ModelLoadError: the version can't be loaded, it took too long or too much memory, or the process
                can't be started. Nothing of it is left.
        """
        model, body = str(request.published.model), request.encode()
        try:
            worker = await cls._started(model, max_memory)
        except OSError as error:
            raise ModelLoadError(f"{model}: no worker can be started: {error.strerror}") from error
        try:
            await worker._load(body, seconds)
        except BaseException:
            await worker.end()
            raise
        return worker

    @classmethod
    async def _started(cls, model: str, max_memory: int) -> Self:
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as held:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
            held.callback(writer.transport.abort)
            child = ChildProcess.start(
                "udfs.offload.worker_process",
                theirs.fileno(),
                stdin=subprocess.DEVNULL,
                max_memory=max_memory,
                cores=_all_cores_but_one(),
            )
            held.callback(child.close)
            worker = cls(model, child, max_memory, reader, writer)
            held.pop_all()
            return worker

    @property
    def is_there(self) -> bool:
        """Whether it can be asked, as far as is known."""
        return not self.gone.is_set() and not self._child.is_gone()

    async def ask(self, body: bytes, seconds: float) -> bytes:
        """Send something and wait for the answer.

        Raises:
            WorkerEndedError: it ended instead of an answer, or its answer is too long.
            TimeoutError: there was none in time; the worker, which can't be stopped in what it does, is
                given up.
            asyncio.CancelledError: who waits was cancelled, and the worker is given up too. It comes from a
                WorkerEndedError: so is known, where that was a time limit, that a worker used it up.
        """
        try:
            async with asyncio.timeout(seconds):
                self._writer.write(frame(body))
                await self._writer.drain()
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                if length <= MOST_BYTES:
                    return await self._reader.readexactly(length)
            self.give_up(f"it answered with {length} bytes")
        except TimeoutError:
            self.give_up("it had not answered in time")
            raise
        except asyncio.CancelledError as error:
            self.give_up("it had not answered in time")
            raise _cancelled(error) from WorkerEndedError(self._cause)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._ended() from error
        raise await self._ended()

    async def _ended(self) -> WorkerEndedError:
        try:
            return WorkerEndedError(await self.end())
        except asyncio.CancelledError as error:
            raise _cancelled(error) from WorkerEndedError("it ended")

    def give_up(self, cause: str) -> None:
        """Have it answer no more."""
        self._cause = self._cause or cause
        self._leave()

    async def end(self) -> str:
        """End it, with all that it started. From then on nothing of it is left.

        Returns:
            How it ended.
        """
        if self._ending is None:
            self._leave()
            self._ending = self._loop.run_in_executor(None, self._end_child)
        try:
            how = await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            await asyncio.wait((self._ending,))  # whoever is cancelled still leaves nothing behind
            raise
        return f"a worker was ended: {self._cause}" if self._cause else f"a worker ended by {how}"

    async def _load(self, body: bytes, seconds: float) -> None:
        try:
            report = decode_load_report(await self.ask(body, seconds))
        except TimeoutError:
            raise ModelLoadError(
                f"{self._model}: not loaded in {seconds:.3g} s; see loading.deadline"
            ) from None
        except WorkerEndedError as error:
            kind = ModelLoadError if self._cause else ModelCrashedError
            raise kind(f"{self._model}: loading it ended its worker: {error}") from error
        except ValueError as error:
            raise ModelLoadError(f"{self._model}: its worker's report can't be read: {error}") from error
        if isinstance(report, Refused):
            raise ModelLoadError(report.cause)
        self.notes = report.notes

    def _leave(self) -> None:
        """Have whoever waits for an answer know that none comes."""
        if self.gone.is_set():
            return
        self.gone.set()
        for descriptor in (self._pidfd, self._child.alarm, self._child.output):
            self._loop.remove_reader(descriptor)
        self._hears_again.cancel()
        os.close(self._pidfd)
        self._writer.transport.abort()

    def _take_alarm(self) -> None:
        if os.read(self._child.alarm.fileno(), 1):
            self.give_up(f"it used more than {self._max_memory} bytes of memory; see loading.max_memory")
        else:
            self.give_up("what watched its memory has ended")

    def _listen(self) -> None:
        self._loop.add_reader(self._child.output, self._hear)

    def _hear(self) -> None:
        self._loop.remove_reader(self._child.output)
        with suppress(BlockingIOError):
            chunk = self._child.hear()
            if not chunk:
                return
            self._log.take(chunk)
        self._hears_again = self._loop.call_later(_HEARS_EVERY, self._listen)

    def _end_child(self) -> str:
        self._child.end()
        with suppress(BlockingIOError):
            while self._child.hear():
                pass
        how = self._child.end_said()
        self._child.close()
        return how


def _all_cores_but_one() -> set[int]:
    """Where workers run: the events that wait for none of them have a core to themselves."""
    cores = usable_cores()
    return cores - {min(cores)} or cores


def _cancelled(error: asyncio.CancelledError) -> asyncio.CancelledError:
    """A new one, to have a cause: `asyncio.timeout` makes a TimeoutError of this very type alone."""
    return asyncio.CancelledError(*error.args)
