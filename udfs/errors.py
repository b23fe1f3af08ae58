"""Every error of modelstream, in one tree.

    ModelstreamError
    ├── ConfigError      the configuration can't work            (fails the job, at start)
    ├── UpdateError      a model update is refused               stage update
    ├── ArtifactError    an artifact can't be had or is refused  stage update
    │   └── ArtifactUnavailableError  it may be had later        stage update
    ├── ModelLoadError   an artifact is no model of its format   stage update
    │   └── ModelCrashedError         loading it ends a process  stage update
    ├── DecodeError      an event is not what events look like   stage decode
    ├── ResolveError     no version serves what an event names   stage resolve
    ├── ScoreError       a model could not score an input        stage score
    ├── OffloadError     who scores beside the stream can't      stage offload
    ├── EncodeError      an output can't be written              stage encode
    ├── JobError         Flink ended the job, or can't stop it   (told to whoever ran it)
    └── TopicError       Kafka can't be reached, or refuses      (told to whoever gave the command)

Only ConfigError keeps a job from starting, and only Flink's own faults fail one. What has a stage becomes
a dead letter, or an error line of ``modelstream score``. Foreign exceptions become one of these where the
foreign code is called: in a scorer, in the artifact store, in a Kafka client.
"""

from enum import Enum
from typing import ClassVar, Literal

Stage = Literal["decode", "route", "resolve", "score", "offload", "encode", "update"]


class ModelstreamError(Exception):
    """Base of all errors that modelstream raises itself. Its text is for people: what, where, what to do."""

    stage: ClassVar[Stage | None] = None


class ConfigError(ModelstreamError):
    """The configuration can't work. The text begins with the path of the key, where there is one."""


class UpdateError(ModelstreamError):
    """A model update is malformed or refused; the catalog stays as it was."""

    stage = "update"


class ArtifactError(ModelstreamError):
    """An artifact can't be fetched, differs from its sha256, is too large, or its place is not allowed."""

    stage = "update"


class ArtifactUnavailableError(ArtifactError):
    """An artifact can't be fetched now, for a fault that may pass: fetching again can help."""


class ModelLoadError(ModelstreamError):
    """An artifact can't be loaded as a model of its format with its options."""

    stage = "update"


class ModelCrashedError(ModelLoadError):
    """Loading a version ended the process that tried it; loading again can't help."""


class DecodeError(ModelstreamError):
    """An event's value is not the JSON that events are made of."""

    stage = "decode"


class Absence(Enum):
    """Why no version serves."""

    MISSING = "missing"
    """Nothing is published that could, or nothing of it is active."""
    LOADING = "loading"
    """What should serve is being loaded: it is there soon, or has failed."""
    FAILED = "failed"
    """What should serve can't be loaded."""
    FOR_EVER = "for ever"
    """At the event's time nothing is to serve: waiting can't help."""


class ResolveError(ModelstreamError):
    """No version serves the model that an event names."""

    stage = "resolve"

    def __init__(self, text: str, absence: Absence = Absence.MISSING) -> None:
        super().__init__(text)
        self.absence = absence


class ScoreError(ModelstreamError):
    """A model could not score one input. Returned in place of outputs, not raised, by a scorer."""

    stage = "score"


class Fault(Enum):
    """What is wrong where a batch was not scored beside the stream, and so what may help."""

    RECORD = "record"
    """The request's content was refused: other records, sent without the bad ones, may be scored."""
    PASSING = "passing"
    """The same request may be answered later: a broken connection, an overloaded server, a deadline."""
    LASTING = "lasting"
    """Any other would be refused too: no such model, no right to it, an answer that can't be read."""
    UNCLEAR = "unclear"
    """The server failed, of this content or of any: halves of the batch tell. No result has it in the end."""
    HARMFUL = "harmful"
    """Scoring it ended or hung the process that tried, or it was among records that did, and was not found
    to be harmless: it is never to be scored where the job runs."""


class OffloadError(ModelstreamError):
    """A remote server, or a worker process, did not score what it was sent."""

    stage = "offload"

    def __init__(
        self,
        text: str,
        fault: Fault = Fault.LASTING,
        retry_after: float | None = None,
        *,
        is_answer: bool = False,
    ) -> None:
        """Say what happened.

        Args:
            text: what, where, what to do.
            fault: what may help.
            retry_after: seconds that the server asked to be left alone for.
            is_answer: whether the server itself said so, and so is there.
        """
        super().__init__(text)
        self.fault = fault
        self.retry_after = retry_after
        self.is_answer = is_answer


class EncodeError(ModelstreamError):
    """A prediction can't be written: too large, or a timestamp that its topic refuses."""

    stage = "encode"


class JobError(ModelstreamError):
    """A job failed, or could not be stopped in order. The text has the root cause."""


class TopicError(ModelstreamError):
    """Kafka can't be reached, has no such topic, or refuses what a command asks of it."""
