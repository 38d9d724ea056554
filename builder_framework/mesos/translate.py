"""Mesos messages to our values and back. With `launches` the only importer of addict.

addict gives `{}` for what is absent; here an absent field becomes None, and nothing of addict
leaves these modules except TaskInfo dictionaries on their way into pymesos.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from addict import Dict

from builder_framework.cluster import ExecutorMessage, StatusUpdate
from builder_framework.domain.model import Resources
from builder_framework.domain.offers import Offer, Unavailability

RawResource = Mapping[str, Any]
"""A Resource message of an offer, as it came."""

_SCALARS = ("cpus", "mem", "disk")
# Mesos' scalars are fixed point with three decimal digits (values.cpp).
_DIGITS = 3


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
