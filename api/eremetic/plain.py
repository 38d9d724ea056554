"""A task of any image, as the program that it runs: a request without a build.

It runs in the engine of an executor, as RUN instructions do, so it may no more than a build may;
what goes beyond that (privilege, the engine's socket) takes what hooks of repositories take.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from api.eremetic.fields import TaskBody
from api.eremetic.native import LABEL
from api.fields import MIN_CPUS, MIN_MEM
from builder_framework import validate, validate_options
from builder_framework.domain.model import BuildRequest, Constraint, Resources
from builder_framework.errors import FieldProblem, InvalidInputError, InvalidValueError
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.protocol import EngineMode
from builder_framework.recipe import RunNetwork, Source, TaskSource

SOCKET = "/var/run/docker.sock"
"""Of the agent's engine, which tasks of Eremetic mount; here it is that of their own engine."""

_NETWORKS = {
    "": RunNetwork.DEFAULT,
    "BRIDGE": RunNetwork.DEFAULT,
    "HOST": RunNetwork.HOST,
    "NONE": RunNetwork.NONE,
}
_PROGRAMS = "takes BUILDER_REPOSITORY_PROGRAMS: who has it may do anything on agents"
_MAX_COMMAND = 64 * 1024


def request(task: TaskBody, policy: RequestPolicy) -> BuildRequest:
    """Raises InvalidInputError that lists all that speaks against it."""
    if problems := list(_problems(task, policy)):
        raise InvalidInputError(problems)
    default = policy.default_resources
    return BuildRequest(
        source=Source(task=_source(task)),
        images=(),
        timeout=policy.default_timeout,
        queue_ttl=policy.default_queue_ttl,
        resources=Resources(task.cpu or default.cpus, task.mem or default.mem, default.disk),
        constraints=tuple(
            Constraint(each.attribute_name, "EQUALS", each.attribute_value)
            for each in task.agent_constraints or ()
        ),
        labels=dict([LABEL]),
        # What it did once it may not do again by itself.
        max_attempts=1,
        engine=EngineMode.NESTED,
    )


def _source(task: TaskBody) -> TaskSource:
    masked = task.masked_env or {}
    return TaskSource(
        image=_image(task.image),
        command=task.command,
        args=tuple(task.args or ()),
        env={name: value for name, value in (task.env or {}).items() if name not in masked},
        masked_env=task.masked(),
        privileged=task.privileged,
        socket=next((each.container_path for each in task.volumes or ()), None),
        network=_NETWORKS[task.network.upper()],
        dns=(task.dns,) if task.dns else (),
        pull=task.force_pull_image,
    )


def _problems(task: TaskBody, policy: RequestPolicy) -> Iterator[FieldProblem]:
    if EngineMode.NESTED not in policy.engines:
        yield FieldProblem("image", "tasks need the engine `nested` (BUILDER_ENGINES)")
    yield from _fault("image", task.image, _image)
    yield from _of_resources(task, policy)
    yield from _of_container(task, policy)
    for name in (*(task.env or {}), *(task.masked_env or {})):
        yield from _fault("env", name, validate_options.variable)
    if len(task.command) > _MAX_COMMAND or "\0" in task.command:
        yield FieldProblem("command", f"is no command of at most {_MAX_COMMAND} characters")
    if task.dns:
        try:
            ipaddress.ip_address(task.dns)
        except ValueError:
            yield FieldProblem("dns", "is no address of a name server")


def _fault(field: str, value: str, check: Callable[[str], str]) -> Iterator[FieldProblem]:
    try:
        check(value)
    except InvalidValueError as error:
        yield FieldProblem(field, error.message)


def _image(text: str) -> str:
    return str(validate.image_reference(text, allow_digest=True))


def _of_resources(task: TaskBody, policy: RequestPolicy) -> Iterator[FieldProblem]:
    most = policy.max_resources
    for name, asked, least, limit in (
        ("cpu", task.cpu, MIN_CPUS, most.cpus),
        ("mem", task.mem, MIN_MEM, most.mem),
    ):
        if asked and not least <= asked <= limit:
            yield FieldProblem(name, f"is not {least:g} to {limit:g}")


def _of_container(task: TaskBody, policy: RequestPolicy) -> Iterator[FieldProblem]:
    """What a container of ours is not given."""
    allowed = policy.repository_programs is not Permission.OFF
    if task.privileged and not allowed:
        yield FieldProblem("privileged", _PROGRAMS)
    for number, volume in enumerate(task.volumes or ()):
        where = f"volumes.{number}"
        if volume.host_path != SOCKET or number > 0:
            yield FieldProblem(where, f"only {SOCKET} is to be had, not directories of agents")
        elif not allowed:
            yield FieldProblem(where, _PROGRAMS)
        elif not _is_path(volume.container_path):
            yield FieldProblem(f"{where}.container_path", "is no absolute path")
    if task.network.upper() not in _NETWORKS:
        yield FieldProblem("network", "is one of BRIDGE, HOST and NONE")
    for name, given in (
        ("volumes_from", task.volumes_from),
        ("ports", task.ports),
        ("fetch", task.fetch or task.uris),
    ):
        if given:
            yield FieldProblem(name, "is not to be had: leave it out")


def _is_path(text: str) -> bool:
    return text.startswith("/") and text.isprintable() and ":" not in text and len(text) < 1024
