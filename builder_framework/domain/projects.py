"""Projects: who owns which repositories and images, and what their builds may take. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from builder_framework.domain import apps
from builder_framework.domain.access import Action, Actor, Subject, Verdict, decide
from builder_framework.domain.model import BuildRequest
from builder_framework.errors import FieldProblem
from builder_framework.protocol import EngineMode
from builder_framework.recipe import GitLogin, RegistryLogin, Source
from builder_framework.redact import Secret
from builder_framework.validate import image_reference

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Quota:
    """What a project's builds may take; None: as much as everybody's.

    `max_waiting`, `max_running`: builds at the same time. `max_cpus` (shares of a core), `max_mem`
    and `max_disk` (MiB), `max_timeout` (seconds), `max_priority`: of one build. `engines`,
    `networks`: what a build may ask for, of what the operator allows; `programs`: whether hooks and
    tests of the repository may run.
    """

    max_waiting: int | None = None
    max_running: int | None = None
    max_cpus: float | None = None
    max_mem: float | None = None
    max_disk: float | None = None
    max_timeout: float | None = None
    max_priority: int | None = None
    engines: tuple[EngineMode, ...] | None = None
    networks: tuple[str, ...] | None = None
    programs: bool | None = None


@dataclass(frozen=True)
class Project:
    """What belongs together.

    `repositories`: beginnings of git URLs, and `images`: of image names, that are this project's:
    its builds use nothing else (unless there are none), and builds outside it none of them.
    `apps`: beginnings of Marathon's app ids that its builds alone may deploy to.
    """

    name: str
    description: str = ""
    repositories: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    quota: Quota = field(default_factory=Quota)
    apps: tuple[str, ...] = ()


@dataclass(frozen=True)
class GitCredential:
    """Who a project is to a git server; `known_hosts` as in `recipe.GitSource`."""

    login: GitLogin
    known_hosts: str | None = None


Credential = RegistryLogin | GitCredential | Secret
"""A project's: a login, or a value that its builds may mount by name."""


def is_project_name(text: str) -> bool:
    """Whether a project may be called so: as a DNS label (RFC 1123)."""
    return _NAME.fullmatch(text) is not None


def begins(prefix: str, text: str) -> bool:
    """Whether `text` is `prefix` or beneath it: `shop` is no beginning of `shopping`.

    Nor is a host one of the same with a port or more of a name behind it.
    """
    if not text.startswith(prefix):
        return False
    rest = text[len(prefix) :]
    scp_like = "@" in prefix and "://" not in prefix  # git@host:path
    at_end = rest in ("", ".git") or rest.startswith("/") or (scp_like and rest.startswith(":"))
    return prefix.endswith(("/", ":")) or at_end


def owner_of(text: str, prefixes: Mapping[str, Sequence[str]]) -> str | None:
    """The project with the longest of the `prefixes` (by project) that `text` begins with."""
    found = [
        (len(prefix), project)
        for project, own in prefixes.items()
        for prefix in own
        if begins(prefix, text)
    ]
    return max(found)[1] if found else None


class Catalog:
    """All projects, to ask whose something is."""

    def __init__(self, projects: Iterable[Project]) -> None:
        self._projects = {project.name: project for project in projects}

    def __iter__(self) -> Iterator[Project]:
        """By name."""
        return iter(sorted(self._projects.values(), key=lambda project: project.name))

    def get(self, name: str) -> Project | None:
        """The project of that name."""
        return self._projects.get(name)

    def owner_of_image(self, image: str) -> str | None:
        """Whose an image is."""
        own = {name: project.images for name, project in self._projects.items()}
        return owner_of(image_reference(image, allow_digest=True).name, own)

    def owner_of_app(self, app: str) -> str | None:
        """Whose an app of Marathon is: the one's with the longest beginning of it."""
        found = [
            (len(beginning), project.name)
            for project in self
            for beginning in project.apps
            if apps.begins(beginning, app)
        ]
        return max(found)[1] if found else None

    def owner_of_source(self, request: BuildRequest) -> str | None:
        """Whose the repository is; nobody's if it is none."""
        if request.source.git is None:
            return None
        own = {name: project.repositories for name, project in self._projects.items()}
        return owner_of(request.source.git.url, own)

    def project_of(self, request: BuildRequest) -> str | None:
        """The one that was asked for, or the only one whose something of it is."""
        if request.project is not None:
            return request.project
        # Of a task the image that it runs: whoever may not build in that project may not have it.
        found = {self.owner_of_source(request), *map(self.owner_of_image, request.titles)} - {None}
        return found.pop() if len(found) == 1 else None


def refusals(
    request: BuildRequest,
    actor: Actor,
    catalog: Catalog,
    waiting: int,
    for_all: Sequence[str] = (),
) -> list[FieldProblem]:
    """Why this must not be built by `actor`: by field. Its project is `request.project`.

    `waiting`: how many builds of that project wait. `for_all`: beginnings of the ids of apps that
    every build may deploy to, unless a project has them.
    """
    return [
        *_membership(request, actor, catalog),
        *_ownership(request, catalog),
        *_deployment(request, catalog, for_all),
        *_excess(request, catalog, waiting),
    ]


def _membership(request: BuildRequest, actor: Actor, catalog: Catalog) -> Iterator[FieldProblem]:
    name = request.project
    verdict = decide(actor, Action.SUBMIT, Subject(name))
    if name is not None and (verdict is Verdict.HIDDEN or catalog.get(name) is None):
        yield FieldProblem("project", "there is no such project, or you are not in it")
    elif verdict is not Verdict.ALLOWED:
        where = "outside of all projects" if name is None else f"in project {name!r}"
        yield FieldProblem("project", f"you may not build {where}: that needs the role builder")


def _ownership(request: BuildRequest, catalog: Catalog) -> Iterator[FieldProblem]:
    project = catalog.get(request.project) if request.project is not None else None
    source = catalog.owner_of_source(request)
    if source != request.project and source is not None:
        yield FieldProblem("source.git.url", f"belongs to project {source!r}: say project")
    elif project and project.repositories and request.source.git is not None and source is None:
        yield FieldProblem("source.git.url", f"is no repository of project {project.name!r}")
    for number, image in enumerate(request.images):
        owner, field_name = catalog.owner_of_image(image), f"images.{number}"
        if owner != request.project and owner is not None:
            yield FieldProblem(field_name, f"belongs to project {owner!r}: say project")
        elif project and project.images and owner is None:
            own = ", ".join(project.images)
            yield FieldProblem(field_name, f"is no image of project {project.name!r}: {own}")


def _deployment(
    request: BuildRequest, catalog: Catalog, for_all: Sequence[str]
) -> Iterator[FieldProblem]:
    if request.deploy is None:
        return
    owner, name = catalog.owner_of_app(request.deploy.app), "deploy.marathon.app"
    if owner is None:
        if not apps.any_begins(for_all, request.deploy.app):
            yield FieldProblem(
                name, "is no app that builds may deploy to (BUILDER_MARATHON_APPS, or a project's)"
            )
    elif owner != request.project:
        yield FieldProblem(name, f"belongs to project {owner!r}: say project")


def _excess(request: BuildRequest, catalog: Catalog, waiting: int) -> Iterator[FieldProblem]:
    project = catalog.get(request.project) if request.project is not None else None
    if project is None:
        return
    quota = project.quota
    amounts = (
        ("resources.cpus", request.resources.cpus, quota.max_cpus, ""),
        ("resources.mem", request.resources.mem, quota.max_mem, " MiB"),
        ("resources.disk", request.resources.disk, quota.max_disk, " MiB"),
        ("timeout", request.timeout, quota.max_timeout, " s"),
        ("priority", request.priority, quota.max_priority, ""),
    )
    for name, asked, most, unit in amounts:
        if most is not None and asked > most:
            yield FieldProblem(name, f"is more than the project's {most:g}{unit}")
    choices = (
        ("engine", request.engine, quota.engines),
        ("executor_network", request.executor_network, quota.networks),
    )
    for name, chosen, allowed in choices:
        if chosen is not None and allowed is not None and chosen not in allowed:
            yield FieldProblem(name, "is not allowed in this project")
    if quota.programs is False and (request.recipe.hooks or request.recipe.tests):
        yield FieldProblem("hooks", "programs of the repository are not allowed in this project")
    if quota.max_waiting is not None and waiting >= quota.max_waiting:
        yield FieldProblem("project", f"has {waiting} builds waiting, which is its limit")


def equipped(
    request: BuildRequest, credentials: Mapping[str, Credential]
) -> tuple[BuildRequest, list[FieldProblem]]:
    """The request with what its project has and it has not: logins, and the secrets it names.

    What it says itself goes before. The list tells what it names and the project has not.
    """
    told = {login.registry for login in request.logins().logins}
    logins = tuple(
        each
        for each in credentials.values()
        if isinstance(each, RegistryLogin) and each.registry not in told
    )
    secrets, problems = dict(request.recipe.secrets), []
    for mount, name in request.project_secrets.items():
        found = credentials.get(name)
        if isinstance(found, Secret):
            secrets[mount] = found
        else:
            problem = f"the project has no secret {name!r}"
            problems.append(FieldProblem(f"project_secrets.{mount}", problem))
    changed = replace(
        request,
        source=_with_logins(request.source, credentials),
        registries=(*request.registries, *logins),
        recipe=replace(request.recipe, secrets=secrets),
    )
    return changed, problems


def _with_logins(source: Source, credentials: Mapping[str, Credential]) -> Source:
    if source.git is None:
        return source
    told = {login.host for login in source.git.logins}
    own = [each for each in credentials.values() if isinstance(each, GitCredential)]
    logins = tuple(each.login for each in own if each.login.host not in told)
    hosts = "".join(each.known_hosts for each in own if each.known_hosts is not None)
    git = replace(
        source.git,
        logins=(*source.git.logins, *logins),
        known_hosts=source.git.known_hosts or hosts or None,
    )
    return Source(git=git)
