"""What the operator wants of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from builder_framework.domain import avoid, machine
from builder_framework.domain.model import Build, Resources
from builder_framework.domain.scheduling import Scheduling


@dataclass(frozen=True)
class LoopPolicy:
    """`executor_resources`: what the executor itself takes on top of a build's resources.

    `cache_patience`: seconds that a build waits for the agent with its cache. `executor_idle`:
    seconds that an executor waits for another build. `kind`: builds of the same one may share an
    executor; None: the build has its own. `dedupe_window`: seconds for which a finished build does
    for others who ask for the same. `running_limits`: how many builds of a project may run at once.
    `scheduling`: whether builds are started.
    """

    machine: machine.MachinePolicy = field(default_factory=machine.MachinePolicy)
    executor_resources: Resources = field(default_factory=lambda: Resources(0.1, 128.0, 0.0))
    slots_per_agent: int = 8
    avoid: avoid.AvoidPolicy = field(default_factory=avoid.AvoidPolicy)
    cache_patience: float = 5.0
    executor_idle: float = 0.0
    dedupe_window: float = 86400.0
    kind: Callable[[Build], str | None] = lambda _: None
    running_limits: Callable[[], Mapping[str, int]] = dict
    scheduling: Callable[[], Scheduling] = Scheduling
