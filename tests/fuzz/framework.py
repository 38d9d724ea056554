"""A framework process of its own, on SQLite, whose master never answers: its API is all there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder_framework.client import Client, Secret

USER, PASSWORD = "ann", "fuzz-password-of-this-test"
START_SECONDS = 60.0

_URL = re.compile(r"API on (http://\S+),")


@dataclass(frozen=True)
class Framework:
    """A process that answers at `url`; `log` is what it says on standard error."""

    url: str
    log: Path

    def client(self) -> Client:
        """As its only user, who is admin."""
        return Client(self.url, USER, Secret(PASSWORD))


@contextlib.contextmanager
def framework(folder: Path) -> Iterator[Framework]:
    """Started, and ended with the block."""
    log = folder / "framework.log"
    settings = {
        "BUILDER_MESOS_MASTER": "127.0.0.1:9",
        "BUILDER_HTTP_PORT": "0",
        "BUILDER_DATA_DIR": str(folder / "data"),
        "BUILDER_USERNAME": USER,
        "BUILDER_PASSWORD": PASSWORD,
        "BUILDER_EXECUTOR_IMAGE": "registry.example.org/executor:1",
    }
    inherited = {name: value for name, value in os.environ.items() if name[:8] != "BUILDER_"}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "builder_framework.cli", "serve"],
            env={**inherited, **settings},
            stderr=errors,
        )
    try:
        yield Framework(_url(process, log), log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := _URL.search(log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the framework did not start: {log.read_text(errors='replace')}")
