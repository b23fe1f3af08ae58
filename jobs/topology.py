"""The job as a graph, from top to bottom as the data flows."""

from pyflink.datastream import StreamExecutionEnvironment

from connectors import batching, kafka
from jobs import settings
from jobs.config import JobConfig
from udfs.models.known import KnownCatalog
from udfs.outputs import OutputLimits
from udfs.score_batches import CATALOG, OUTCOMES, STATUSES, ScoreBatches


def build(
    env: StreamExecutionEnvironment, config: JobConfig, known: KnownCatalog, limits: OutputLimits
) -> None:
    """Add the whole job to an environment.

    Args:
        env: the environment, configured.
        config: the job's configuration.
        known: what the control topic said before the job starts.
        limits: what the output topics take.
    """
    events = kafka.read_events(env, settings.events_settings(config))
    control = settings.control_settings(config)
    # The last record that is known comes once more: with it the catalog gets into the state.
    updates = kafka.read_updates(env, control, max(0, known.next_offset - 1)).broadcast(CATALOG)
    batches = batching.micro_batches(events, settings.batching_settings(config))
    scoring = ScoreBatches(known, settings.serving_settings(config, limits))
    scored = batches.connect(updates).process(scoring, OUTCOMES).name("score batches").uid("score-batches")
    outcomes = batching.split_outcomes(scored)
    statuses = batching.side_output(scored, STATUSES)
    kafka.write_outcomes(outcomes, settings.outcomes_settings(config))
    kafka.write_statuses(statuses, settings.statuses_settings(config))
