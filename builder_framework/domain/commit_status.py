"""What a forge shows beside a commit: where its API takes it, and what it says. Pure.

- GitLab: `POST /api/v4/projects/:id/statuses/:sha`, docs.gitlab.com/api/commits
- GitHub: `POST /repos/{owner}/{repo}/statuses/{sha}`, docs.github.com/rest/commits/statuses
- Gitea and Forgejo: `POST /api/v1/repos/{owner}/{repo}/statuses/{sha}`, docs.gitea.com/api
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from builder_framework.domain.chat import duration
from builder_framework.domain.model import Build
from builder_framework.domain.notices import Notice
from builder_framework.domain.states import State
from builder_framework.domain.targets import Kind, Target
from builder_framework.protocol import Phase

MAX_DESCRIPTION = 140
"""Characters: GitHub's limit, the smallest of them."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# Of one part of a repository's path; what a forge allows in names.
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.~+-]{1,255}")
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^@/:]+):(?P<path>[^/].*)")
_ENDS = {
    Kind.GITLAB: ("success", "failed", "canceled"),
    Kind.GITHUB: ("success", "failure", "error"),
    Kind.GITEA: ("success", "failure", "error"),
}
_GITHUB = "github.com"


@dataclass(frozen=True)
class Status:
    """`url` that it is posted to, and the JSON `body`."""

    url: str
    body: str


def status(build: Build, notice: Notice, target: Target, link: str | None) -> Status | None:
    """What is posted to a forge; None when it does not have the repository, or nothing changes.

    The commit has to be known: from the start when the request names it, otherwise once it was
    cloned.
    """
    git = build.request.source.git
    if git is None:
        return None
    repository = _repository(git.url, target.url.reveal())
    asked = git.ref if git.ref is not None and _COMMIT.fullmatch(git.ref) else None
    commit = build.result.commit or asked
    if repository is None or commit is None or not _COMMIT.fullmatch(commit):
        return None
    state = _state(build, notice, target.kind, known=asked is not None)
    if state is None:
        return None
    body = {
        "state": state,
        "name" if target.kind is Kind.GITLAB else "context": target.context,
        "description": _description(build, notice),
    }
    if link is not None:
        body["target_url"] = link
    return Status(_url(target, repository, commit), json.dumps(body, separators=(",", ":")))


def token_header(target: Target) -> dict[str, str]:
    """How the forge is shown the token."""
    if target.token is None:
        return {}
    token = target.token.reveal()
    if target.kind is Kind.GITLAB:
        return {"PRIVATE-TOKEN": token}
    scheme = "token" if target.kind is Kind.GITEA else "Bearer"
    return {"Authorization": f"{scheme} {token}"}


def _state(build: Build, notice: Notice, kind: Kind, *, known: bool) -> str | None:
    if notice is Notice.FINISHED:
        succeeded, failed, cancelled = _ENDS[kind]
        ends = {State.SUCCEEDED: succeeded, State.FAILED: failed, State.CANCELLED: cancelled}
        return ends[build.state]
    if notice is Notice.QUEUED:
        return "pending"
    # Cloned, so its commit is known; what comes after that is the same to a forge.
    cloned = notice is Notice.PHASE and build.phase is Phase.BUILDING and not known
    if notice is Notice.STARTED or cloned:
        return "running" if kind is Kind.GITLAB else "pending"
    return None


def _description(build: Build, notice: Notice) -> str:
    if notice is Notice.QUEUED:
        return "waits for an agent"
    if notice is not Notice.FINISHED:
        return "the image is being built"
    spent = duration((build.ended_at or build.state_since) - build.created_at)
    if build.state is State.SUCCEEDED:
        return f"pushed after {spent}"
    why = build.reason.value if build.reason else build.state.value.lower()
    return f"{why} after {spent}"[:MAX_DESCRIPTION]


def _repository(url: str, root: str) -> tuple[str, ...] | None:
    """The parts of the repository's path below the forge's root; None when it is elsewhere."""
    forge = urlsplit(root)
    scp = _SCP.fullmatch(url) if "://" not in url else None
    if scp is not None:
        host, path, is_web = scp["host"], scp["path"], False
    else:
        parts = urlsplit(url)
        host, path, is_web = parts.hostname or "", parts.path, parts.scheme in ("http", "https")
    if host.lower() != (forge.hostname or "").lower():
        return None
    prefix = forge.path.strip("/")
    names = path.strip("/").removesuffix(".git")
    if is_web and prefix:
        if not names.startswith(f"{prefix}/"):
            return None
        names = names.removeprefix(f"{prefix}/")
    found = tuple(names.split("/"))
    fine = len(found) >= 2 and all(_NAME.fullmatch(name) for name in found)
    return found if fine else None


def _url(target: Target, repository: tuple[str, ...], commit: str) -> str:
    root = target.url.reveal().rstrip("/")
    path = "/".join(repository)
    if target.kind is Kind.GITLAB:
        return f"{target.api or f'{root}/api/v4'}/projects/{quote(path, safe='')}/statuses/{commit}"
    if target.kind is Kind.GITEA:
        return f"{target.api or f'{root}/api/v1'}/repos/{quote(path)}/statuses/{commit}"
    own = urlsplit(root).hostname == _GITHUB
    api = target.api or ("https://api.github.com" if own else f"{root}/api/v3")
    return f"{api}/repos/{quote(path)}/statuses/{commit}"
