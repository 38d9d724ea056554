"""A task that would run tutum/builder, as the build that it means.

The variables and what they do are those of tutum/builder (build.sh of tutumcloud/builder). The
result is a body of `POST /api/v1/builds`: it goes the way of all builds, checks included.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from api.eremetic.fields import TaskBody
from api.eremetic.render import MASK
from builder_framework.errors import FieldProblem, InvalidValueError
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.redact import mask_url_userinfo
from builder_framework.validate import image_reference

LABEL = ("eremetic", "task")
"""The label of builds that were asked for this way, by which they are found again."""

_SHOWN = frozenset(
    {
        "DOCKERFILE_PATH",
        "EMAIL",
        "GIT_CLONE_OPTS",
        "GIT_REPO",
        "GIT_TAG",
        "IMAGE_NAME",
        "RETRIES",
        "TEST_FILENAME",
        "TGZ_URL",
        "USERNAME",
    }
)
"""Variables that may be seen; every other one may be a secret."""

# What `git clone` is told and makes no difference here.
_IDLE_OPTIONS = frozenset({"-q", "--quiet", "-v", "--verbose", "--progress", "--single-branch"})

_FIELDS = {
    "source.git.ssh_key": "GIT_ID_RSA",
    "source.git.url": "GIT_REPO",
    "source.git.username": "GIT_REPO",
    "source.git.password": "GIT_REPO",
    "source.git.ref": "GIT_TAG",
    "source.git": "GIT_CLONE_OPTS",
    "source.tarball": "TGZ_URL",
    "source": "GIT_REPO",
    "images": "IMAGE_NAME",
    "registry_auth.username": "USERNAME",
    "registry_auth": "PASSWORD",
    "registries": "DOCKERCFG",
    "context": "DOCKERFILE_PATH",
    "resources.cpus": "cpu",
    "resources.mem": "mem",
    "constraints": "agent_constraints",
}


def is_builder(image: str, builders: tuple[str, ...]) -> bool:
    """Whether the image is one of `builders`: names without a tag, of which any tag counts."""
    try:
        name = image_reference(image, allow_digest=True).name
        return name in {image_reference(each).name for each in builders}
    except InvalidValueError:
        return False


def body_of(task: TaskBody, policy: RequestPolicy) -> tuple[dict[str, Any], list[FieldProblem]]:
    """The body of the build, and what of the task has no meaning."""
    told = {key: value for key, value in task.variables().items() if value}
    problems: list[FieldProblem] = []
    default = policy.default_resources
    body: dict[str, Any] = {
        "source": _source(told, problems),
        "context": told.get("DOCKERFILE_PATH", "").strip("/") or ".",
        "constraints": [
            [each.attribute_name, "EQUALS", each.attribute_value]
            for each in task.agent_constraints or ()
        ],
        # Such a task only told the agent's engine what to do, which had memory of its own.
        "resources": {"cpus": max(task.cpu, default.cpus), "mem": max(task.mem, default.mem)},
        "labels": dict([LABEL]),
        "registries": _registries(told, problems),
    }
    if "IMAGE_NAME" in told:
        body["images"] = [told["IMAGE_NAME"]]
    else:
        problems.append(FieldProblem("env.IMAGE_NAME", "is required: what the image is called"))
    if "USERNAME" in told and "PASSWORD" in told and not body["registries"]:
        body["registry_auth"] = {"username": told["USERNAME"], "password": told["PASSWORD"]}
    if policy.repository_programs is Permission.REQUEST:
        body |= {"hooks": True, "tests": True}
    return body, problems


def named_as_asked(problem: FieldProblem) -> FieldProblem:
    """A fault of the build's body, at the task's variable or field that it comes from."""
    for field, name in _FIELDS.items():
        if problem.field == field or problem.field.startswith(f"{field}."):
            where = f"env.{name}" if name.isupper() else name
            return FieldProblem(where, problem.problem)
    return problem


def shown(env: Mapping[str, str] | None) -> dict[str, str] | None:
    """The environment without what may be a secret."""
    if env is None:
        return None
    return {name: _seen(value) if name in _SHOWN else MASK for name, value in env.items()}


def _seen(value: str) -> str:
    """Users in URLs may be tokens, and what follows a `?` a signature."""
    if "://" not in value:
        return value
    address, asked, _ = value.partition("?")
    return f"{mask_url_userinfo(address)}{f'?{MASK}' if asked else ''}"


def secrets_of(task: TaskBody, *, builder: bool) -> list[str]:
    """Values that no message may show. `builder`: it is a task of tutum/builder, of whose
    variables some are secret without being masked.
    """
    masked = list((task.masked_env or {}).values())
    if not builder:
        return masked
    return masked + [value for name, value in (task.env or {}).items() if name not in _SHOWN]


def _source(told: Mapping[str, str], problems: list[FieldProblem]) -> dict[str, Any]:
    if "GIT_REPO" in told:
        return {"git": _git(told, problems)}
    if "TGZ_URL" in told:
        return {"tarball": {"url": told["TGZ_URL"]}}
    problems.append(FieldProblem("env.GIT_REPO", "give GIT_REPO or TGZ_URL: there is no source"))
    return {}


def _git(told: Mapping[str, str], problems: list[FieldProblem]) -> dict[str, Any]:
    git = _address(told["GIT_REPO"])
    git |= _clone_options(told.get("GIT_CLONE_OPTS", ""), problems)
    if "GIT_TAG" in told:
        git["ref"] = told["GIT_TAG"]
    if "GIT_ID_RSA" in told:
        # As it was given to `echo -e`: line breaks may be written out.
        git["ssh_key"] = told["GIT_ID_RSA"].replace("\\n", "\n")
    return git


def _address(url: str) -> dict[str, Any]:
    """The URL, with the user and password in it by themselves."""
    if not url.startswith(("http://", "https://")) or "@" not in url:
        return {"url": url}
    try:
        parts = urlsplit(url)
    except ValueError:
        return {"url": url}
    who, _, host = parts.netloc.rpartition("@")
    user, colon, password = who.partition(":")
    if not colon:
        # A token alone: servers look at the password, and at the user only if there is none.
        user, password = "git", user
    bare = urlunsplit(parts._replace(netloc=host))
    return {"url": bare, "username": unquote(user), "password": unquote(password)}


def _clone_options(text: str, problems: list[FieldProblem]) -> dict[str, Any]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = [text]
    found: dict[str, Any] = {}
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in _IDLE_OPTIONS:
            continue
        if name in ("--recursive", "--recurse-submodules"):
            found["submodules"] = True
        elif name in ("--depth", "-b", "--branch"):
            value = value if equals else (words.pop(0) if words else "")
            if name == "--depth" and value.isdecimal():
                found["depth"] = int(value)
            elif name != "--depth":
                found["ref"] = value
        else:
            problem = "knows --recursive, --depth, --branch and what only changes the output"
            problems.append(FieldProblem("env.GIT_CLONE_OPTS", problem))
    return found


def _registries(told: Mapping[str, str], problems: list[FieldProblem]) -> list[dict[str, str]]:
    """The logins of a `.dockercfg`, or of a `config.json` with the same in `auths`."""
    name = next((name for name in ("DOCKER_CONFIG", "DOCKERCFG") if name in told), None)
    if name is None:
        return []
    try:
        document = json.loads(told[name])
        logins = document.get("auths", document)
        return [_login(registry, entry) for registry, entry in logins.items() if entry]
    except (ValueError, AttributeError, TypeError, KeyError, binascii.Error):
        problem = "is no Docker configuration: JSON, with an `auth` for each registry"
        problems.append(FieldProblem(f"env.{name}", problem))
        return []


def _login(registry: str, entry: Mapping[str, str]) -> dict[str, str]:
    host = registry.partition("://")[2] or registry
    user, password = entry.get("username", ""), entry.get("password", "")
    if "auth" in entry:
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    return {"registry": host.partition("/")[0], "username": user, "password": password}
