"""The request for a build that a step's settings ask for, as the API takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder_framework.errors import FieldProblem, InvalidInputError, InvalidValueError
from plugins.drone import tags
from plugins.drone.settings import Login, Settings

Json = dict[str, Any]

ATTENDED = 60.0
"""Seconds after which a build ends whose step was killed: it cannot say so any more."""

_HUB = "docker.io"
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "hub.docker.com", "")


def tags_of(settings: Settings) -> tuple[str, ...] | None:
    """The tags of this build; None: it is not to be built. Raises InvalidInputError."""
    if not settings.auto_tag:
        return settings.tags
    if not tags.is_default(settings.commit.ref, settings.commit.branch):
        return None
    try:
        return tags.automatic(settings.commit.ref, settings.auto_tag_suffix)
    except InvalidValueError as error:
        raise InvalidInputError([FieldProblem("auto_tag", error.message)]) from None


def body(settings: Settings, chosen: tuple[str, ...], created: str) -> Json:
    """The whole body; without a source, if that is the workspace. `created`: now (RFC 3339).

    What `request` says goes before what settings say.
    """
    told: Json = {
        "images": [f"{settings.repo}:{tag}" for tag in chosen],
        "dockerfile": settings.dockerfile,
        "context": settings.context,
        "target": settings.target,
        "build_args": dict(settings.build_args),
        "pull": settings.pull,
        "no_cache": settings.no_cache,
        "cache_from": list(settings.cache_from),
        "cache_to": settings.cache_to,
        "platforms": list(settings.platforms),
        "add_hosts": dict(settings.add_hosts),
        "secrets": {mount: value.reveal() for mount, value in settings.secrets.items()},
        "ssh": {"default": settings.ssh_key.reveal()} if settings.ssh_key else {},
        "registries": [_login(login) for login in settings.logins],
        "image_labels": _image_labels(settings, created),
        "standard_labels": settings.auto_label,
        "labels": dict(settings.commit.labels),
        "attended": ATTENDED,
    }
    if settings.source == "git":
        told["source"] = {"git": _git(settings)}
    return {**told, **settings.request}


def registry_of(text: str) -> str:
    """`host[:port]` of what a setting names: it may be a URL, and of Docker Hub's API."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0].lower()
    return _HUB if host in _HUB_NAMES else host


def _login(login: Login) -> Json:
    return {
        "registry": registry_of(login.registry),
        "username": login.username,
        "password": login.password.reveal(),
        "use": login.use,
    }


def _image_labels(settings: Settings, created: str) -> Mapping[str, str]:
    """The framework knows no commit of a workspace; Drone does."""
    commit = settings.commit
    told = {
        "created": created,
        "revision": commit.sha,
        "source": commit.url,
        "url": commit.link,
    }
    prefix = "org.opencontainers.image"
    standard = {f"{prefix}.{name}": value for name, value in told.items() if value}
    return {**(standard if settings.auto_label else {}), **settings.labels}


def _git(settings: Settings) -> Json:
    commit = settings.commit
    git: Json = {"url": commit.url, "ref": commit.sha or commit.ref or None}
    if settings.git_username and settings.git_password:
        git["username"] = settings.git_username
        git["password"] = settings.git_password.reveal()
    return git
