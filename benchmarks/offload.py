"""Models that are scored beside the stream: how fast, and what they do to those that are scored in it."""

import json
from collections.abc import Callable, Mapping, Sequence
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

_BATCH = 100
"""Records a request to MLServer, of the job and of the client beside it."""
_IN_FLIGHT = 8
"""Requests at a time; what a model has unless told."""
_WIDE = 64
"""Requests at a time where each has one record."""
_DELAY_MS = 50
_FAST_MS, _SLOW_MS = 2, 200
_DEAD_PERCENT = 1
"""Of a backlog's events."""
_EVENTS, _MIXED = "offload-irises", "offload-irises-and-dead"
_COUNT = 3_000_000
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
        self._repeats, self._seconds = (1, 5.0) if quick else (3, 8.0)
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
        clients, jobs, singles = [], [], []
        with model_servers.mlserver(self._folder("mlserver")) as server:
            ask = partial(offload_client.measure, "grpc", server.grpc_url, in_flight=_IN_FLIGHT)
            for _ in range(self._repeats):
                clients.append(ask(batch=_BATCH, seconds=self._seconds))
                model = partial(offload_models.open_inference, "iris", server.grpc_url, in_flight=_IN_FLIGHT)
                jobs.append(self._backlog([model(max_batch=_BATCH)], 2_000_000, server.grpc_url))
                singles.append(self._backlog([model(max_batch=1)], 20_000, server.grpc_url))
                self._say_rates(client=clients[-1], job=_rate(jobs), one_event_a_request=_rate(singles))
        name = "MLServer's iris over gRPC"
        rates, single = _rates(jobs), _rates(singles)
        self._figures += [
            Figure(f"{name}, {_BATCH} events a request, Kafka to Kafka", median(rates), "events/s"),
            Figure(f"{name}, an asyncio client with the same batches", median(clients), "events/s"),
            at_least(f"{name}, the job beside the client", _ratio(rates, clients), "times", 0.8),
            Figure(f"{name}, one event a request, Kafka to Kafka", median(single), "events/s"),
            at_least(f"{name}, batches beside one event a request", _ratio(rates, single), "times", 10),
        ]

    def one_request_a_micro_batch(self) -> None:
        """A server that answers after a while, asked with whole micro-batches."""
        with offload_server.running(self._folder("rest")) as server:
            model = offload_models.rest("iris", server.after(_DELAY_MS))
            runs = [self._backlog([model], 2_000_000, server.url) for _ in range(self._repeats)]
        grown = median([run.peak_mib["java"] / run.half_way_mib["java"] for run in runs])
        name = f"REST server of {_DELAY_MS} ms, one request a micro-batch"
        self._figures += [
            at_least(f"{name}, Kafka to Kafka", median(_rates(runs)), "events/s", 20_000),
            Figure(f"{name}, peak memory of java", max(run.peak_mib["java"] for run in runs), "MiB"),
            at_most(f"{name}, peak memory of java beside that of half the way", grown, "times", 1.25),
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
                runs.append(self._backlog([model], 15_000, server.url))
                most = max(most, server.most_under_way())
                self._say_rates(client=clients[-1], job=_rate(runs))
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
        name = f"endpoint of {_FAST_MS} ms beside one of {_SLOW_MS} ms, {fast.per_second} events/s each"
        self._latencies(name, turns, 2)

    def dead_endpoint(self, death: Death) -> None:
        """A local model and an endpoint that dies while it is asked."""
        dead = Traffic("dead", 200)
        with offload_server.running(self._folder("dead")) as server:
            models = [programs.iris("iris"), offload_models.rest("dead", server.after(_FAST_MS))]
            turns = self._beside(models, _LOCAL, dead, server.url, when_warm=partial(server.die, death))
        name = (
            f"local model beside an endpoint that {death.value}, {_LOCAL.per_second:,} and "
            f"{dead.per_second} events/s"
        )
        self._latencies(name, turns, 1.5)

    def throughput_beside_a_dead_endpoint(self) -> None:
        """A backlog of a local model's events, and one that also has events of an endpoint that is dead."""
        alone: list[Run] = []
        beside: dict[Death, list[Run]] = {death: [] for death in Death}
        for _ in range(self._repeats):
            alone.append(self._backlog([programs.iris("iris")], 2_800_000))
            for death, runs in beside.items():
                with offload_server.running(self._folder("dead")) as server:
                    models = [programs.iris("iris"), offload_models.rest("dead", server.after(_FAST_MS))]
                    server.die(death)
                    runs.append(self._backlog(models, 2_800_000, server.url, events=_MIXED))
            rates = {death.name: _rate(runs) for death, runs in beside.items()}
            self._say_rates(alone=_rate(alone), **rates)
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
                f"light model beside a heavy one ({offload_models.HEAVY_MS} ms a batch) {way}, "
                f"{_LOCAL.per_second:,} and {heavy.per_second} events/s"
            )
            self._latencies(name, turns, goal)

    def _backlog(
        self, models: Sequence[PublishModel], outcomes: int, *allow: str, events: str = _EVENTS
    ) -> Run:
        settings = _allowing(*allow)
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
            settings=_allowing(*allow),
            when_warm=when_warm,
        )

    def _latencies(self, name: str, turns: Sequence[Turn], goal: float | None) -> None:
        """Figures of a model's latency beside another; the goal is of its p99 as a multiple of that alone."""
        said = ", ".join(f"{turn.alone_p99:.1f} and {turn.beside_p99:.1f} ms" for turn in turns)
        self._say(f"{name}: p99 alone and beside: {said}")
        times = offload_beside.ratio(turns)
        multiple = f"p99 of a {name}, beside p99 alone"
        self._figures += [
            Figure(multiple, times, "times") if goal is None else at_most(multiple, times, "times", goal),
            Figure(f"p99 of a {name}", median([turn.beside_p99 for turn in turns]), "ms"),
        ]

    def _folder(self, name: str) -> Path:
        folder = self._stand.folder / f"{name}-{self._stand.number()}"
        folder.mkdir()
        return folder

    def _say_rates(self, **rates: float) -> None:
        self._say(", ".join(f"{name.replace('_', ' ')} {rate:,.0f} events/s" for name, rate in rates.items()))

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", style="dim")


def _allowing(*places: str) -> Mapping[str, str]:
    return {"artifacts.allow": json.dumps(places)}


def _rates(runs: Sequence[Run]) -> list[float]:
    return [run.events_per_second for run in runs]


def _rate(runs: Sequence[Run]) -> float:
    """Of the last one."""
    return runs[-1].events_per_second


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured together."""
    return median([our / other for our, other in zip(ours, others, strict=True)])
