"""Models that are scored beside the stream: how fast, and what they do to those that are scored in it."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import offload_beside, offload_client, offload_models, offload_server, programs
from benchmarks.figures import Figure, at_least, at_most, median
from benchmarks.offload_beside import Traffic, Turn
from benchmarks.offload_server import Death
from benchmarks.stand import FLOWERS, Run, Stand, iris_event
from devtools import model_servers
from udfs.models.updates import PublishModel

_BATCH, _LARGE_BATCH = 32, 1000
"""Records a request to MLServer, of the job and of the client beside it."""
_IN_FLIGHT, _MORE_IN_FLIGHT = 8, 16
"""Requests at a time: what a model has unless told, and what the server and the job take on two cores to
keep each other busy."""
_WIDE = 64
"""Requests at a time where each has one record."""
_DELAY_MS = 50
_FAST_MS, _SLOW_MS = 2, 200
_DEAD_PERCENT = 1
"""Of a backlog's events."""
_EVENTS, _MIXED = "offload-irises", "offload-irises-and-dead"
_COUNT, _OUTCOMES = 6_000_000, 5_800_000
_REMOTE_OUTCOMES = 1_500_000
"""Of an offloaded model: of fewer, Java would compile for most of the time."""
_LOCAL = Traffic("iris", 2000)

Step = Callable[[], None]


class OffloadBench:
    """The measurements of offloaded models.

    Args:
        stand: where.
        console: what says how far it is.
        figures: gets what was measured.
        quick: measure once, and for a shorter time.
    """

    def __init__(self, stand: Stand, console: Console, figures: list[Figure], *, quick: bool) -> None:
        self._stand = stand
        self._console = console
        self._figures = figures
        self._repeats, self._seconds = (1, 5.0) if quick else (3, 6.0)
        self.steps: tuple[Step, ...] = (
            self.fill,
            self.mlserver,
            self.one_request_a_micro_batch,
            self.one_request_an_event,
            self.slow_endpoint,
            *(partial(self.dead_endpoint, death) for death in Death),
            self.throughput_beside_a_dead_endpoint,
            self.heavy_model,
        )

    def fill(self) -> None:
        """Write the events that are scored again and again."""
        self._say(f"writing {_COUNT:,} events twice")
        share = 100 // _DEAD_PERCENT
        dead = json.dumps({"id": 0, "model": "dead", "data": FLOWERS[0]}).encode()
        self._stand.fill(_EVENTS, _COUNT, iris_event)
        self._stand.fill(_MIXED, _COUNT, lambda number: iris_event(number) if number % share else dead)

    def mlserver(self) -> None:
        """MLServer's iris over gRPC, beside a client that was written for it, and one event a request."""
        ways: dict[int, tuple[list[float], list[float]]] = {
            in_flight: ([], []) for in_flight in (_IN_FLIGHT, _MORE_IN_FLIGHT)
        }
        with model_servers.mlserver(self._folder("mlserver")) as server:
            for _ in range(self._repeats):
                for in_flight, (jobs, clients) in ways.items():
                    job, client = self._mlserver(server.grpc_url, _BATCH, in_flight, _REMOTE_OUTCOMES)
                    jobs.append(job)
                    clients.append(client)
            large_job, large_client = self._mlserver(
                server.grpc_url, _LARGE_BATCH, _IN_FLIGHT, _REMOTE_OUTCOMES
            )
            single, _ = self._mlserver(server.grpc_url, 1, _IN_FLIGHT, 12_000)
        name = "MLServer's iris over gRPC"
        for in_flight, (jobs, clients) in ways.items():
            small = f"{name}, {_BATCH} events a request, {in_flight} at a time"
            self._figures += [
                Figure(f"{small}, Kafka to Kafka", median(jobs), "events/s"),
                Figure(f"{small}, an asyncio client", median(clients), "events/s"),
                at_least(f"{small}, beside the client", _ratio(jobs, clients), "times", 0.8),
            ]
        large = f"{name}, {_LARGE_BATCH} events a request"
        self._figures += [
            Figure(f"{large}, Kafka to Kafka", large_job, "events/s"),
            Figure(f"{large}, an asyncio client", large_client, "events/s"),
            Figure(f"{name}, one event a request, Kafka to Kafka", single, "events/s"),
            at_least(
                f"{name}, {_BATCH} events a request beside one, Kafka to Kafka",
                median(ways[_IN_FLIGHT][0]) / single,
                "times",
                10,
            ),
        ]

    def _mlserver(self, url: str, batch: int, in_flight: int, outcomes: int) -> tuple[float, float]:
        """Events/s of the job and of the client, with requests of as many records."""
        client = offload_client.measure("grpc", url, batch=batch, in_flight=in_flight, seconds=self._seconds)
        model = offload_models.open_inference("iris", url, in_flight=in_flight, max_batch=batch)
        job = self._backlog([model], outcomes, url).events_per_second
        self._say(
            f"MLServer, {batch} events a request, {in_flight} at a time: "
            f"job {job:,.0f}, client {client:,.0f} events/s"
        )
        return job, client

    def one_request_a_micro_batch(self) -> None:
        """A server that answers after a while, asked with whole micro-batches."""
        with offload_server.running(self._folder("rest")) as server:
            model = offload_models.rest("iris", server.after(_DELAY_MS))
            run = self._backlog([model], 1_200_000, server.url)
        peak, half_way = (mib["java"] for mib in (run.peak_mib, run.half_way_mib))
        name = f"REST server of {_DELAY_MS} ms, one request a micro-batch"
        self._figures += [
            at_least(f"{name}, Kafka to Kafka", run.events_per_second, "events/s", 20_000),
            Figure(f"{name}, peak memory of java", peak, "MiB"),
            at_most(f"{name}, peak memory of java beside that half way", peak / half_way, "times", 1.25),
        ]

    def one_request_an_event(self) -> None:
        """The same server asked once an event, beside a client that does nothing else."""
        clients, runs, most = [], [], 0
        with offload_server.running(self._folder("rest")) as server:
            url = server.after(_DELAY_MS)
            model = offload_models.rest("iris", url, batch="single", in_flight=_WIDE)
            for _ in range(self._repeats):
                client = partial(offload_client.measure, "rest", url, batch=1, in_flight=_WIDE)
                clients.append(client(seconds=self._seconds))
                server.most_under_way()
                runs.append(self._backlog([model], 12_000, server.url))
                most = max(most, server.most_under_way())
                rate = runs[-1].events_per_second
                self._say(f"one request an event: job {rate:,.0f}, client {clients[-1]:,.0f} events/s")
        name = f"REST server of {_DELAY_MS} ms, one request an event"
        self._figures += [
            Figure(f"{name}, {_WIDE} in flight, Kafka to Kafka", median(_rates(runs)), "events/s"),
            Figure(f"{name}, {_WIDE} in flight, an asyncio httpx client", median(clients), "events/s"),
            at_least(f"{name}, the job beside the client", _ratio(_rates(runs), clients), "times", 0.8),
            at_least(f"{name}, most at a time of {_WIDE} in flight", most, "requests", _WIDE),
        ]

    def slow_endpoint(self) -> None:
        """Two endpoints, one a hundred times slower than the other."""
        fast, slow = Traffic("fast", 500), Traffic("slow", 500)
        with (
            offload_server.running(self._folder("fast")) as fast_server,
            offload_server.running(self._folder("slow")) as slow_server,
        ):
            models = [
                offload_models.rest("fast", fast_server.after(_FAST_MS)),
                offload_models.rest("slow", slow_server.after(_SLOW_MS)),
            ]
            turns = self._beside(models, fast, slow, fast_server.url, slow_server.url)
        name = f"an endpoint of {_FAST_MS} ms beside one of {_SLOW_MS} ms, {fast.per_second} events/s each"
        self._latencies(name, turns, 2)

    def dead_endpoint(self, death: Death) -> None:
        """A local model and an endpoint that dies while it is asked."""
        dead = Traffic("dead", 200)
        with offload_server.running(self._folder("dead")) as server:
            models = [programs.iris("iris"), offload_models.rest("dead", server.after(_FAST_MS))]
            turns = self._beside(models, _LOCAL, dead, server.url, when_warm=partial(server.die, death))
        name = (
            f"a local model beside an endpoint that {death.value}, {_LOCAL.per_second:,} and "
            f"{dead.per_second} events/s"
        )
        self._latencies(name, turns, 1.5)

    def throughput_beside_a_dead_endpoint(self) -> None:
        """A backlog of a local model's events, and one that also has events of an endpoint that is dead."""
        alone: list[Run] = []
        beside: dict[Death, list[Run]] = {death: [] for death in Death}
        for _ in range(self._repeats):
            alone.append(self._backlog([programs.iris("iris")], _OUTCOMES))
            for death, runs in beside.items():
                with offload_server.running(self._folder("dead")) as server:
                    models = [programs.iris("iris"), offload_models.rest("dead", server.after(_FAST_MS))]
                    server.die(death)
                    runs.append(self._backlog(models, _OUTCOMES, server.url, events=_MIXED))
            rates = (runs[-1].events_per_second for runs in (alone, *beside.values()))
            self._say(f"local model: {', '.join(f'{rate:,.0f}' for rate in rates)} events/s")
        for death, runs in beside.items():
            name = (
                f"throughput of a local model beside an endpoint that {death.value} "
                f"({_DEAD_PERCENT}% of the events), as a part of that alone"
            )
            self._figures.append(at_least(name, _ratio(_rates(runs), _rates(alone)), "times", 0.9))

    def heavy_model(self) -> None:
        """A light local model, and a heavy one: offloaded, and inline."""
        folder = self._folder("heavy")
        inline = offload_models.heavy("heavy", offload_models.write_heavy(folder))
        heavy = Traffic("heavy", 5)
        ways = {"offloaded": (offload_models.offloaded(inline), 2.0), "inline": (inline, None)}
        for way, (model, goal) in ways.items():
            turns = self._beside([programs.iris("iris"), model], _LOCAL, heavy, folder.as_uri())
            name = (
                f"a light model beside a heavy one ({offload_models.HEAVY_MS} ms a batch) {way}, "
                f"{_LOCAL.per_second:,} and {heavy.per_second} events/s"
            )
            self._latencies(name, turns, goal)

    def _backlog(
        self, models: Sequence[PublishModel], outcomes: int, *allow: str, events: str = _EVENTS
    ) -> Run:
        settings = {"artifacts.allow": json.dumps(allow)}
        program, _ = programs.job_with_topics(self._stand, events, publications=models, settings=settings)
        return self._stand.measure(program, outcomes)

    def _beside(
        self,
        models: Sequence[PublishModel],
        watched: Traffic,
        other: Traffic,
        *allow: str,
        when_warm: Step = lambda: None,
    ) -> list[Turn]:
        return offload_beside.measure(
            self._stand,
            models,
            watched,
            other,
            turns=self._repeats,
            seconds=self._seconds,
            settings={"artifacts.allow": json.dumps(allow)},
            when_warm=when_warm,
        )

    def _latencies(self, name: str, turns: Sequence[Turn], goal: float | None) -> None:
        """Figures of a model's latency beside another; the goal is of its p99 as a multiple of that alone."""
        said = ", ".join(f"{turn.alone_p99:.1f} and {turn.beside_p99:.1f} ms" for turn in turns)
        self._say(f"{name}: p99 alone and beside: {said}")
        times = offload_beside.ratio(turns)
        multiple = f"p99 of {name}, beside p99 alone"
        self._figures += [
            Figure(multiple, times, "times") if goal is None else at_most(multiple, times, "times", goal),
            Figure(f"p99 of {name}", median([turn.beside_p99 for turn in turns]), "ms"),
        ]

    def _folder(self, name: str) -> Path:
        folder = self._stand.folder / f"{name}-{self._stand.number()}"
        folder.mkdir()
        return folder

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", style="dim")


def _rates(runs: Sequence[Run]) -> list[float]:
    return [run.events_per_second for run in runs]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured together."""
    return median([our / other for our, other in zip(ours, others, strict=True)])
