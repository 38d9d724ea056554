"""A task as Eremetic's clients ask for one: what they said. Pure.

Names and values are those of Eremetic 0.30 (eremetic-framework/eremetic: task.go, api/api_v1.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder_framework.redact import Secret


@dataclass(frozen=True)
class Volume:
    """A directory of the agent, in the container."""

    container_path: str = ""
    host_path: str = ""


@dataclass(frozen=True)
class Port:
    """A port of the container; `host_port` 0: none was asked for."""

    container_port: int = 0
    host_port: int = 0
    protocol: str = ""


@dataclass(frozen=True)
class AgentConstraint:
    """An attribute that the agent has to have, with this value."""

    attribute_name: str = ""
    attribute_value: str = ""


@dataclass(frozen=True)
class Fetch:
    """A file that Mesos would fetch into the sandbox."""

    uri: str = ""
    executable: bool = False
    extract: bool = False
    cache: bool = False


@dataclass(frozen=True)
class TaskRequest:
    """What a client of Eremetic asked for, to be shown again; what was not sent is None.

    `env` has no secret any more: those are in the build's own request. Of `masked_env` only the
    names are kept. `callback`: where the end is told; its path may be a token. `mem` in MiB.
    """

    name: str
    image: str
    cpu: float = 0.0
    mem: float = 0.0
    command: str = ""
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None
    masked_env: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    volumes: tuple[Volume, ...] | None = None
    volumes_from: tuple[str, ...] | None = None
    ports: tuple[Port, ...] | None = None
    network: str = ""
    dns: str = ""
    agent_constraints: tuple[AgentConstraint, ...] | None = None
    fetch: tuple[Fetch, ...] | None = None
    callback: Secret | None = None
    force_pull_image: bool = False
    privileged: bool = False
