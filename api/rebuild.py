"""A build asked for again: what was stored of it, its secrets too, by today's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from builder_framework import validate
from builder_framework.domain import endpoints
from builder_framework.domain.model import Build, BuildRequest, Dedupe
from builder_framework.domain.targets import fault
from builder_framework.errors import (
    ConflictError,
    FieldProblem,
    InvalidInputError,
    InvalidValueError,
)
from builder_framework.ports import Permission, RequestPolicy


def again(build: Build, policy: RequestPolicy) -> BuildRequest:
    """The request of `build`, which makes another build in any case.

    Raises ConflictError when its context was uploaded, InvalidInputError for what the operator has
    forbidden since.
    """
    request = build.request
    if request.source.upload is not None:
        raise ConflictError(
            f"the context of build {build.id} was uploaded and is removed after the build: submit "
            "it again"
        )
    if request.source.task is not None:
        raise ConflictError(f"{build.id} is a task of Eremetic's API: ask for it there again")
    if problems := list(_refusals(request, policy)):
        raise InvalidInputError(problems)
    return replace(request, dedupe=Dedupe.OFF)


def _refusals(request: BuildRequest, policy: RequestPolicy) -> Iterator[FieldProblem]:
    git = request.source.git
    if git is not None:
        yield from _fault(
            "source.git.url", partial(validate.git_url, git.url, policy.git_protocols)
        )
    if request.engine is not None and request.engine not in policy.engines:
        yield FieldProblem("engine", "is not allowed by the operator any more (BUILDER_ENGINES)")
    if request.executor_network not in (None, *policy.networks):
        words = "is not allowed by the operator any more (BUILDER_EXECUTOR_NETWORKS)"
        yield FieldProblem("executor_network", words)
    if policy.repository_programs is Permission.OFF:
        for name in ("hooks", "tests"):
            if getattr(request.recipe, name):
                words = "is not allowed by the operator any more (BUILDER_REPOSITORY_PROGRAMS)"
                yield FieldProblem(name, words)
    if request.deploy is not None and not policy.marathon:
        yield FieldProblem("deploy", "no Marathon is configured any more (BUILDER_MARATHON_URL)")
    for url in request.webhooks:
        yield from _fault(
            "webhooks", partial(endpoints.allowed, url.reveal(), policy.webhook_hosts)
        )
    for one in request.notify:
        if said := fault(one, policy.targets, request.project):
            yield FieldProblem("notify", said)
    yield from _limits(request, policy)


def _limits(request: BuildRequest, policy: RequestPolicy) -> Iterator[FieldProblem]:
    most = policy.max_resources
    for name, asked, limit in (
        ("timeout", request.timeout, policy.max_timeout),
        ("queue_ttl", request.queue_ttl, policy.max_queue_ttl),
        ("resources.cpus", request.resources.cpus, most.cpus),
        ("resources.mem", request.resources.mem, most.mem),
        ("resources.disk", request.resources.disk, most.disk),
    ):
        if asked > limit:
            yield FieldProblem(name, f"must be at most {limit:g} (the operator's limit)")


def _fault(field: str, check: Callable[[], object]) -> Iterator[FieldProblem]:
    try:
        check()
    except InvalidValueError as error:
        yield FieldProblem(field, error.message)
