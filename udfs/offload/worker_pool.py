"""A pool of worker processes: a local model scored beside the event path, as a lane sees it."""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from udfs.errors import Fault, ModelLoadError, OffloadError, ScoreError
from udfs.json_values import JsonValue
from udfs.models.load_request import without_bytes
from udfs.models.updates import PublishModel
from udfs.offload.start_pace import StartPace
from udfs.offload.worker import Worker
from udfs.offload.worker_ended import WorkerEndedError
from udfs.offload.worker_messages import WorkerRequest, decode_results, encode_inputs
from udfs.options import Options
from udfs.remotes.base import Trace

_LOG = logging.getLogger(__name__)


class WorkerPool:
    """Processes that have one version loaded, each scoring a batch at a time: a `udfs.remotes.base.Remote`.

    What the model does to its process hurts neither the job nor the other workers. A worker that ends is
    started again, `StartPace` says how soon. With it goes the batch that it had: its fault
    is HARMFUL, and who asked halves it until the record that ends workers is alone, which is tried twice.

    A batch that takes too long ends its worker too, for native code can't be stopped in another way. Its
    fault is HARMFUL as well, as is that of one whose answer can't be read: the record may have written it.
    """

    is_repeatable = True
    max_batch = None

    def __init__(
        self,
        published: PublishModel,
        artifact: Path,
        options: Options,
        *,
        workers: int,
        max_memory: int,
        prepared: Path | None = None,
        load_scorer: str = "udfs.scorers:load_scorer",
        formats: Collection[str],
    ) -> None:
        """Say what to load. Nothing is started yet.

        Args:
            published: the version.
            artifact: its file, local and verified. It must stay there until the pool is closed, for workers
                that are started later.
            options: the version's own, without those of its lane.
            workers: how many, and so how many batches are scored at a time.
            max_memory: bytes of resident memory that each may use, with all that it starts.
            prepared: the file that loads in the artifact's place, where its trial made one; stays too.
            load_scorer: ``module:function`` that loads a file with its format's scorer.
            formats: formats that may be served.
        """
        described = msgspec.structs.replace(without_bytes(published, artifact), options=dict(options))
        self._request = WorkerRequest(
            published=described,
            artifact=str(artifact),
            formats=tuple(formats),
            load_scorer=load_scorer,
            prepared=None if prepared is None else str(prepared),
        )
        self._count = workers
        self._max_memory = max_memory
        self._load_seconds = 0.0
        self._keepers: list[asyncio.Task[None]] = []
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._changed = asyncio.Event()
        self._down: dict[int, str] = {}
        self._pace = StartPace()
        self._is_closed = False
        self.notes: tuple[str, ...] = ()
        """What the model's scorer says of how it scores; known once the pool is open."""

    @property
    def endpoint(self) -> str:
        """Whose workers they are."""
        return f"workers of {self._request.published.model}"

    async def open(self, seconds: float) -> bool:
        """Start the workers and wait until each has loaded the version, run its checks and is warm.

        Args:
            seconds: how long it may take; also for each worker that is started later.

        Returns:
            True: each of them has answered.

        Raises:
            ModelCrashedError: a worker died of it.
            ModelLoadError: the version can't be loaded, or no process can be started. None is left then.
        """
        self._load_seconds = seconds
        starts = [asyncio.create_task(self._start()) for _ in range(self._count)]
        try:
            workers = await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            for started in await asyncio.gather(*starts, return_exceptions=True):
                if isinstance(started, Worker):
                    await started.end()
            raise
        self.notes, self._workers = workers[0].notes, workers
        self._keepers = [asyncio.create_task(self._keep(slot, one)) for slot, one in enumerate(workers)]
        return True

    async def score(
        self,
        inputs: Sequence[JsonValue],
        seconds: float,
        trace: Trace,  # noqa: ARG002  # there is nobody to pass it on to
    ) -> Sequence[JsonValue | ScoreError]:
        """Have a worker score a batch, once one is idle; see `udfs.remotes.base.Remote.score`.

        A worker may have it for ``seconds``. Where one has to be started first, that takes its own time.
        """
        try:
            body = encode_inputs(inputs)
        except ValueError as error:
            raise OffloadError(f"{self.endpoint}: {error}", Fault.RECORD) from error
        worker = await self._take(seconds)
        try:
            return decode_results(await worker.ask(body, seconds), len(inputs))
        except WorkerEndedError as error:
            # One that is ended with its pool says nothing of what it had.
            fault = Fault.PASSING if self._is_closed else Fault.HARMFUL
            raise OffloadError(f"{self.endpoint}: {error}", fault) from error
        except TimeoutError:
            text = f"{self.endpoint}: not scored in {seconds:.3g} s; the worker was ended"
            raise OffloadError(text, Fault.HARMFUL) from None
        except ValueError as error:
            worker.give_up(f"its answer can't be read: {error}")
            text = f"{self.endpoint}: an answer can't be read: {error}"
            raise OffloadError(text, Fault.HARMFUL) from error
        finally:
            self._offer(worker)

    async def close(self) -> None:
        """End all workers, and wait until they are gone."""
        self._is_closed = True
        self._changed.set()
        # A task that is cancelled before its first step never gets to its `finally`: let all begin.
        await asyncio.sleep(0)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _start(self) -> Worker:
        return await Worker.start(self._request, self._max_memory, self._load_seconds)

    def _offer(self, worker: Worker) -> None:
        if worker.is_there:
            self._idle.append(worker)
            self._changed.set()

    async def _take(self, seconds: float) -> Worker:
        """A worker that is idle now, and is not for others until it is offered again."""
        if any(worker.gone.is_set() for worker in self._workers):
            seconds += self._load_seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self._is_closed:
                        raise OffloadError(f"{self.endpoint}: they were closed", Fault.PASSING)
                    while self._idle:
                        worker = self._idle.pop()
                        if worker.is_there:  # else its keeper sees to another
                            return worker
                    if len(self._down) == self._count:
                        raise OffloadError(f"{self.endpoint}: {next(iter(self._down.values()))}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise OffloadError(f"{self.endpoint}: none was idle in {seconds:.3g} s", Fault.PASSING) from None

    async def _keep(self, slot: int, worker: Worker) -> None:
        """Have one worker there, until the pool is closed."""
        try:
            while True:
                self._offer(worker)
                await worker.gone.wait()
                with suppress(ValueError):
                    self._idle.remove(worker)
                how = await worker.end()
                _LOG.warning("%s: %s; another is started", self.endpoint, how)
                worker = self._workers[slot] = await self._another(slot, how)
        finally:
            await worker.end()

    async def _another(self, slot: int, how: str) -> Worker:
        """A worker in another's place, once one can be started."""
        failures = 0
        while True:
            pause = self._pace.pause(time.monotonic(), failures)
            if pause:
                self._down[slot] = f"{how}; another is started in {pause:.3g} s"
                self._changed.set()
                await asyncio.sleep(pause)
            try:
                worker = await self._start()
            except ModelLoadError as error:
                failures, how = failures + 1, str(error)
                _LOG.warning("%s: none can be started: %s", self.endpoint, error)
            else:
                self._down.pop(slot, None)
                return worker
