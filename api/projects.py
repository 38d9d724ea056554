"""Projects, who is in them, and the credentials that their builds use by name."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from annotated_types import Len
from flask import Blueprint, Response
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from api import auth, bodies
from api.described import Answer, Content, Plain, describes
from api.fields import Body, KnownHosts, SecretText, checked, fail
from api.parsing import parse
from api.recipe_fields import RegistryBody
from api.source_fields import GitLoginBody
from builder_framework import answers, users
from builder_framework.domain import apps
from builder_framework.domain.access import Action, Role
from builder_framework.domain.projects import Credential, GitCredential, Project, Quota
from builder_framework.errors import (
    FieldProblem,
    InvalidInputError,
    InvalidValueError,
    no_project,
)
from builder_framework.people import Projects
from builder_framework.protocol import EngineMode
from builder_framework.recipe import RegistryLogin
from builder_framework.redact import MASK, Secret

MAX_PREFIXES = 100
MAX_PREFIX_LENGTH = 512

_REPOSITORY = re.compile(r"(https?://|ssh://|file://|[\w.-]+@)[^\s?#]+", re.ASCII)
_IMAGE = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]*)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def _repository(value: str) -> str:
    if len(value) > MAX_PREFIX_LENGTH or not _REPOSITORY.fullmatch(value):
        fail("is no beginning of a git URL, such as https://git.example.org/shop/")
    return value


def _image(value: str) -> str:
    if len(value) > MAX_PREFIX_LENGTH or not _IMAGE.fullmatch(value):
        fail("is no beginning of an image's name, such as registry.example.org/shop")
    return value


Prefixes = Len(0, MAX_PREFIXES)
AppPrefix = Annotated[str, checked(apps.prefix)]


class QuotaBody(Body):
    """`quota` of a project."""

    max_waiting: Annotated[int, Field(ge=0)] | None = None
    max_running: Annotated[int, Field(ge=0)] | None = None
    max_cpus: Annotated[float, Field(gt=0)] | None = None
    max_mem: Annotated[float, Field(gt=0)] | None = None
    max_disk: Annotated[float, Field(ge=0)] | None = None
    max_timeout: Annotated[float, Field(gt=0)] | None = None
    max_priority: int | None = None
    engines: list[Literal["nested", "rootless", "socket"]] | None = None
    networks: list[str] | None = None
    programs: bool | None = None

    def to_quota(self) -> Quota:
        """As the domain has it."""
        told = self.model_dump(exclude={"engines", "networks"})
        engines = None if self.engines is None else tuple(map(EngineMode, self.engines))
        networks = None if self.networks is None else tuple(self.networks)
        return Quota(**told, engines=engines, networks=networks)


class ProjectBody(Body):
    """Of `PUT /api/v1/projects/NAME`."""

    description: Annotated[str, Len(0, 1000)] = ""
    repositories: Annotated[list[Annotated[str, AfterValidator(_repository)]], Prefixes] = Field(
        default_factory=list
    )
    images: Annotated[list[Annotated[str, AfterValidator(_image)]], Prefixes] = Field(
        default_factory=list
    )
    apps: Annotated[list[AppPrefix], Prefixes] = Field(default_factory=list)
    quota: QuotaBody = Field(default_factory=QuotaBody)

    def to_project(self, name: str) -> Project:
        """As the domain has it."""
        return Project(
            name,
            self.description,
            tuple(self.repositories),
            tuple(self.images),
            self.quota.to_quota(),
            tuple(self.apps),
        )


class MemberBody(Body):
    """Of `PUT …/members/USER`."""

    role: Literal["viewer", "builder", "operator", "admin"]


class GitCredentialBody(GitLoginBody):
    """`git` of a credential."""

    known_hosts: KnownHosts | None = None


class CredentialBody(Body):
    """Of `PUT …/credentials/NAME`: exactly one of them."""

    registry: RegistryBody | None = None
    git: GitCredentialBody | None = None
    secret: SecretText | None = None

    @field_validator("secret")
    @classmethod
    def _one(cls, value: str | None, info: ValidationInfo) -> str | None:
        told = [value, info.data.get("registry", ""), info.data.get("git", "")]
        if sum(each is not None for each in told) != 1 and "" not in told[1:]:
            fail("give exactly one of registry, git and secret")
        return value

    def to_credential(self) -> Credential:
        """As the domain has it."""
        if self.registry is not None:
            return self.registry.to_login()
        if self.git is not None:
            return GitCredential(self.git.to_login(), self.git.known_hosts)
        return Secret(self.secret or "")


_LIST = Answer(200, answers.Projects)
_PROJECT = Answer(200, answers.ProjectWithMembers)
_CHANGED = Answer(200, answers.Project)
_MADE = Answer(201, answers.Project)
_CREDENTIALS = Answer(200, answers.Credentials)
_DONE = Plain(204, "It is so.")
_PROJECT_BODY = Content(ProjectBody, {"images": ["registry.example.org/shop"]})
_MEMBER_BODY = Content(MemberBody, {"role": "builder"})
_CREDENTIAL_BODY = Content(CredentialBody, {"secret": "…"})


def blueprint(projects: Projects) -> Blueprint:
    """All of `/api/v1/projects`."""
    made = Blueprint("projects", __name__, url_prefix="/api/v1/projects")

    @made.get("")
    @auth.needs(Action.OWN)
    @describes("listProjects", _LIST)
    def listing() -> Response:
        """Those that the caller may see."""
        visible = auth.actor().visible
        found = [each for each in projects.all() if visible is None or each.name in visible]
        return _LIST.of({"projects": [_shown(each) for each in found]})

    @made.get("/<project>")
    @auth.needs(Action.SEE)
    @describes("getProject", _PROJECT)
    def show(project: str) -> Response:
        """A project with its members."""
        found = projects.all().get(project)
        if found is None:
            raise no_project(project)
        members = projects.members(project)
        roles = {user: role.value for user, role in members.items()}
        return _PROJECT.of({**_shown(found), "members": roles})

    @made.put("/<project>")
    @auth.needs(Action.ADMINISTER)
    @describes("putProject", _CHANGED, _MADE, content=_PROJECT_BODY)
    def put(project: str) -> Response:
        """201 for a new one, 200 when it was there: it is now as the body says."""
        body = parse(ProjectBody, *bodies.document())
        made_now = projects.put(body.to_project(project))
        return (_MADE if made_now else _CHANGED).of(_shown(body.to_project(project)))

    @made.delete("/<project>")
    @auth.needs(Action.ADMINISTER)
    @describes("removeProject", _DONE, problems=(409,))
    def remove(project: str) -> Response:
        """204; its builds stay in the history."""
        projects.remove(project)
        return Response(status=204)

    _add_members(made, projects)
    _add_credentials(made, projects)
    return made


def _add_members(made: Blueprint, projects: Projects) -> None:
    @made.put("/<project>/members/<user>")
    @auth.needs(Action.MANAGE)
    @describes("putMember", _DONE, content=_MEMBER_BODY)
    def put_member(project: str, user: str) -> Response:
        """204: the user has that role there from now on."""
        body = parse(MemberBody, *bodies.document())
        projects.put_member(project, _user(user), Role(body.role))
        return Response(status=204)

    @made.delete("/<project>/members/<user>")
    @auth.needs(Action.MANAGE)
    @describes("removeMember", _DONE, problems=(400,))
    def remove_member(project: str, user: str) -> Response:
        """204, whether he was one or not."""
        projects.put_member(project, _user(user), Role.NONE)
        return Response(status=204)


def _user(name: str) -> str:
    """Raises InvalidInputError."""
    try:
        return users.user_name(name)
    except InvalidValueError as error:
        raise InvalidInputError([FieldProblem("user", error.message)]) from None


def _add_credentials(made: Blueprint, projects: Projects) -> None:
    @made.get("/<project>/credentials")
    @auth.needs(Action.SEE)
    @describes("listCredentials", _CREDENTIALS)
    def credentials(project: str) -> Response:
        """Their names, and what they are for."""
        found = projects.credentials(project)
        return _CREDENTIALS.of(
            {"credentials": [_described(name, each) for name, each in found.items()]}
        )

    @made.put("/<project>/credentials/<name>")
    @auth.needs(Action.MANAGE)
    @describes("putCredential", _DONE, content=_CREDENTIAL_BODY)
    def put_credential(project: str, name: str) -> Response:
        """204: builds that are accepted from now on have it."""
        if not _NAME.fullmatch(name):
            problem = "is not 1 to 64 of A-Za-z0-9._- beginning with a letter or digit"
            raise InvalidInputError([FieldProblem("name", problem)])
        body = parse(CredentialBody, *bodies.document())
        projects.put_credential(project, name, body.to_credential())
        return Response(status=204)

    @made.delete("/<project>/credentials/<name>")
    @auth.needs(Action.MANAGE)
    @describes("removeCredential", _DONE)
    def remove_credential(project: str, name: str) -> Response:
        """204; builds that were accepted keep it."""
        projects.remove_credential(project, name)
        return Response(status=204)


def _shown(project: Project) -> answers.Project:
    return {
        "name": project.name,
        "description": project.description,
        "repositories": list(project.repositories),
        "images": list(project.images),
        "apps": list(project.apps),
        "quota": _quota(project.quota),
    }


def _quota(quota: Quota) -> answers.Quota:
    engines, networks = quota.engines, quota.networks
    return {
        "max_waiting": quota.max_waiting,
        "max_running": quota.max_running,
        "max_cpus": quota.max_cpus,
        "max_mem": quota.max_mem,
        "max_disk": quota.max_disk,
        "max_timeout": quota.max_timeout,
        "max_priority": quota.max_priority,
        "engines": None if engines is None else [engine.value for engine in engines],
        "networks": None if networks is None else list(networks),
        "programs": quota.programs,
    }


def _described(name: str, credential: Credential) -> answers.Credential:
    if isinstance(credential, RegistryLogin):
        return {
            "name": name,
            "kind": "registry",
            "registry": credential.registry,
            "username": credential.auth.username,
            "use": credential.use.value,
        }
    if isinstance(credential, GitCredential):
        login = credential.login
        return {"name": name, "kind": "git", "host": login.host, "username": login.username}
    return {"name": name, "kind": "secret", "value": MASK}
