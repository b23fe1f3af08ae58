"""The command as a program, for tests on a real broker."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from connectors.client import Record
from devtools import ROOT
from devtools.topics import read_all, send
from jobs.config import TopicsConfig

MODELSTREAM = [sys.executable, "-m", "cli.main"]

# Older records than the topics' retention would be deleted under the test, and later ones than now refused.
TIME_MS = int(time.time()) * 1000 - 3_600_000


@dataclass(frozen=True)
class CommandLine:
    """The command, told of a broker and of a job's topics."""

    bootstrap: str
    topics: TopicsConfig
    job: str

    def arguments(self, *arguments: str) -> list[str]:
        names = msgspec.structs.asdict(self.topics)
        settings = {
            "name": self.job,
            "kafka.bootstrap_servers": self.bootstrap,
            **{f"topics.{field}": name for field, name in names.items()},
        }
        said = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return [*MODELSTREAM, *arguments, *said]

    def __call__(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.arguments(*arguments), cwd=ROOT, input=stdin, capture_output=True, timeout=240, check=False
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def json(self, *arguments: str) -> list[Any]:
        """What the command writes with ``--json``."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def refused(self, *arguments: str, stdin: bytes = b"") -> str:
        """The one line of a command that fails."""
        done = self(*arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("modelstream: ")
        return line

    def send(self, topic: str, records: Sequence[Record]) -> None:
        send(self.bootstrap, topic, records)

    def read(self, topic: str) -> list[Record]:
        return read_all(self.bootstrap, topic)
