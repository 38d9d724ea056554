"""The calls of the API, one method each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests

from builder_framework import answers
from builder_framework.client.errors import ConnectionFailedError
from builder_framework.client.follow import Follower
from builder_framework.client.sse import ServerEvent, parse_events
from builder_framework.client.transport import Transport
from builder_framework.redact import Secret

STREAM_SILENCE_SECONDS = 45.0
"""The server writes at least every 15 s; after three times that the connection is dead."""

WAITS = (0.5, 1.0, 2.0)
"""Seconds between tries of a call that may be repeated."""

_LONGEST_PAGE = 200


@dataclass(frozen=True)
class LogPiece:
    """Text of a log that ends before byte `next_offset`; `complete`: nothing comes after it."""

    text: str
    next_offset: int
    complete: bool


class Client:
    """Calls to one server, as one user. Not to be shared by threads."""

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: Secret | None = None,
        *,
        token: Secret | None = None,
        waits: Sequence[float] = WAITS,
        session_factory: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        """`url`: of the server, without `/api/v1`. Without user or token only `version` works.

        `waits`: see `WAITS`; none: every call is made once.
        """
        self._transport = Transport(url, username, password, token, waits, session_factory)

    def __enter__(self) -> Client:  # noqa: PYI034 (Self needs Python 3.11)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End its connections."""
        self._transport.close()

    @property
    def url(self) -> str:
        """Of the server."""
        return self._transport.url

    # -- builds ----------------------------------------------------------------------------------

    def submit(self, body: Mapping[str, Any], idempotency_key: str | None = None) -> answers.Build:
        """Submit a build; with the same key (a random one unless given) it may be repeated."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        build: answers.Build = self._transport.json(
            "POST", "/api/v1/builds", body=body, headers=headers
        )
        return build

    def upload(
        self, content: Iterable[bytes], content_type: str, idempotency_key: str
    ) -> answers.Build:
        """Submit a build with its context: `content` is the whole body, with a length."""
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": content_type}
        build: answers.Build = self._transport.json(
            "POST", "/api/v1/builds", content=content, headers=headers
        )
        return build

    def get(self, build_id: str) -> answers.Build:
        """One build."""
        build: answers.Build = self._transport.json("GET", _path(build_id))
        return build

    def list(
        self, filters: Mapping[str, Any] | None = None, limit: int = 50
    ) -> Iterator[answers.Build]:
        """Up to `limit` builds, newest first, over as many pages as it takes.

        `filters`: the query's, as docs/api.md has them.
        """
        params: Mapping[str, Any] | None = {**(filters or {}), "limit": min(limit, _LONGEST_PAGE)}
        path, left = "/api/v1/builds", limit
        while True:
            page: answers.BuildPage = self._transport.json("GET", path, params=params)
            yield from page["builds"][:left]
            left -= len(page["builds"])
            following = page["next"]
            if left <= 0 or not following:
                return
            path, params = following, None

    def cancel(self, build_id: str) -> answers.Build:
        """Ask a build to end."""
        build: answers.Build = self._transport.json("POST", f"{_path(build_id)}/cancel")
        return build

    def rebuild(self, build_id: str, idempotency_key: str | None = None) -> answers.Build:
        """Submit the same request once more; the new build."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        build: answers.Build = self._transport.json(
            "POST", f"{_path(build_id)}/rebuild", headers=headers
        )
        return build

    def deliveries(self, build_id: str) -> Sequence[answers.Delivery]:
        """The webhooks of a build, in order of its events."""
        found: answers.Deliveries = self._transport.json("GET", f"{_path(build_id)}/deliveries")
        return found["deliveries"]

    def redeliver(self, build_id: str, delivery_id: str) -> answers.Delivery:
        """Send a webhook again."""
        path = f"{_path(build_id)}/deliveries/{quoted(delivery_id)}/redeliver"
        delivery: answers.Delivery = self._transport.json("POST", path)
        return delivery

    # -- logs ------------------------------------------------------------------------------------

    def log(self, build_id: str, offset: int = 0) -> LogPiece:
        """A piece of the log from a byte offset."""
        response = self._transport.send("GET", f"{_path(build_id)}/log", params={"offset": offset})
        response.encoding = "utf-8"
        return LogPiece(
            response.text,
            int(response.headers["X-Log-Next-Offset"]),
            response.headers["X-Log-Complete"] == "true",
        )

    def stream(self, build_id: str, offset: int, *, attend: bool = False) -> Iterator[ServerEvent]:
        """The events of a build from a byte offset of its log. Ends when the connection does.

        `attend`: the build goes on because of this (see `attended` in docs/api.md).
        """
        response = self._transport.send(
            "GET",
            f"{_path(build_id)}/log/stream",
            params={"attend": "true"} if attend else None,
            # Compression would make the events wait for each other.
            headers={"Accept-Encoding": "identity", "Last-Event-ID": str(offset)},
            stream=True,
            read_timeout=STREAM_SILENCE_SECONDS,
        )
        with response:
            chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
            try:
                # None gives chunks as they come; without chunks it would wait for the end.
                yield from parse_events(response.iter_content(None if chunked else 1))
            except requests.RequestException as error:
                raise ConnectionFailedError("the connection broke off") from error
            except ValueError as error:
                raise ConnectionFailedError(str(error)) from error

    def follow(
        self,
        build_id: str,
        write: Callable[[str], object] = lambda _: None,
        note: Callable[[str], object] = lambda _: None,
        offset: int = 0,
    ) -> answers.EndEvent:
        """Wait for the end of a build, through broken connections and restarts of the server.

        `write` gets the log's text from byte `offset` on, `note` what should be told beside it.
        """
        return Follower(self, build_id, write, note, offset).run()

    # -- queue and agents ------------------------------------------------------------------------

    def queue(self, limit: int = 50) -> answers.QueuePage:
        """What waits, in the order in which it is placed."""
        page: answers.QueuePage = self._transport.json(
            "GET", "/api/v1/queue", params={"limit": limit}
        )
        return page

    def agents(self) -> answers.Agents:
        """The agents as the framework knows them."""
        found: answers.Agents = self._transport.json("GET", "/api/v1/agents")
        return found

    # -- people ----------------------------------------------------------------------------------

    def version(self) -> answers.Version:
        """The server's version."""
        found: answers.Version = self._transport.json("GET", "/api/v1/version")
        return found

    def whoami(self) -> answers.WhoAmI:
        """The caller's name and roles."""
        found: answers.WhoAmI = self._transport.json("GET", "/api/v1/whoami")
        return found

    def tokens(self) -> Sequence[answers.Token]:
        """The caller's tokens; an admin's are everybody's."""
        found: answers.Tokens = self._transport.json("GET", "/api/v1/tokens")
        return found["tokens"]

    def create_token(self, body: Mapping[str, Any]) -> answers.NewToken:
        """A token with its text."""
        made: answers.NewToken = self._transport.json("POST", "/api/v1/tokens", body=body)
        return made

    def revoke_token(self, token_id: str) -> None:
        """End a token."""
        self._delete(f"/api/v1/tokens/{quoted(token_id)}")

    # -- projects --------------------------------------------------------------------------------

    def projects(self) -> Sequence[answers.Project]:
        """Those that the caller may see."""
        found: answers.Projects = self._transport.json("GET", "/api/v1/projects")
        return found["projects"]

    def project(self, name: str) -> answers.ProjectWithMembers:
        """A project with its members."""
        found: answers.ProjectWithMembers = self._transport.json("GET", _project(name))
        return found

    def put_project(self, name: str, body: Mapping[str, Any]) -> answers.Project:
        """Make a project, or make it what `body` says."""
        made: answers.Project = self._transport.json("PUT", _project(name), body=body)
        return made

    def remove_project(self, name: str) -> None:
        """Its builds stay in the history."""
        self._delete(_project(name))

    def put_member(self, project: str, user: str, role: str) -> None:
        """Give a user a role in a project."""
        self._put(f"{_project(project)}/members/{quoted(user)}", {"role": role})

    def remove_member(self, project: str, user: str) -> None:
        """Take a user out of a project."""
        self._delete(f"{_project(project)}/members/{quoted(user)}")

    def credentials(self, project: str) -> Sequence[answers.Credential]:
        """A project's credentials, without what is secret."""
        found: answers.Credentials = self._transport.json("GET", f"{_project(project)}/credentials")
        return found["credentials"]

    def put_credential(self, project: str, name: str, body: Mapping[str, Any]) -> None:
        """Keep a credential for a project."""
        self._put(f"{_project(project)}/credentials/{quoted(name)}", body)

    def remove_credential(self, project: str, name: str) -> None:
        """Forget a credential."""
        self._delete(f"{_project(project)}/credentials/{quoted(name)}")

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        self._transport.send("PUT", path, body=body).close()

    def _delete(self, path: str) -> None:
        self._transport.send("DELETE", path).close()


def quoted(part: str) -> str:
    """A part of a path."""
    return quote(part, safe="")


def _path(build_id: str) -> str:
    return f"/api/v1/builds/{quoted(build_id)}"


def _project(name: str) -> str:
    return f"/api/v1/projects/{quoted(name)}"
