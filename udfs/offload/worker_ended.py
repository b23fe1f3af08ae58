"""How a worker's end is told to whoever waits for it."""


class WorkerEndedError(Exception):
    """A worker ended before it answered. The text says how."""
