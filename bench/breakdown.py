"""Where a build's time went, from the POST to the end that the API shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

PHASES = (
    "request",
    "offer",
    "container",
    "executor",
    "clone",
    "engine",
    "build",
    "push",
    "report",
)
"""request: until it is stored. offer: until it is placed. container: until that runs. executor:
until the framework hears RUNNING. engine: what of its start the clone did not hide. report: the
executor's own work between the phases, and the way of the last update."""


def seconds(text: str) -> float:
    """Since the epoch, of the API's times."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def phases(submitted: float, build: Mapping[str, Any], container: float | None) -> dict[str, float]:
    """Seconds of each of PHASES; they add up to the whole.

    `submitted`: just before the POST, by the clock that the framework uses. `container`: when the
    attempt's container began to run; None if it ran already.
    """
    created, ended = seconds(build["created_at"]), seconds(build["ended_at"])
    attempt = build["attempts"][-1]
    placed, running = seconds(attempt["placed_at"]), seconds(attempt["running_at"])
    timings = build["result"]["timings"]
    began = placed if container is None else container
    engine = min(max(0.0, timings["engine"] - timings["cloning"]), timings["building"])
    found = {
        "request": created - submitted,
        "offer": placed - created,
        "container": began - placed,
        "executor": running - began,
        "clone": timings["cloning"],
        "engine": engine,
        "build": timings["building"] - engine,
        "push": timings["pushing"],
    }
    return {**found, "report": ended - submitted - sum(found.values())}
