"""What is launched: TaskInfo and ExecutorInfo of a build, in pymesos' dictionaries."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

from addict import Dict

from builder_framework.cluster import IDLE_MARGIN, Launch
from builder_framework.domain.model import Build, Placement, Resources
from builder_framework.mesos.translate import take
from builder_framework.ports import CacheSharing
from builder_framework.protocol import BuildSpec, CacheUse, EngineMode, EngineSpec, encode_spec
from builder_framework.recipe import Source

CACHES = "/var/lib/builder"
"""Where the executor expects the agent's cache volume."""

CHECKPOINTS = "/mnt/mesos/checkpoints"
"""Where the executor expects the agent's checkpoints, when it may have them."""

_UNCONFINED = [
    {"key": "security-opt", "value": f"{what}=unconfined"}
    for what in ("seccomp", "apparmor", "systempaths")
]
"""Without these nobody but a privileged container makes namespaces and mounts /proc in them."""

ExecutorInfo = Any
"""The message of this name as pymesos takes it; to others, something to keep."""


@dataclass(frozen=True)
class ExecutorTemplate:
    """What every executor has in common; the operator's choice.

    `resources`: the executor's own share, on top of the build's. `grace_period`: seconds between
    a kill and the end. `network`: of Docker, its name, BRIDGE or HOST. `pids_limit`: processes and
    threads in the container. `idle`: seconds that an executor waits for another build of its kind.
    `upload_url`: where executors reach our API.
    """

    image: str
    resources: Resources
    engine: EngineSpec
    git_protocols: tuple[str, ...]
    grace_period: float = 10.0
    network: str = "BRIDGE"
    force_pull: bool = False
    docker_socket: str = "/var/run/docker.sock"
    volume_driver: str = "local"
    volume_options: tuple[tuple[str, str], ...] = ()
    volume_prefix: str = "builder-cache"
    cache_path: str | None = None
    cache_sharing: CacheSharing = CacheSharing.OWNER
    staging_tag: str = "builder-staging"
    pids_limit: int = 8192
    idle: float = 0.0
    upload_url: str = ""


def spec(launch: Launch, template: ExecutorTemplate) -> BuildSpec:
    """What the executor is told of the build."""
    request = launch.build.request
    return BuildSpec(
        build_id=launch.build.id,
        attempt=launch.attempt.number,
        source=_source(request.source, template.upload_url),
        images=request.images,
        timeout=request.timeout,
        recipe=request.recipe,
        output=request.output,
        logins=request.logins(),
        engine=replace(template.engine, mode=mode_of(launch.build, template)),
        git_protocols=template.git_protocols,
        staging_tag=template.staging_tag,
        pinned=launch.build.pinned,
        cache_domain=cache_domain(launch.build, template.cache_sharing),
        disk=request.resources.disk,
        cache=request.cache,
    )


def _source(source: Source, upload_url: str) -> Source:
    if source.upload is None:
        return source
    url = f"{upload_url.rstrip('/')}/api/v1/uploads/{source.upload.id}"
    return Source(upload=replace(source.upload, url=url))


def kind(build: Build, template: ExecutorTemplate) -> str | None:
    """Builds of the same kind may share an executor; None: the build has one of its own.

    Whoever shares an executor shares its engine, and so its caches. On the agent's engine the
    executor's container is the sign that its build is alive (`executor.sweep`). What builds write
    to the disk can only be told apart where they have an engine each.
    """
    mode = mode_of(build, template)
    asked = build.request
    alone = asked.exclusive or asked.resources.disk > 0 or asked.cache is CacheUse.NONE
    if template.idle <= 0 or alone or mode is EngineMode.SOCKET:
        return None
    domain = cache_domain(build, template.cache_sharing)
    return f"{mode.value} {network_of(build, template)} {domain}"


def mode_of(build: Build, template: ExecutorTemplate) -> EngineMode:
    """The engine that was asked for, or the operator's."""
    return build.request.engine or template.engine.mode


def network_of(build: Build, template: ExecutorTemplate) -> str:
    """The network that was asked for, or the operator's."""
    return build.request.executor_network or template.network


def task_info(
    launch: Launch, template: ExecutorTemplate, pool: list[dict[str, Any]], executor: ExecutorInfo
) -> Dict:
    """The TaskInfo of an attempt in `executor`; takes its resources out of `pool` (`pool_of`)."""
    attempt = launch.attempt
    task = Dict()
    task.name = f"build {launch.build.id}"
    task.task_id.value = attempt.task_id
    task.agent_id.value = attempt.placement.agent_id
    task.resources = take(pool, launch.build.request.resources)
    task.executor = executor
    task.kill_policy.grace_period.nanoseconds = _nanoseconds(template.grace_period)
    # In no endpoint of master or agent, unlike ExecutorInfo.data and every environment.
    task.data = base64.b64encode(encode_spec(spec(launch, template))).decode()
    return task


def executor_info(
    launch: Launch,
    template: ExecutorTemplate,
    pool: list[dict[str, Any]],
    checkpoints: str | None = None,
) -> ExecutorInfo:
    """The ExecutorInfo of an executor whose first task is `launch`; takes its own resources out of
    `pool`. The master takes no other for it as long as it runs (master/validation.cpp).

    `checkpoints`: the agent's `WORK_DIR/meta`, mounted for the executor's `checkpoint` module.
    """
    placement = launch.attempt.placement
    mode = mode_of(launch.build, template)
    shared = kind(launch.build, template) is not None
    executor = Dict()
    executor.type = "CUSTOM"
    executor.executor_id.value = placement.executor_id
    executor.framework_id.value = placement.framework_id
    executor.name = "builder-executor"
    executor.command.value = "exec python3 -m executor"
    environment = {"PYTHONUNBUFFERED": "1"}
    if shared:
        environment["BUILDER_EXECUTOR_IDLE"] = f"{template.idle + IDLE_MARGIN:g}"
    executor.command.environment.variables = [
        {"name": name, "type": "VALUE", "value": value} for name, value in environment.items()
    ]
    executor.resources = take(pool, template.resources)
    # The engine needs a moment after the build's own grace period.
    executor.shutdown_grace_period.nanoseconds = _nanoseconds(template.grace_period + 5)
    executor.container.type = "DOCKER"
    executor.container.docker.image = template.image
    executor.container.docker.privileged = mode is not EngineMode.ROOTLESS
    executor.container.docker.force_pull_image = template.force_pull
    network = network_of(launch.build, template)
    if network in ("BRIDGE", "HOST"):
        executor.container.docker.network = network
    else:
        executor.container.docker.network = "USER"
        executor.container.network_infos = [{"name": network}]
    executor.container.docker.parameters = _parameters(launch, template, shared=shared)
    if mode is EngineMode.ROOTLESS:
        executor.container.docker.parameters += _UNCONFINED
    executor.container.volumes = []
    if template.volume_options and template.cache_path is None and mode is not EngineMode.SOCKET:
        executor.container.docker.parameters.append(_mount(placement, template))
    else:
        executor.container.volumes.append(_volume(placement, template, mode))
    if checkpoints is not None:
        executor.container.volumes.append(
            {"mode": "RW", "container_path": CHECKPOINTS, "host_path": checkpoints}
        )
    return executor


def _parameters(
    launch: Launch, template: ExecutorTemplate, *, shared: bool
) -> list[dict[str, str]]:
    """Options of `docker run`: who the container belongs to, and that nothing stays of it.

    Mesos keeps exited containers, with their anonymous volumes, for --docker_remove_delay (6 h);
    with `rm` the engine removes both as soon as the container ends, however it does. The agent
    raises a container's memory with every task in it, but not that of memory and swap together,
    which Docker sets to twice the first, and which may not be less (docker/docker.cpp).
    """
    labels = {
        "builder.framework": launch.attempt.placement.framework_id,
        "builder.executor": launch.attempt.placement.executor_id,
    }
    if not shared:
        labels |= {
            "builder.build": launch.build.id,
            "builder.attempt": str(launch.attempt.number),
        }
    options = [*(("label", f"{name}={value}") for name, value in labels.items()), ("rm", "true")]
    if shared:
        options.append(("memory-swap", "-1"))
    options.append(("pids-limit", str(template.pids_limit)))
    dns = template.engine.dns
    options += [("dns", each) for each in dns.servers]
    options += [("dns-search", each) for each in dns.search]
    options += [("dns-option", each) for each in dns.options]
    return [{"key": key, "value": value} for key, value in options]


def _volume(placement: Placement, template: ExecutorTemplate, mode: EngineMode) -> dict[str, Any]:
    if mode is EngineMode.SOCKET:
        return {
            "mode": "RW",
            "container_path": "/var/run/docker.sock",
            "host_path": template.docker_socket,
        }
    volume: dict[str, Any] = {"mode": "RW", "container_path": CACHES}
    if template.cache_path is not None:
        return {**volume, "host_path": template.cache_path}
    docker_volume = {
        "driver": template.volume_driver,
        "name": volume_name(placement, template.volume_prefix),
    }
    return {**volume, "source": {"type": "DOCKER_VOLUME", "docker_volume": docker_volume}}


def _mount(placement: Placement, template: ExecutorTemplate) -> dict[str, str]:
    """The cache volume with options for its driver, which Mesos hands on to nobody."""
    words = [
        "type=volume",
        f"source={volume_name(placement, template.volume_prefix)}",
        f"target={CACHES}",
        f"volume-driver={template.volume_driver}",
        *(f"volume-opt={name}={value}" for name, value in template.volume_options),
    ]
    return {"key": "mount", "value": ",".join(words)}


def volume_name(placement: Placement, prefix: str) -> str:
    """The cache volume of an agent; the same after the agent registers anew."""
    address = placement.agent_url.partition("://")[2]
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in address)
    return f"{prefix}-{safe}"


def cache_domain(build: Build, sharing: CacheSharing) -> str:
    """Whose caches a build may use, as a file name that tells nothing.

    Builds of a project trust each other as those of one owner do.
    """
    project = build.request.project
    # No user's name has a line break.
    whose = f"project\n{project}" if project is not None else build.owner
    owner = whose if sharing is not CacheSharing.ALL else ""
    source = build.request.origin if sharing is CacheSharing.REPOSITORY else ""
    text = f"{sharing.value}\n{owner}\n{source}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _nanoseconds(seconds: float) -> int:
    return math.ceil(seconds * 1e9)
