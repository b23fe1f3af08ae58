"""How many events a job has said that updates came too late for."""

import math
from collections.abc import Iterable

from udfs.records import ModelStatus


def late_events(statuses: Iterable[ModelStatus]) -> float:
    """The events of all statuses ``late``; inf: one said that it does not know how many, or ``at least``."""
    late = [one for one in statuses if one.status == "late"]
    if any(one.late_events is None or "at least" in (one.cause or "") for one in late):
        return math.inf
    return sum(one.late_events or 0 for one in late)
