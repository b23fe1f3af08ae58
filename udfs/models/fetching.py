"""Fetching an artifact again where that can help."""

import time
from collections.abc import Callable
from pathlib import Path

import stamina

from udfs.errors import ArtifactUnavailableError
from udfs.models.updates import Artifact

Fetch = Callable[[Artifact], Path]
"""Brings an artifact to a local file; raises ArtifactError."""

OnRetry = Callable[[int, ArtifactUnavailableError, float], None]
"""``on_retry(attempt, error, wait_seconds)``: which failed, from 1, why, and the shortest wait."""

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0


def fetch_with_retries(
    fetch: Fetch, artifact: Artifact, *, attempts: int, deadline: float, on_retry: OnRetry
) -> Path:
    """Fetch an artifact, and again after a while where it failed for a fault that may pass.

    The waits double from half a second to half a minute, with up to a second at random in each, so that
    the subtasks of a job don't come back all at once.

    Args:
        fetch: fetches; called once an attempt.
        artifact: what to fetch.
        attempts: most attempts.
        deadline: seconds; after them no wait begins.
        on_retry: told before each wait; what it raises ends the fetch.

    Raises:
        ArtifactUnavailableError: the last attempt failed.
        ArtifactError: an attempt failed for a fault that stays.
    """
    ends_at, tried = time.monotonic() + deadline, 0
    try:
        for attempt in stamina.retry_context(
            on=ArtifactUnavailableError,
            attempts=attempts,
            timeout=deadline,
            wait_initial=_FIRST_WAIT_SECONDS,
            wait_max=_LONGEST_WAIT_SECONDS,
        ):
            with attempt:
                try:
                    return fetch(artifact)
                except ArtifactUnavailableError as error:
                    tried = attempt.num
                    if tried < attempts and time.monotonic() < ends_at:
                        on_retry(tried, error, attempt.next_wait)
                    raise
    except ArtifactUnavailableError as error:
        raise ArtifactUnavailableError(f"{error}; attempts: {tried}") from error
    raise AssertionError("there is one attempt at least")
