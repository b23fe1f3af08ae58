"""From an artifact's file to a scorer that may serve: the same in a trial and in the job."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from udfs.engine import score_inputs
from udfs.errors import ModelLoadError, ModelstreamError
from udfs.models.checks import run_checks
from udfs.models.updates import PublishModel
from udfs.offload.lane_settings import check_inline, split_options
from udfs.options import Options
from udfs.scorers import Scorer

LoadScorer = Callable[[str, Path, Options], Scorer]
"""``load_scorer(format, artifact, options)``, which raises ModelLoadError."""


def load_version(
    published: PublishModel, artifact: Path, load_scorer: LoadScorer, formats: Collection[str]
) -> Scorer:
    """Load a version, run its checks and warm it up.

    Args:
        published: the version.
        artifact: its file, local and verified.
        load_scorer: loads a file with its format's scorer.
        formats: formats that may be served.

    Returns:
        A scorer that is the caller's to close.

    Raises:
        ModelLoadError: a format that is not allowed, an option of offloading where nothing is offloaded, a
            bad model, one that keeps state, or a check that differs; nothing of it stays loaded.
    """
    check_format(published, formats)
    options: Options = published.options
    if published.execution == "offload":
        _, options = split_options(options)
    else:
        check_inline(options)
    return accept(published, lambda: load_scorer(published.format, artifact, options))


def accept(published: PublishModel, load: Callable[[], Scorer], *, warm_up: bool = True) -> Scorer:
    """Load a version, run its checks and warm it up.

    Args:
        published: the version.
        load: makes its scorer.
        warm_up: whether to score something where there are no checks.

    Returns:
        A scorer that is the caller's to close.

    Raises:
        ModelLoadError: a bad model, one that keeps state, or a check that differs; nothing stays loaded.
    """
    try:
        scorer = load()
    except ModelstreamError:
        raise
    except Exception as error:  # the edge to a format's own code
        raise ModelLoadError(f"{published.model}: {type(error).__name__}: {error}") from error
    try:
        if getattr(scorer, "stateful", False):
            raise ModelLoadError(
                f"{published.model} keeps state of its own between events (draws random numbers, say), which "
                f"would not survive a restart of the job; `modelstream score` runs such models"
            )
        if published.checks:
            run_checks(scorer, published.checks)
        elif warm_up:
            # What a first call sets up should not wait for the first event; its result may be an error.
            score_inputs(scorer, [{}])
    except BaseException:
        close_scorer(scorer)
        raise
    return scorer


def check_format(published: PublishModel, formats: Collection[str]) -> None:
    """See that a version's format may be served.

    Raises:
        ModelLoadError: it may not.
    """
    if published.format not in formats:
        raise ModelLoadError(
            f"{published.model}: format {published.format!r} is not allowed here; "
            f"models.formats: {', '.join(formats)}"
        )


def close_scorer(scorer: Scorer) -> None:
    """Close a scorer that nothing needs any more."""
    # The edge to a format's own code: the version is gone either way, and the job must not fail for it.
    with suppress(Exception):
        scorer.close()
