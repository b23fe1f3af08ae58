"""Measure everything in one go: ``python -m benchmarks [--quick]``."""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks import in_process, latency, programs, switch
from benchmarks.figures import Figure, at_least, at_most, calibrate, median, show, write
from benchmarks.latency import Latency
from benchmarks.offload import OffloadBench
from benchmarks.stand import Program, Run, Stand, iris_event, iris_event_for
from benchmarks.switch import LargeModel, Switch
from devtools import BUILD
from devtools.broker import Broker
from devtools.topics import create_topic

RESULTS = Path(__file__).parent / "results.json"
RESTARTS = BUILD / "restarts.json"
_WRONG = ("lost", "duplicated", "reordered", "wrongly_attributed", "unknown")
_EVENTS = 6_000_000
_MODELS = 100
_GENERATOR_SECONDS = 240
_SWITCHES = 3
"""How often a large model is loaded beside the stream: the figure is the median."""
_GENERATED = (1_000_000, 6_000_000)
_ONNX, _NAIVE, _PLAIN = "onnx", "naive onnx", "plain loop"

Subjects = dict[str, tuple[Callable[[], Program], int]]
"""Programs to compare by name, and how many outcomes each is measured over."""


class Bench:
    """All measurements, on one stand."""

    def __init__(self, stand: Stand, console: Console, repeats: int, seconds: float) -> None:
        self.figures: list[Figure] = []
        self._stand = stand
        self._console = console
        self._repeats = repeats
        self._seconds = seconds

    def fill(self) -> None:
        """Write the events that are scored again and again."""
        self._console.print(f"writing {_EVENTS:,} events", style="dim")
        self._stand.fill("iris", _EVENTS, iris_event)

    def throughput(self) -> None:
        """ONNX from Kafka to Kafka, beside the naive job and the plain loop."""
        runs = self._measure(
            {
                _ONNX: (lambda: programs.job(self._stand, "iris"), 5_800_000),
                _NAIVE: (lambda: programs.naive_job(self._stand, "iris"), 300_000),
                _PLAIN: (lambda: programs.plain_loop(self._stand, "iris"), 5_800_000),
            }
        )
        ours, naive, plain = (_rate(runs[name]) for name in (_ONNX, _NAIVE, _PLAIN))
        self.figures += [
            Figure("ONNX, Kafka to Kafka", ours, "events/s"),
            Figure("naive PyFlink job, ONNX", naive, "events/s"),
            Figure("plain confluent-kafka loop, ONNX", plain, "events/s"),
            at_least("ONNX beside the naive job", _ratio(runs[_ONNX], runs[_NAIVE]), "times", 6),
            at_least("ONNX beside the plain loop", _ratio(runs[_ONNX], runs[_PLAIN]), "times", 0.5),
        ]
        for name in (_ONNX, _NAIVE, _PLAIN):
            cpu = median([run.cpu_seconds_per_million for run in runs[name]])
            self.figures.append(Figure(f"CPU, {name}", cpu, "s per million events"))
        self._memory("embedded", runs[_ONNX])

    def other_ways(self) -> None:
        """ONNX beside processes, exactly once, and with 100 models in one job."""
        self._console.print(f"writing {_EVENTS // 2:,} events for {_MODELS} models", style="dim")
        self._stand.fill("spread", _EVENTS // 2, iris_event_for(_MODELS))
        runs = self._measure(
            {
                "one model": (partial(programs.job, self._stand, "iris"), 2_900_000),
                "many models": (partial(programs.job, self._stand, "spread", models=_MODELS), 2_900_000),
                "at least once": (
                    partial(programs.job, self._stand, "iris", delivery="at-least-once"),
                    2_900_000,
                ),
                "process": (partial(programs.job, self._stand, "iris", execution="process"), 2_000_000),
            }
        )
        self.figures += [
            Figure("ONNX, at least once", _rate(runs["at least once"]), "events/s"),
            Figure("ONNX, Python in a process beside Flink", _rate(runs["process"]), "events/s"),
            at_least(
                f"{_MODELS} models beside one",
                _ratio(runs["many models"], runs["one model"]),
                "times",
                0.7,
            ),
        ]
        self._memory("process", runs["process"])
        self._memory(f"{_MODELS} models", runs["many models"])

    def formats(self) -> None:
        """The other formats beside naive jobs of theirs."""
        sizes = {
            "pmml": (600_000, 15_000, 12),
            "tensorflow": (1_500_000, 25_000, 30),
            "pfa": (200_000, 100_000, 1.5),
        }
        for name, (ours, naive, goal) in sizes.items():
            runs = self._measure(
                {
                    name: (partial(programs.job, self._stand, "iris", name), ours),
                    f"naive {name}": (partial(programs.naive_job, self._stand, "iris", name), naive),
                }
            )
            rate, other = _rate(runs[name]), _rate(runs[f"naive {name}"])
            self.figures += [
                Figure(f"{name}, Kafka to Kafka", rate, "events/s"),
                Figure(f"naive PyFlink job, {name}", other, "events/s"),
                at_least(
                    f"{name} beside the naive job",
                    _ratio(runs[name], runs[f"naive {name}"]),
                    "times",
                    goal,
                ),
            ]

    def without_broker(self) -> None:
        """The engine alone, and the job between a generator and nothing."""
        path = programs.IRIS / programs.FILES["onnx"]
        engines, loops, jobs = [], [], []
        for _ in range(self._repeats):
            engine, loop = in_process.measure(path, 3)
            few, many = (self._generator_seconds(count, path) for count in _GENERATED)
            engines.append(engine)
            loops.append(loop)
            # What starting up costs is in both.
            jobs.append((_GENERATED[1] - _GENERATED[0]) / (many - few))
            self._say(f"engine {engine:,.0f}, plain loop {loop:,.0f}, generator {jobs[-1]:,.0f} events/s")
        self.figures += [
            Figure("plain batched loop in one process", median(loops), "events/s"),
            Figure("engine alone", median(engines), "events/s"),
            at_least("engine beside the plain batched loop", _median_ratio(engines, loops), "times", 0.5),
            Figure("job between a generator and nothing", median(jobs), "events/s"),
            at_least("that job beside the plain batched loop", _median_ratio(jobs, loops), "times", 0.4),
        ]

    def latency(self, execution: str, per_second: int, goals: tuple[float, float]) -> None:
        """Latency of the job at a rate."""
        make = partial(programs.job, execution=execution, delivery="at-least-once")
        found = []
        for _ in range(self._repeats):
            found.append(self._latency_of(make, per_second))
            self._console.print(
                f"  {execution}, {per_second:,}/s: p50 {found[-1].p50:.1f} ms, p99 {found[-1].p99:.1f} ms",
                style="dim",
            )
        name = f"{per_second:,} events/s, {execution}"
        self.figures += [
            at_most(f"p50 at {name}", median([one.p50 for one in found]), "ms", goals[0]),
            at_most(f"p99 at {name}", median([one.p99 for one in found]), "ms", goals[1]),
        ]

    def switches(self) -> None:
        """Latency of one model while another, large one changes, beside the stream and blocking it."""
        folder = self._stand.folder / "large"
        folder.mkdir()
        drawn: dict[str, Switch] = {}
        for large in switch.make_large_models(folder):
            runs = [self._switch(large, blocking=False) for _ in range(_SWITCHES)]
            runs.sort(key=lambda run: run.ratio)
            beside, blocking = runs[_SWITCHES // 2], self._switch(large, blocking=True)
            drawn[f"{large.name}, beside the stream (median of {_SWITCHES})"] = beside
            drawn[f"{large.name}, loading: blocking"] = blocking
            name = f"while {large.name} changes"
            burnt = median([run.burner_p99 / run.calm_p99 for run in runs])
            self.figures += [
                at_most(f"p99 {name}, beside p99 before", beside.ratio, "times", 2),
                Figure(f"p99 before {large.name} changes", beside.calm_p99, "ms"),
                Figure(f"p99 {name}", beside.p99, "ms"),
                at_most(f"longest gap {name}", max(run.longest_gap for run in runs), "ms", 250),
                Figure(f"p99 while another process uses a core, before {large.name} changes", burnt, "times"),
                Figure(f"p99 {name}, loading: blocking, beside p99 before", blocking.ratio, "times"),
                Figure(f"p99 {name}, loading: blocking", blocking.p99, "ms"),
                Figure(f"longest gap {name}, loading: blocking", blocking.longest_gap, "ms"),
                Figure(f"from publishing {large.name} until it serves", beside.load_seconds, "s"),
            ]
        switch.plot(drawn, switch.PLOT)

    def _switch(self, large: LargeModel, *, blocking: bool) -> Switch:
        run = switch.measure(self._stand, large, blocking=blocking)
        self._say(
            f"{large.name}, {'blocking' if blocking else 'beside'}: p99 {run.calm_p99:.1f} ms, "
            f"{run.burner_p99:.1f} ms while another process uses a core, "
            f"{run.p99:.1f} ms while it loads for {run.load_seconds:.1f} s, "
            f"longest gap {run.longest_gap:.0f} ms"
        )
        return run

    def restarts(self) -> None:
        """What the last run of the kills found: that of `make soak`, or of `make test`."""
        if not RESTARTS.exists():
            self._say("no kills were measured: `make soak` and `make test` write build/restarts.json")
            return
        for execution, run in json.loads(RESTARTS.read_text(encoding="utf-8")).items():
            wrong = sum(run[kind] for kind in _WRONG)
            self.figures += [
                Figure(f"kills under a stream, {execution}", run["kills"], "kills"),
                Figure(f"events of that stream, {execution}", run["events"], "events"),
                at_most(
                    f"of them lost, doubled, out of order or wrongly attributed, {execution}",
                    *(wrong, "events", 0),
                ),
            ]

    def other_latencies(self) -> None:
        """Latency of the naive job, and of the plain loop at the highest rate."""
        naive = self._latency_of(programs.naive_job, 500)
        plain = self._latency_of(programs.plain_loop, 50_000)
        self.figures += [
            Figure("p50 at 500 events/s, naive job", naive.p50, "ms"),
            Figure("p50 at 50,000 events/s, plain loop", plain.p50, "ms"),
            Figure("p99 at 50,000 events/s, plain loop", plain.p99, "ms"),
        ]

    def _latency_of(self, make: Callable[[Stand, str], Program], per_second: int) -> Latency:
        events = f"paced-{self._stand.number()}"
        create_topic(self._stand.bootstrap, events)
        return latency.measure(self._stand, make(self._stand, events), events, per_second, self._seconds)

    def _measure(self, subjects: Subjects) -> dict[str, list[Run]]:
        """Measure each in turn, and all of them again: the machine's speed changes from minute to minute."""
        runs: dict[str, list[Run]] = defaultdict(list)
        for _ in range(self._repeats):
            for name, (make, outcomes) in subjects.items():
                run = self._stand.measure(make(), outcomes)
                runs[name].append(run)
                self._console.print(
                    f"  {name}: {run.events_per_second:,.0f} events/s, "
                    f"{run.cpu_seconds_per_million:.1f} CPU s a million   (calibration {calibrate():.1f})",
                    style="dim",
                )
        return runs

    def _memory(self, way: str, runs: list[Run]) -> None:
        for name in sorted({name for run in runs for name in run.peak_mib}):
            if name in ("client", "java", "python"):
                peak = max(run.peak_mib.get(name, 0) for run in runs)
                self.figures.append(Figure(f"peak memory of {name}, {way}", peak, "MiB"))

    def _generator_seconds(self, events: int, model: Path) -> float:
        name = f"generator-{self._stand.number()}"
        folder = self._stand.folder / name
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "benchmarks.generator_job",
            str(events),
            model,
            folder,
        ]
        with self._stand.running(Program("generator", command, name)) as process:
            process.wait(_GENERATOR_SECONDS)
        return float((folder / "seconds").read_text(encoding="utf-8"))

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", style="dim")


def main() -> None:
    """Measure, print a table and write benchmarks/results.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="the main figures, in less than 8 minutes")
    parser.add_argument(
        "--only", choices=["switches", "restarts", "offload"], help="these figures; the file keeps the others"
    )
    parser.add_argument("--repeats", type=int, default=2, help="how often each is measured")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="modelstream-bench-", ignore_cleanup_errors=True) as folder,
        Broker.start(Path(folder), heap="1g") as broker,
    ):
        stand = Stand(broker.bootstrap, Path(folder))
        bench = Bench(stand, console, arguments.repeats, seconds=15)
        bench.figures.append(Figure("calibration: a plain Python loop", calibrate(), "million turns/s"))
        offload = OffloadBench(stand, console, bench.figures, quick=arguments.quick)
        steps: list[Callable[[], None]] = [
            bench.fill,
            bench.throughput,
            partial(bench.latency, "embedded", 500, (12, 35)),
        ]
        if not arguments.quick:
            steps += [
                bench.formats,
                bench.without_broker,
                bench.other_ways,
                partial(bench.latency, "process", 500, (30, 60)),
                *(partial(bench.latency, "embedded", rate, (24, 70)) for rate in (5_000, 50_000)),
                *(partial(bench.latency, "process", rate, (60, 120)) for rate in (5_000, 50_000)),
                bench.other_latencies,
                bench.switches,
                bench.restarts,
                *offload.steps,
            ]
        if arguments.only:
            only = {"switches": [bench.switches], "restarts": [bench.restarts], "offload": [*offload.steps]}
            steps = only[arguments.only]
        results = RESULTS.with_name("results-quick.json") if arguments.quick else RESULTS
        for step in steps:
            step()
            # What was measured is kept, whatever becomes of the rest.
            write(bench.figures, results, keep_others=bool(arguments.only))
    show(bench.figures, Console())


def _rates(runs: list[Run]) -> list[float]:
    return [run.events_per_second for run in runs]


def _rate(runs: list[Run]) -> float:
    return median(_rates(runs))


def _ratio(ours: list[Run], others: list[Run]) -> float:
    return _median_ratio(_rates(ours), _rates(others))


def _median_ratio(ours: list[float], others: list[float]) -> float:
    """The median of the ratios of what was measured together."""
    return median([our / other for our, other in zip(ours, others, strict=True)])


if __name__ == "__main__":
    main()
