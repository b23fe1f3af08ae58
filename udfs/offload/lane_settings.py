"""How records of one version are sent to whom scores them beside the stream."""

from collections.abc import Collection
from typing import Literal, cast, get_args

import msgspec

from udfs.errors import ModelLoadError
from udfs.options import OptionReader, Options, with_nearest
from udfs.records import ModelId

Overload = Literal["backpressure", "dead-letter", "fallback"]


class LaneSettings(msgspec.Struct, frozen=True):
    """The options of a version that are its lane's.

    Attributes:
        deadline: seconds for a request with all its attempts, from when it is first sent; to find a harmful
            record there are two deadlines more.
        attempts: most attempts of a request.
        in_flight: most requests at a time.
        max_batch: most records in a request.
        max_waiting: most records that wait for their turn.
        on_overload: what becomes of events for which there is no room to wait: the stream waits, they
            become dead letters, or the fallback scores them.
        ordered: whether predictions of one key keep the order of its events.
        fallback: the version that scores what was not answered; no record that was refused or is harmful.
        workers: processes of a model that is scored beside the stream on this machine.
    """

    deadline: float = 5.0
    attempts: int = 3
    in_flight: int = 8
    max_batch: int = 1000
    max_waiting: int = 2_000
    on_overload: Overload = "backpressure"
    ordered: bool = True
    fallback: ModelId | None = None
    workers: int = 1


LONGEST_DEADLINE = 120.0
"""Seconds. Who waits for room waits for a request at least; Flink gives a task that is cancelled 180 s."""

LANE_OPTIONS = frozenset(LaneSettings.__struct_fields__)
"""Names of the options that are the lane's."""


def check_names(options: Options, own: Collection[str]) -> None:
    """See that every option is the lane's or the protocol's.

    Args:
        options: a version's.
        own: names of the options of its protocol.

    Raises:
        ModelLoadError: one is neither; the text has the nearest of both, and lists them.
    """
    if unknown := sorted(options.keys() - LANE_OPTIONS - set(own)):
        lane = LANE_OPTIONS - {"workers"}
        raise ModelLoadError(
            f"unknown option {with_nearest(unknown[0], lane | set(own))}; known: {', '.join(sorted(own))}; "
            f"of offloading: {', '.join(sorted(lane))}"
        )


def check_inline(options: Options) -> None:
    """See that a local version that is scored inline has no option of offloading.

    Args:
        options: the version's.

    Raises:
        ModelLoadError: it has one.
    """
    if misplaced := sorted(options.keys() & LANE_OPTIONS):
        raise ModelLoadError(
            f"option {misplaced[0]}: only a version that is offloaded has it: say --execution offload "
            f"(in the update `execution`: `offload`), or leave the option out"
        )


def split_options(options: Options, deadline: float = 5.0) -> tuple[LaneSettings, Options]:
    """Read the lane's options, as they were published.

    Args:
        options: a version's.
        deadline: seconds, where none is given.

    Returns:
        The lane's settings, and the other options: the protocol's or the format's.

    Raises:
        ModelLoadError: one is not what it should be, or there is no fallback where one is to score.
    """
    own = {name: value for name, value in options.items() if name in LANE_OPTIONS}
    others = {name: value for name, value in options.items() if name not in LANE_OPTIONS}
    read, default = OptionReader(own, LANE_OPTIONS), LaneSettings()
    settings = LaneSettings(
        deadline=read.seconds("deadline", deadline, 0.001, LONGEST_DEADLINE),
        attempts=read.count("attempts", default.attempts, 100),
        in_flight=read.count("in_flight", default.in_flight, 1024),
        max_batch=read.count("max_batch", default.max_batch, 100_000),
        max_waiting=read.count("max_waiting", default.max_waiting, 1_000_000),
        on_overload=cast(Overload, read.one_of("on_overload", get_args(Overload))),
        ordered=read.flag("ordered", default.ordered),
        fallback=_fallback(read),
        workers=read.count("workers", default.workers, 64),
    )
    if settings.on_overload == "fallback" and settings.fallback is None:
        raise ModelLoadError("option on_overload: 'fallback' needs the option fallback, NAME:VERSION")
    return settings, others


def _fallback(read: OptionReader) -> ModelId | None:
    text = read.text("fallback")
    try:
        return None if text is None else ModelId.parse(text)
    except ValueError as error:
        raise ModelLoadError(f"option fallback: {error}") from error
