"""Files of repositories, as GitLab, GitHub and Gitea give them by their APIs.

- GitLab: `GET /api/v4/projects/:id/repository/files/:path/raw?ref=`,
  docs.gitlab.com/api/repository_files
- GitHub: `GET /repos/{owner}/{repo}/contents/{path}?ref=`, docs.github.com/rest/repos/contents
- Gitea and Forgejo: `GET /api/v1/repos/{owner}/{repo}/raw/{path}?ref=`, docs.gitea.com/api
"""

from __future__ import annotations

import time
from urllib.parse import quote, urlsplit

import requests

from builder_framework.domain.hooks import Forge
from builder_framework.domain.targets import Kind
from builder_framework.errors import ForgeError

MAX_FILE = 64 * 1024
"""Bytes."""

_CONNECT = 3.0
_TOTAL = 8.0
"""Seconds: forges wait 10 for an answer to their events, GitLab and GitHub both."""

_PIECE = 16 * 1024
_NO_FILE = 404


def read(forge: Forge, repository: str, path: str, commit: str) -> str | None:
    """The file at that commit; None when it has none. Raises ForgeError."""
    until = time.monotonic() + _TOTAL
    with requests.Session() as session:
        # Neither a proxy nor a password from somebody's .netrc: the operator has said it all.
        session.trust_env = False
        try:
            with session.get(
                _url(forge, repository, path, commit),
                headers=_headers(forge),
                timeout=(_CONNECT, _TOTAL),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code == _NO_FILE:
                    return None
                if response.status_code != 200:
                    raise ForgeError(f"{forge.name} answers {response.status_code} for {path}")
                return _text(response, until, f"{path} of {forge.name}")
        except requests.RequestException as error:
            kind = "in time" if isinstance(error, requests.Timeout) else "at all"
            raise ForgeError(f"{forge.name} does not give {path} {kind}") from None


def _text(response: requests.Response, until: float, what: str) -> str:
    raw = bytearray()
    for piece in response.iter_content(_PIECE):
        raw += piece
        if len(raw) > MAX_FILE:
            raise ForgeError(f"{what} is over {MAX_FILE // 1024} KiB", passing=False)
        if time.monotonic() > until:
            raise ForgeError(f"{what} does not come in time")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ForgeError(f"{what} is not UTF-8", passing=False) from None


def _url(forge: Forge, repository: str, path: str, commit: str) -> str:
    file, at = quote(path, safe=""), quote(commit, safe="")
    if forge.kind is Kind.GITLAB:
        root = forge.api or f"{forge.url}/api/v4"
        return f"{root}/projects/{quote(repository, safe='')}/repository/files/{file}/raw?ref={at}"
    if forge.kind is Kind.GITEA:
        return f"{forge.api or f'{forge.url}/api/v1'}/repos/{quote(repository)}/raw/{file}?ref={at}"
    own = urlsplit(forge.url).hostname == "github.com"
    root = forge.api or ("https://api.github.com" if own else f"{forge.url}/api/v3")
    return f"{root}/repos/{quote(repository)}/contents/{file}?ref={at}"


def _headers(forge: Forge) -> dict[str, str]:
    found = {"Accept": "application/vnd.github.raw+json" if forge.kind is Kind.GITHUB else "*/*"}
    if forge.token is None:
        return found
    token = forge.token.reveal()
    if forge.kind is Kind.GITLAB:
        return {**found, "PRIVATE-TOKEN": token}
    scheme = "token" if forge.kind is Kind.GITEA else "Bearer"
    return {**found, "Authorization": f"{scheme} {token}"}
