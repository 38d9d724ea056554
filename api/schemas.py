"""The body of `POST /api/v1/builds`: its shape, its limits, and the domain value it becomes.

One pass reports every faulty field: shape (pydantic), grammar (`validate`), the operator's limits,
duplicate keys, and unknown fields with what may have been meant. No message repeats a value.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from api.deploy_fields import DeployFields
from api.fields import (
    MAX_CONSTRAINTS,
    MAX_IMAGES,
    MAX_MOUNTS,
    MAX_PRIORITY,
    MAX_WEBHOOKS,
    MIN_CPUS,
    MIN_MEM,
    MIN_SECONDS,
    Body,
    ConstraintRow,
    Image,
    MountId,
    checked,
    fail,
    policy_of,
    unique,
    within,
)
from api.parsing import parse
from api.recipe_fields import (
    Labels,
    LoginFields,
    OutputFields,
    RecipeFields,
)
from api.source_fields import SourceBody
from builder_framework import validate_options
from builder_framework.domain import endpoints
from builder_framework.domain.model import (
    BuildRequest,
    Constraint,
    Dedupe,
    NotifyRequest,
    Resources,
    Supersede,
)
from builder_framework.domain.projects import is_project_name
from builder_framework.domain.targets import fault
from builder_framework.errors import FieldProblem, InvalidValueError
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import CacheUse, EngineMode
from builder_framework.recipe import Source, UploadSource
from builder_framework.redact import Secret

Event = Literal["queued", "started", "retried", "phase", "finished", "deployed"]


class NotifyBody(Body):
    """One of `notify`: a target of the operator, and what it is told."""

    target: str
    channel: str | None = None
    events: list[Event] = Field(default_factory=list)
    outcomes: list[Literal["succeeded", "failed", "cancelled"]] = Field(default_factory=list)

    def to_request(self) -> NotifyRequest:
        """The domain's."""
        return NotifyRequest(self.target, self.channel, tuple(self.events), tuple(self.outcomes))


class ResourcesBody(Body):
    """`resources`: cpus in cores, mem and disk in MiB; what is left out gets the default."""

    cpus: float | None = None
    mem: float | None = None
    disk: float | None = None

    @field_validator("cpus", "mem", "disk")
    @classmethod
    def _limits(cls, value: float | None, info: ValidationInfo) -> float | None:
        most = policy_of(info).max_resources
        if info.field_name == "cpus":
            return within(value, MIN_CPUS, most.cpus, "")
        if info.field_name == "mem":
            return within(value, MIN_MEM, most.mem, " MiB")
        return within(value, 0.0, most.disk, " MiB")


MIN_ATTENDED = 30.0
"""Seconds. Who follows needs as long to notice that the server restarts, and to come back."""


def _project(value: str) -> str:
    if not is_project_name(value):
        fail("is no name of a project: lower-case letters, digits and -")
    return value


class BuildBody(RecipeFields, OutputFields, LoginFields, DeployFields):
    """The whole body. Only `source` and `images` are required; times in seconds."""

    source: SourceBody
    images: Annotated[list[Image], Len(1, MAX_IMAGES), AfterValidator(unique)]
    resources: ResourcesBody = Field(default_factory=ResourcesBody)
    constraints: Annotated[list[ConstraintRow], Len(0, MAX_CONSTRAINTS)] = Field(
        default_factory=list
    )
    timeout: float | None = None
    queue_ttl: float | None = None
    max_attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    labels: Labels = Field(default_factory=dict)
    webhooks: Annotated[list[str], Len(0, MAX_WEBHOOKS)] = Field(default_factory=list)

    supersede: Literal["none", "queued", "running"] = "none"
    group: Annotated[str, checked(validate_options.group)] | None = None

    dedupe: Literal["off", "running", "finished"] = "off"
    engine: Literal["nested", "rootless", "socket"] | None = None
    exclusive: bool = False
    cache: Literal["shared", "none"] = "shared"
    executor_network: str | None = None
    attended: Annotated[float, Field(ge=MIN_ATTENDED, le=86400)] | None = None
    project: Annotated[str, AfterValidator(_project)] | None = None
    notify: Annotated[list[NotifyBody], Len(0, MAX_WEBHOOKS)] = Field(default_factory=list)
    project_secrets: Annotated[dict[MountId, str], Len(0, MAX_MOUNTS)] = Field(default_factory=dict)

    @field_validator("project_secrets")
    @classmethod
    def _no_other_value(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if twice := sorted(set(value) & set(info.data.get("secrets") or {})):
            fail(f"{', '.join(twice)} has a value in secrets already")
        return value

    @field_validator("source")
    @classmethod
    def _fits_what_is_asked(cls, value: SourceBody, info: ValidationInfo) -> SourceBody:
        """A Dockerfile alone has no directories, no name and no time."""
        if value.inline is None:
            return value
        for name, only in (("context", "."), ("dockerfile", "Dockerfile")):
            if info.data.get(name, only) != only:
                fail(f"an inline Dockerfile is alone in its context: leave {name} out")
        if info.data.get("timestamp") == "source":
            fail("an inline Dockerfile has no time of its own: give timestamp as zero or seconds")
        return value

    @field_validator("images")
    @classmethod
    def _not_staged(cls, value: list[str], info: ValidationInfo) -> list[str]:
        staging = policy_of(info).staging_tag
        for image in value:
            if image.rpartition(":")[2] == staging:
                fail(f"the tag {staging} is where images wait for their own: choose another")
        return value

    @field_validator("webhooks")
    @classmethod
    def _webhooks(cls, value: list[str], info: ValidationInfo) -> list[str]:
        try:
            return [endpoints.allowed(url, policy_of(info).webhook_hosts).url for url in value]
        except InvalidValueError as error:
            fail(error.message)

    @field_validator("notify")
    @classmethod
    def _targets(cls, value: list[NotifyBody], info: ValidationInfo) -> list[NotifyBody]:
        if len({one.target for one in value}) != len(value):
            fail("names a target twice")
        for one in value:
            targets = policy_of(info).targets
            if words := fault(one.to_request(), targets, info.data.get("project")):
                fail(words)
        return value

    @field_validator("timeout", "queue_ttl")
    @classmethod
    def _durations(cls, value: float | None, info: ValidationInfo) -> float | None:
        policy = policy_of(info)
        most = policy.max_timeout if info.field_name == "timeout" else policy.max_queue_ttl
        return within(value, MIN_SECONDS, most, " s")

    @field_validator("engine")
    @classmethod
    def _an_engine(cls, value: str | None, info: ValidationInfo) -> str | None:
        engines = [engine.value for engine in policy_of(info).engines]
        if value is not None and value not in engines:
            fail(f"the operator allows {' and '.join(engines)} (BUILDER_ENGINES)")
        if value == "rootless" and (info.data.get("hooks") or info.data.get("tests")):
            fail("hooks and tests need an engine with networks: nested")
        return value

    @field_validator("exclusive")
    @classmethod
    def _not_everybodys(cls, value: bool, info: ValidationInfo) -> bool:
        if value and _engine(info) is EngineMode.SOCKET:
            fail("the agent's own engine (socket) is shared by all: choose another engine")
        return value

    @field_validator("executor_network")
    @classmethod
    def _a_network(cls, value: str | None, info: ValidationInfo) -> str | None:
        networks = policy_of(info).networks
        if value is not None and value not in networks:
            fail(f"the operator allows {' and '.join(networks)} (BUILDER_EXECUTOR_NETWORKS)")
        if value not in (None, networks[0]) and _engine(info) is EngineMode.SOCKET:
            fail("RUN is on networks of the agent's own engine (socket): choose another engine")
        return value

    @field_validator("cache")
    @classmethod
    def _nowhere_else(cls, value: str, info: ValidationInfo) -> str:
        if value != "none":
            return value
        told = info.data
        if _engine(info) is EngineMode.SOCKET:
            fail("the agent's own engine (socket) has one cache for all: choose another engine")
        for name in ("cache_from", "cache_to", "registry_cache"):
            if told.get(name):
                fail(f"none means that there is none in a registry either: leave {name} out")
        return value

    @field_validator("dedupe")
    @classmethod
    def _of_something_fixed(cls, value: str, info: ValidationInfo) -> str:
        source = info.data.get("source")
        if value != "off" and source is not None and not source.is_fixed:
            fail(
                "needs a source that cannot change: a full commit id as source.git.ref, or a "
                "tarball with its sha256; a branch may have moved since another build began"
            )
        return value

    def to_request(self, policy: RequestPolicy, upload: UploadSource | None = None) -> BuildRequest:
        """The domain's request, with the operator's defaults where nothing was said."""
        asked = self.resources
        default = policy.default_resources
        return BuildRequest(
            source=self.source.to_source() if upload is None else Source(upload=upload),
            images=tuple(self.images),
            timeout=_or(self.timeout, policy.default_timeout),
            queue_ttl=_or(self.queue_ttl, policy.default_queue_ttl),
            resources=Resources(
                _or(asked.cpus, default.cpus),
                _or(asked.mem, default.mem),
                _or(asked.disk, default.disk),
            ),
            recipe=self.to_recipe(policy, cached=self.cache != "none"),
            output=self.to_output(),
            registry_auth=self.registry_auth.to_auth() if self.registry_auth else None,
            registries=tuple(login.to_login() for login in self.registries),
            constraints=tuple(Constraint(*row) for row in self.constraints),
            priority=self.priority,
            max_attempts=self.max_attempts or policy.default_max_attempts,
            labels=dict(self.labels),
            webhooks=tuple(map(Secret, self.webhooks)),
            supersede=Supersede(self.supersede),
            group=self.group,
            dedupe=Dedupe(self.dedupe),
            engine=EngineMode(self.engine) if self.engine else None,
            exclusive=self.exclusive,
            cache=CacheUse(self.cache),
            executor_network=self.executor_network,
            project=self.project,
            project_secrets=self.project_secrets,
            attended=self.attended,
            notify=tuple(one.to_request() for one in self.notify),
            deploy=self.deploy.to_deploy(policy) if self.deploy else None,
        )

    def fingerprint(self, owner: str) -> str:
        """SHA-256 (hex) over the canonical body and its sender, to tell a replay from a mix-up.

        Canonical: after normalisation, keys sorted, defaults not filled in, so that neither key
        order nor a changed default of the operator makes the same request look different.
        """
        body = json.dumps(
            [owner, self.model_dump(exclude_unset=True)], sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(body.encode()).hexdigest()


def _engine(info: ValidationInfo) -> EngineMode:
    """The one that the build will have."""
    asked = info.data.get("engine")
    return EngineMode(asked) if asked else policy_of(info).engines[0]


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def parse_build(
    document: Any,
    policy: RequestPolicy,
    known: list[FieldProblem] | None = None,
    *,
    uploaded: bool = False,
) -> BuildBody:
    """The body of a submission, see `parse`. `uploaded`: a build context came with it."""
    return parse(BuildBody, document, known, {"policy": policy, "uploaded": uploaded})
