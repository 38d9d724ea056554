"""Mesos messages to our values and back. The only importer of addict.

addict gives `{}` for what is absent; here an absent field becomes None, and nothing of addict
leaves this module except TaskInfo dictionaries on their way into pymesos.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from addict import Dict

from builder_framework.cluster import IDLE_MARGIN, ExecutorMessage, Launch, StatusUpdate
from builder_framework.domain.model import Build, Placement, Resources
from builder_framework.domain.offers import Offer, Unavailability
from builder_framework.ports import CacheSharing
from builder_framework.protocol import BuildSpec, EngineMode, EngineSpec, encode_spec
from builder_framework.recipe import Source

RawResource = Mapping[str, Any]
"""A Resource message of an offer, as it came."""

CACHES = "/var/lib/builder"
"""Where the executor expects the agent's cache volume."""

CHECKPOINTS = "/mnt/mesos/checkpoints"
"""Where the executor expects the agent's checkpoints, when it may have them."""

ExecutorInfo = Any
"""The message of this name as pymesos takes it; to others, something to keep."""

_SCALARS = ("cpus", "mem", "disk")
# Mesos' scalars are fixed point with three decimal digits (values.cpp).
_DIGITS = 3


@dataclass(frozen=True)
class ExecutorTemplate:
    """What every executor has in common; the operator's choice.

    `resources`: the executor's own share, on top of the build's. `grace_period`: seconds between
    a kill and the end. `network`: a Docker network name, or BRIDGE. `pids_limit`: processes and
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
    volume_prefix: str = "builder-cache"
    cache_path: str | None = None
    cache_sharing: CacheSharing = CacheSharing.OWNER
    staging_tag: str = "builder-staging"
    pids_limit: int = 8192
    idle: float = 0.0
    upload_url: str = ""


def offer(message: Dict) -> tuple[Offer, tuple[RawResource, ...]]:
    """An Offer message as a value, and the resources that can be used for tasks."""
    raw = tuple(item.to_dict() for item in message.resources if _usable(item))
    amounts = dict.fromkeys((*_SCALARS, "gpus"), 0.0)
    for item in raw:
        if item["name"] in amounts:
            amounts[item["name"]] += float(item["scalar"]["value"])
    gpus = sum(
        float(item.scalar.value)
        for item in message.resources
        if item.name == "gpus" and item.scalar
    )
    value = Offer(
        id=message.id.value,
        agent_id=message.agent_id.value,
        hostname=message.hostname,
        agent_url=_agent_url(message),
        resources=Resources(*(round(amounts[name], _DIGITS) for name in _SCALARS)),
        attributes=_attributes(message),
        unavailability=_unavailability(message),
        gpus=gpus,
    )
    return value, raw


def _usable(resource: Dict) -> bool:
    """Plain scalars only: no persistent volumes, disk sources, revocable or shared resources."""
    return bool(
        resource.type == "SCALAR"
        and not resource.disk
        and "revocable" not in resource
        and "shared" not in resource
    )


def _agent_url(message: Dict) -> str:
    address = message.url.address
    if not address:
        return f"http://{message.hostname}:5051"
    scheme = message.url.scheme or "http"
    # Certificates are for names.
    first = address.hostname if scheme == "https" else address.ip
    host = first or address.ip or address.hostname or message.hostname
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{address.port or 5051}"


def _attributes(message: Dict) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in message.attributes or ():
        if attribute.type == "TEXT":
            found[attribute.name] = attribute.text.value
        elif attribute.type == "SCALAR":
            found[attribute.name] = f"{attribute.scalar.value:g}"
        elif attribute.type == "RANGES":
            ranges = attribute.ranges.range or ()
            found[attribute.name] = "[" + ",".join(f"{r.begin}-{r.end}" for r in ranges) + "]"
        elif attribute.type == "SET":
            found[attribute.name] = "{" + ",".join(attribute.set.item or ()) + "}"
    for level in ("region", "zone"):
        if name := message.domain.fault_domain[level].name:
            # Marathon's names for the fault domain.
            found[f"@{level}"] = name
    return found


def _unavailability(message: Dict) -> Unavailability | None:
    window = message.unavailability
    if not window:
        return None
    duration = window.duration.nanoseconds
    return Unavailability(
        start=window.start.nanoseconds / 1e9,
        duration=duration / 1e9 if isinstance(duration, (int, float)) else None,
    )


def status(message: Dict) -> StatusUpdate:
    """A TaskStatus message as a value."""
    return StatusUpdate(
        task_id=message.task_id.value,
        agent_id=_text(message.agent_id.value),
        state=message.state,
        reason=_text(message.reason),
        source=_text(message.source),
        message=_text(message.message),
        data=_bytes(message.data),
        uuid=_text(message.uuid),
    )


def executor_message(executor_id: Dict, agent_id: Dict, message: Any) -> ExecutorMessage:
    """A framework message as a value; `message` is its data in base64."""
    return ExecutorMessage(executor_id.value, agent_id.value, _bytes(message) or b"")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _bytes(value: Any) -> bytes | None:
    text = _text(value)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def acknowledgement(update: StatusUpdate) -> dict[str, Any]:
    """What pymesos' acknowledgeStatusUpdate wants."""
    return {
        "agent_id": {"value": update.agent_id},
        "task_id": {"value": update.task_id},
        "uuid": update.uuid,
    }


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
        engine=template.engine,
        git_protocols=template.git_protocols,
        staging_tag=template.staging_tag,
        pinned=launch.build.pinned,
        cache_domain=cache_domain(launch.build, template.cache_sharing),
    )


def _source(source: Source, upload_url: str) -> Source:
    if source.upload is None:
        return source
    url = f"{upload_url.rstrip('/')}/api/v1/uploads/{source.upload.id}"
    return Source(upload=replace(source.upload, url=url))


def kind(build: Build, template: ExecutorTemplate) -> str | None:
    """Builds of the same kind may share an executor; None: the build has one of its own.

    Whoever shares an executor shares its engine, and so its caches. On the agent's engine the
    executor's container is the sign that its build is alive (`executor.sweep`).
    """
    if template.idle <= 0 or template.engine.mode is not EngineMode.NESTED:
        return None
    return cache_domain(build, template.cache_sharing)


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
    executor.container.docker.privileged = True
    executor.container.docker.force_pull_image = template.force_pull
    if template.network in ("BRIDGE", "HOST"):
        executor.container.docker.network = template.network
    else:
        executor.container.docker.network = "USER"
        executor.container.network_infos = [{"name": template.network}]
    executor.container.volumes = [_volume(placement, template)]
    executor.container.docker.parameters = _parameters(launch, template, shared=shared)
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
    return [{"key": key, "value": value} for key, value in options]


def _volume(placement: Placement, template: ExecutorTemplate) -> dict[str, Any]:
    if template.engine.mode is EngineMode.SOCKET:
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


def volume_name(placement: Placement, prefix: str) -> str:
    """The cache volume of an agent; the same after the agent registers anew."""
    address = placement.agent_url.partition("://")[2]
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in address)
    return f"{prefix}-{safe}"


def cache_domain(build: Build, sharing: CacheSharing) -> str:
    """Whose caches a build may use, as a file name that tells nothing."""
    owner = build.owner if sharing is not CacheSharing.ALL else ""
    source = build.request.origin if sharing is CacheSharing.REPOSITORY else ""
    text = f"{sharing.value}\n{owner}\n{source}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _nanoseconds(seconds: float) -> int:
    return math.ceil(seconds * 1e9)


def pool_of(offers: Sequence[Sequence[RawResource]]) -> list[dict[str, Any]]:
    """The resources of all offers of one agent, to `take` from; reserved ones come first."""
    pool = [{**item, "scalar": dict(item["scalar"])} for raw in offers for item in raw]
    return sorted(pool, key=lambda item: "reservations" not in item and "reservation" not in item)


def take(pool: list[dict[str, Any]], amount: Resources) -> list[dict[str, Any]]:
    """Resource messages that add up to `amount`, cut out of `pool`, reservations kept.

    Raises ValueError when the pool does not hold that much: matching was wrong.
    """
    taken: list[dict[str, Any]] = []
    for name in _SCALARS:
        needed = round(getattr(amount, name), _DIGITS)
        for item in pool:
            have = item["scalar"]["value"]
            if item["name"] != name or needed <= 0 or have <= 0:
                continue
            part = round(min(needed, have), _DIGITS)
            item["scalar"]["value"] = round(have - part, _DIGITS)
            needed = round(needed - part, _DIGITS)
            taken.append({**item, "scalar": {"value": part}})
        if needed > 0:
            raise ValueError(f"the offers lack {needed} {name}")
    return taken


def framework_info(
    *,
    name: str,
    user: str,
    role: str,
    principal: str | None,
    failover_timeout: float,
    url: str | None,
) -> dict[str, Any]:
    """The FrameworkInfo to subscribe with; the id is the driver's."""
    info = Dict()
    info.name = name
    info.user = user
    info.roles = [role]
    info.checkpoint = True
    info.failover_timeout = failover_timeout
    info.capabilities = [
        {"type": "MULTI_ROLE"},
        {"type": "PARTITION_AWARE"},
        {"type": "TASK_KILLING_STATE"},
    ]
    if principal:
        info.principal = principal
    if url:
        info.webui_url = url
    result: dict[str, Any] = info.to_dict()
    return result
