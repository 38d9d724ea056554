"""Events of forges: who sent them, and the push they tell of.

- GitLab: `X-Gitlab-Token`, docs.gitlab.com/user/project/integrations/webhook_events
- GitHub: `X-Hub-Signature-256`, docs.github.com/webhooks/webhook-events-and-payloads#push
- Gitea and Forgejo: `X-Gitea-Signature`, docs.gitea.com/usage/webhooks
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.datastructures import Headers

from builder_framework.domain.hooks import Forge
from builder_framework.domain.targets import Kind
from builder_framework.domain.triggers import Push, RefKind
from builder_framework.errors import FieldProblem, InvalidInputError

MAX_BODY = 5 * 1024 * 1024
"""Bytes. GitHub lists up to 2048 commits of a push, which are some three megabytes."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_KINDS = {"refs/heads/": RefKind.BRANCH, "refs/tags/": RefKind.TAG}
_EVENT_HEADERS = {
    Kind.GITLAB: ("X-Gitlab-Event",),
    Kind.GITHUB: ("X-GitHub-Event",),
    Kind.GITEA: ("X-Gitea-Event", "X-Forgejo-Event", "X-GitHub-Event"),
}
_ID_HEADERS = {
    # The first one is the same when GitLab tries again, the second one is not of each version.
    Kind.GITLAB: ("Idempotency-Key", "X-Gitlab-Event-UUID"),
    Kind.GITHUB: ("X-GitHub-Delivery",),
    Kind.GITEA: ("X-Gitea-Delivery", "X-Forgejo-Delivery"),
}
_PUSHES = {
    Kind.GITLAB: frozenset({"Push Hook", "Tag Push Hook"}),
    Kind.GITHUB: frozenset({"push"}),
    Kind.GITEA: frozenset({"push"}),
}
_MAX_ID = 128


def is_from(forge: Forge, headers: Headers, body: bytes) -> bool:
    """Whether the sender knows one of the forge's secrets."""
    if forge.kind is Kind.GITLAB:
        told = headers.get("X-Gitlab-Token", "").encode("utf-8", "surrogateescape")
        return any(hmac.compare_digest(told, s.reveal().encode()) for s in forge.secrets)
    if forge.kind is Kind.GITHUB:
        signature = headers.get("X-Hub-Signature-256", "").removeprefix("sha256=")
    else:
        signature = headers.get("X-Gitea-Signature") or headers.get("X-Forgejo-Signature", "")
    given = signature.encode("utf-8", "surrogateescape")
    return any(hmac.compare_digest(given, _signed(s.reveal(), body)) for s in forge.secrets)


def _signed(secret: str, body: bytes) -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()


def name_of(forge: Forge, headers: Headers) -> str:
    """What the event is called there."""
    return next((headers[h] for h in _EVENT_HEADERS[forge.kind] if headers.get(h)), "")


def is_push(forge: Forge, name: str) -> bool:
    """Whether an event of this name tells of a push."""
    return name in _PUSHES[forge.kind]


def key_of(forge: Forge, headers: Headers, body: bytes) -> str:
    """The same for an event that is sent again."""
    told = next((headers[h] for h in _ID_HEADERS[forge.kind] if headers.get(h)), "")
    if told and len(told) <= _MAX_ID and told.isascii() and told.isprintable():
        return told
    return hashlib.sha256(body).hexdigest()


class _Part(BaseModel):
    """What is read of an object; forges add to theirs all the time."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)


Text = Annotated[str, Field(max_length=2048)]
Long = Annotated[str, Field(max_length=1024 * 1024)]


class _Commit(_Part):
    id: Text
    message: Long = ""


class _GitlabProject(_Part):
    path_with_namespace: Text
    git_http_url: Text
    git_ssh_url: Text = ""


class _GitlabPush(_Part):
    ref: Text
    checkout_sha: Text | None = None
    user_username: Text | None = None
    user_name: Text | None = None
    project: _GitlabProject
    commits: list[_Commit] = Field(default_factory=list)


class _Who(_Part):
    login: Text | None = None
    username: Text | None = None
    name: Text | None = None


class _Repository(_Part):
    full_name: Text
    clone_url: Text
    ssh_url: Text = ""


class _HubPush(_Part):
    """Of GitHub, and of Gitea, which has the same fields."""

    ref: Text
    after: Text
    deleted: bool = False
    head_commit: _Commit | None = None
    repository: _Repository
    pusher: _Who | None = None
    sender: _Who | None = None


Model = TypeVar("Model", bound=BaseModel)


def push(forge: Forge, body: bytes) -> Push | None:
    """The push; None when it was neither to a branch nor to a tag. Raises InvalidInputError."""
    if forge.kind is Kind.GITLAB:
        return _checked(_read(_GitlabPush, body), _of_gitlab)
    return _checked(_read(_HubPush, body), _of_hub)


def _read(model: type[Model], body: bytes) -> Model:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        problem = FieldProblem("body", "is no JSON: set application/json as content type")
        raise InvalidInputError([problem]) from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(
            [
                FieldProblem(".".join(map(str, one["loc"])) or "body", one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _checked(told: Model, push_of: Callable[[Model], Push | None]) -> Push | None:
    found = push_of(told)
    if found is None:
        return None
    problems = [
        FieldProblem(name, "is empty, or has characters that nobody could see")
        for name, text in (("ref", found.name), ("repository", found.repository))
        if not text or not text.isprintable()
    ]
    if found.commit is not None and not _COMMIT.fullmatch(found.commit):
        problems.append(FieldProblem("commit", "is no full commit id"))
    if problems:
        raise InvalidInputError(problems)
    return found


def _of_gitlab(told: _GitlabPush) -> Push | None:
    kind, name = _ref(told.ref)
    if kind is None:
        return None
    commit = told.checkout_sha  # of an annotated tag `after` is the tag's own id
    return Push(
        repository=told.project.path_with_namespace,
        kind=kind,
        name=name,
        commit=commit,
        url=told.project.git_http_url,
        ssh_url=told.project.git_ssh_url,
        by=told.user_username or told.user_name or "",
        message=next((one.message for one in told.commits if one.id == commit), ""),
    )


def _of_hub(told: _HubPush) -> Push | None:
    kind, name = _ref(told.ref)
    if kind is None:
        return None
    head = told.head_commit
    commit: str | None = head.id if head is not None else told.after
    if told.deleted or not told.after.strip("0"):
        commit = None
    who = told.sender or told.pusher or _Who()
    return Push(
        repository=told.repository.full_name,
        kind=kind,
        name=name,
        commit=commit,
        url=told.repository.clone_url,
        ssh_url=told.repository.ssh_url,
        by=who.login or who.username or who.name or "",
        message=head.message if head is not None else "",
    )


def _ref(ref: str) -> tuple[RefKind | None, str]:
    for beginning, kind in _KINDS.items():
        if ref.startswith(beginning):
            return kind, ref.removeprefix(beginning)
    return None, ref
