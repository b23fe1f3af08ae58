"""Running things on one machine: a Kafka broker, a Flink cluster, and a look at what is installed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

BUILD = ROOT / "build"
"""Where everything made from the repository lies."""
