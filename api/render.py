"""Builds as the API shows them: the dicts of `answers`, with every secret masked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from builder_framework import answers
from builder_framework.codec import time_of, timestamp
from builder_framework.domain import endpoints
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Attempt, Build, BuildRequest, Result
from builder_framework.domain.states import State
from builder_framework.ports import BuildView, DeliveryView, Waiting
from builder_framework.protocol import FailedStep, Steps
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    Output,
    Recipe,
    RegistryAuth,
    Source,
    TarballSource,
    TaskSource,
    UploadSource,
)
from builder_framework.redact import MASK, Redactor, Secret

Redact = Callable[[str], str]


def build(view: BuildView, tail: str | None = None) -> answers.Build:
    """Everything about a build. `tail`: the end of its log, where somebody wants to see that.

    What people, repositories, agents and executors wrote goes through the redactor; what this
    program made up itself (ids, states, times, links) does not, because a short password would
    garble it.
    """
    one = view.build
    redact = one.request.redactor().text
    path = f"/api/v1/builds/{quote(one.id, safe='')}"
    current = one.current
    return {
        "id": one.id,
        "state": one.state.value,
        "phase": one.phase.value if one.phase else None,
        "reason": one.reason.value if one.reason else None,
        "message": _text(one.message, redact),
        "owner": one.owner,
        "supersedes": list(one.supersedes),
        "joined": one.joined,
        "created_at": time_of(one.created_at),
        "state_since": time_of(one.state_since),
        "started_at": timestamp(current.running_at if current else None),
        "ended_at": timestamp(one.ended_at),
        "queue": waiting(view.waiting, redact) if one.state is State.QUEUED else None,
        "attempts": [_attempt(item, redact) for item in one.attempts],
        "result": _result(one.result, redact),
        "deployment": _deployment(view.deployment, redact),
        "log": {
            "size": view.log_size,
            "complete": view.log_complete,
            "tail": _text(tail, redact),
        },
        "links": {
            "self": path,
            "log": f"{path}/log",
            "log_stream": f"{path}/log/stream",
            "cancel": f"{path}/cancel",
            "deliveries": f"{path}/deliveries",
        },
        # The request's own fields, with `source` and `images` among them.
        **request(one.request),
    }


def request(asked: BuildRequest) -> answers.Request:
    """The request as a body that `POST /api/v1/builds` would take, secrets as `***`."""
    redactor = asked.redactor()
    redact = redactor.text
    return {
        "source": _source(asked.source, redactor),
        **_recipe(asked.recipe, redact),
        "images": [redact(image) for image in asked.images],
        **_output(asked.output, redact),
        "registry_auth": _registry_auth(asked.registry_auth, redact),
        "registries": [
            {
                "registry": redact(login.registry),
                "username": redact(login.auth.username),
                "password": MASK,
                "use": login.use.value,
            }
            for login in asked.registries
        ],
        "resources": {
            "cpus": asked.resources.cpus,
            "mem": asked.resources.mem,
            "disk": asked.resources.disk,
        },
        "constraints": [
            [redact(item.attribute), item.operator, redact(item.value)]
            for item in asked.constraints
        ],
        "timeout": asked.timeout,
        "queue_ttl": asked.queue_ttl,
        "priority": asked.priority,
        "max_attempts": asked.max_attempts,
        "labels": _texts(asked.labels, redact),
        "supersede": asked.supersede.value,
        "group": _text(asked.group, redact),
        "dedupe": asked.dedupe.value,
        "engine": asked.engine.value if asked.engine else None,
        "exclusive": asked.exclusive,
        "cache": asked.cache.value,
        "executor_network": _text(asked.executor_network, redact),
        "attended": asked.attended,
        "project": asked.project,
        "project_secrets": _texts(asked.project_secrets, redact),
        "webhooks": [endpoints.parse(url.reveal()).shown for url in asked.webhooks],
        "notify": [
            {
                "target": one.target,
                "channel": one.channel,
                "events": list(one.events),
                "outcomes": list(one.outcomes),
            }
            for one in asked.notify
        ],
        "deploy": _deploy(asked.deploy),
    }


def _recipe(recipe: Recipe, redact: Redact) -> answers.Recipe:
    return {
        "context": redact(recipe.context),
        "dockerfile": redact(recipe.dockerfile),
        "target": _text(recipe.target, redact),
        "build_args": _texts(recipe.build_args, redact),
        "secrets": dict.fromkeys(recipe.secrets, MASK),
        "ssh": dict.fromkeys(recipe.ssh, MASK),
        "no_cache": recipe.no_cache,
        "pull": recipe.pull,
        "add_hosts": _texts(recipe.add_hosts, redact),
        "shm_size": recipe.shm_size,
        "network": recipe.network.value,
        "platforms": list(recipe.platforms),
        "cache_from": [redact(image) for image in recipe.cache_from],
        "cache_to": _text(recipe.cache_to, redact),
        "registry_cache": recipe.registry_cache,
        "hooks": recipe.hooks,
        "tests": recipe.tests,
    }


def _output(output: Output, redact: Redact) -> answers.Output:
    return {
        "image_labels": _texts(output.labels, redact),
        "annotations": _texts(output.annotations, redact),
        "standard_labels": output.standard_labels,
        "timestamp": output.timestamp,
        "sbom": output.sbom,
        "provenance": output.provenance.value,
    }


def _texts(texts: Mapping[str, str], redact: Redact) -> dict[str, str]:
    return {redact(key): redact(value) for key, value in texts.items()}


def _source(source: Source, redactor: Redactor) -> answers.Source:
    match source.given:
        case GitSource() as git:
            return {"git": _git(git, redactor)}
        case TarballSource() as tarball:
            return {
                "tarball": {
                    # What follows may be a signature.
                    "url": redactor.text(tarball.url) + ("?***" if tarball.query else ""),
                    "username": _text(tarball.username, redactor.text),
                    "password": _mask(tarball.password),
                    "sha256": tarball.sha256,
                    "strip_components": tarball.strip_components,
                }
            }
        case UploadSource(sha256=sha256, size=size):
            return {"upload": {"sha256": sha256, "size": size}}
        case InlineSource(dockerfile=text):
            return {"inline": {"dockerfile": redactor.text(text)}}
        case TaskSource() as task:
            return {"task": _task(task, redactor.text)}


def _task(source: TaskSource, redact: Redact) -> answers.Task:
    return {
        "image": redact(source.image),
        "command": redact(source.command),
        "args": [redact(word) for word in source.args],
        "env": {**_texts(source.env, redact), **dict.fromkeys(source.masked_env, MASK)},
        "privileged": source.privileged,
        "network": source.network.value,
    }


def _git(source: GitSource, redactor: Redactor) -> answers.Git:
    redact = redactor.text
    return {
        "url": redactor.git_url(source.url),
        "ref": _text(source.ref, redact),
        "username": _text(source.username, redact),
        "password": _mask(source.password),
        "ssh_key": _mask(source.ssh_key),
        "known_hosts": _text(source.known_hosts, redact),
        "depth": source.depth,
        "submodules": source.submodules,
        "lfs": source.lfs,
        "keep_git_dir": source.keep_git_dir,
        "logins": [
            {
                "host": redact(login.host),
                "username": _text(login.username, redact),
                "password": _mask(login.password),
                "ssh_key": _mask(login.ssh_key),
            }
            for login in source.logins
        ],
    }


def delivery(view: DeliveryView) -> answers.Delivery:
    """A webhook and its tries; of its URL only what is surely no secret."""
    one = view.delivery
    path = f"/api/v1/builds/{quote(one.build_id, safe='')}/deliveries/{quote(one.id, safe='')}"
    return {
        "id": one.id,
        "event": one.event,
        "target": one.target,
        "url": endpoints.parse(one.url.reveal()).shown,
        "state": one.state.value,
        "created_at": time_of(one.created_at),
        "next_at": timestamp(one.next_at),
        "ended_at": timestamp(one.ended_at),
        "tries": [
            {
                "at": time_of(made.at),
                "seconds": round(made.seconds, 3),
                "status": made.status,
                "error": made.error,
            }
            for made in view.tries
        ],
        "links": {"redeliver": f"{path}/redeliver"},
    }


def state_event(view: BuildView) -> answers.StateEvent:
    """What `event: state` of the log stream carries: all that may change before the end."""
    one, queue = view.build, view.waiting
    redact = one.request.redactor().text
    return {
        "state": one.state.value,
        "phase": one.phase.value if one.phase else None,
        "attempt": one.current.number if one.current else None,
        "position": queue.position if queue and one.state is State.QUEUED else None,
        "message": redact(queue.message)
        if queue and one.state is State.QUEUED
        else _text(one.message, redact),
    }


def end_event(one: Build) -> answers.EndEvent:
    """What `event: end` of the log stream carries: how it ended and what came of it."""
    redact = one.request.redactor().text
    return {
        "state": one.state.value,
        "phase": one.phase.value if one.phase else None,
        "reason": one.reason.value if one.reason else None,
        "message": _text(one.message, redact),
        "commit": _text(one.result.commit, redact),
        "digest": _text(one.result.digest, redact),
        "images": _result(one.result, redact)["images"],
    }


def waiting(queue: Waiting | None, redact: Redact) -> answers.Queue | None:
    """Why a build waits; `refusals` counts agents per reason."""
    if queue is None:
        return None
    return {
        "position": queue.position,
        "message": redact(queue.message),
        "refusals": [
            {"reason": redact(item.reason), "agents": item.agents} for item in queue.refusals
        ],
        "agents_seen": queue.agents_seen,
        "last_offer_at": timestamp(queue.last_offer_at),
    }


def _deploy(asked: MarathonDeploy | None) -> answers.Deploy | None:
    if asked is None:
        return None
    return {"marathon": {"app": asked.app, "timeout": asked.timeout}}


def _deployment(one: Deployment | None, redact: Redact) -> answers.Deployment | None:
    if one is None:
        return None
    return {
        "state": one.state.value,
        "app": one.app,
        "image": redact(one.image),
        "digest": one.digest,
        "previous": _text(one.previous, redact),
        "message": _text(one.message, redact),
        "created_at": time_of(one.created_at),
        "started_at": timestamp(one.started_at),
        "finished_at": timestamp(one.ended_at),
    }


def _attempt(attempt: Attempt, redact: Redact) -> answers.Attempt:
    place = attempt.placement
    return {
        "number": attempt.number,
        "task_id": attempt.task_id,
        "agent": {
            "id": place.agent_id,
            "hostname": redact(place.hostname),
            "url": redact(place.agent_url),
        },
        "executor": place.executor_id,
        "placed_at": time_of(attempt.placed_at),
        "running_at": timestamp(attempt.running_at),
        "ended_at": timestamp(attempt.ended_at),
        "reason": attempt.reason.value if attempt.reason else None,
        "message": _text(attempt.message, redact),
    }


def _result(result: Result, redact: Redact) -> answers.Result:
    return {
        "commit": _text(result.commit, redact),
        "source_digest": result.source_digest,
        "digest": _text(result.digest, redact),
        "images": [
            {"name": redact(item.name), "digest": redact(item.digest)} for item in result.images
        ],
        "size": result.size,
        "layers": result.layers,
        "steps": _steps(result.steps),
        "failed_step": _failed_step(result.failed_step, redact),
        "timings": {redact(name): seconds for name, seconds in result.timings.items()},
    }


def _steps(steps: Steps | None) -> answers.Steps | None:
    return None if steps is None else {"total": steps.total, "cached": steps.cached}


def _failed_step(step: FailedStep | None, redact: Redact) -> answers.FailedStep | None:
    if step is None:
        return None
    return {"name": redact(step.name), "line": step.line, "exit_code": step.exit_code}


def _registry_auth(auth: RegistryAuth | None, redact: Redact) -> answers.RegistryAuth | None:
    if auth is None:
        return None
    return {"username": redact(auth.username), "password": MASK}


def _mask(secret: Secret | None) -> str | None:
    return None if secret is None else MASK


def _text(text: str | None, redact: Redact) -> str | None:
    return None if text is None else redact(text)
