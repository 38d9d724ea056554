"""The body of `POST /api/v1/task`, as leniently as Go's encoding/json reads it.

Unknown fields are ignored, null is as good as nothing, and names may be written in any case. What
is of the wrong type is an error, as there.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from api.fields import Body
from builder_framework.domain.tasks import AgentConstraint, Fetch, Port, TaskRequest, Volume
from builder_framework.redact import Secret

_V0_NAMES = {
    "task_cpus": "cpu",
    "task_mem": "mem",
    "docker_image": "image",
    "slave_constraints": "agent_constraints",
}
"""Names of the deprecated API (api/api_v0.go) and what they are called now."""

_ARCHIVES = (".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip")
"""What Eremetic unpacks by itself (`IsArchive` of task.go)."""


class Lenient(Body):
    """An object of a client that was written for Go."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads_it(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {str(key).lower(): item for key, item in value.items() if item is not None}


class VolumeBody(Lenient):
    """One of `volumes`."""

    container_path: str = ""
    host_path: str = ""


class PortBody(Lenient):
    """One of `ports`."""

    container_port: int = Field(0, ge=0, lt=2**32)
    host_port: int = Field(0, ge=0, lt=2**32)
    protocol: str = ""


class ConstraintBody(Lenient):
    """One of `agent_constraints`."""

    attribute_name: str = ""
    attribute_value: str = ""


class FetchBody(Lenient):
    """One of `fetch`."""

    uri: str = ""
    executable: bool = False
    extract: bool = False
    cache: bool = False


class TaskBody(Lenient):
    """The whole body, in the names of v1; `uris` is of v0 alone."""

    cpu: float = 0.0
    mem: float = 0.0
    image: str = ""
    command: str = ""
    args: list[str] | None = None
    volumes: list[VolumeBody] | None = None
    volumes_from: list[str] | None = None
    ports: list[PortBody] | None = None
    name: str = ""
    network: str = ""
    dns: str = ""
    env: dict[str, str] | None = None
    masked_env: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    agent_constraints: list[ConstraintBody] | None = None
    callback_uri: str = ""
    fetch: list[FetchBody] | None = None
    uris: list[str] | None = None
    force_pull_image: bool = False
    privileged: bool = False

    def variables(self) -> dict[str, str]:
        """All of the environment; what is masked goes before what is not."""
        return {**(self.env or {}), **(self.masked_env or {})}

    def masked(self) -> dict[str, Secret]:
        """What nobody may see."""
        return {name: Secret(value) for name, value in (self.masked_env or {}).items()}

    def to_task(self, env: Mapping[str, str] | None) -> TaskRequest:
        """What is kept of it; `env` is the environment without secrets."""
        fetch = [
            *(Fetch(uri, extract=uri.endswith(_ARCHIVES)) for uri in self.uris or ()),
            *(Fetch(**item.model_dump()) for item in self.fetch or ()),
        ]
        return TaskRequest(
            name=self.name or _name(),
            image=self.image,
            cpu=self.cpu,
            mem=self.mem,
            command=self.command,
            args=_tuple(self.args),
            env=env,
            masked_env=_tuple(self.masked_env),
            labels=self.labels,
            volumes=_tuple(self.volumes, Volume),
            volumes_from=_tuple(self.volumes_from),
            ports=_tuple(self.ports, Port),
            network=self.network,
            dns=self.dns,
            agent_constraints=_tuple(self.agent_constraints, AgentConstraint),
            fetch=tuple(fetch) or None,
            callback=Secret(self.callback_uri) if self.callback_uri else None,
            force_pull_image=self.force_pull_image,
            privileged=self.privileged,
        )


def in_v1_names(document: Any) -> Any:
    """A body of the deprecated API with the names of today's."""
    if not isinstance(document, dict):
        return document
    return {_V0_NAMES.get(str(key).lower(), key): value for key, value in document.items()}


def _tuple(items: Any, kind: Any = None) -> Any:
    if items is None:
        return None
    return tuple(item if kind is None else kind(**item.model_dump()) for item in items)


def _name() -> str:
    """What Eremetic calls tasks without a name."""
    letters = "".join(secrets.choice(string.ascii_letters) for _ in range(8))
    return f"Eremetic task {letters}"
