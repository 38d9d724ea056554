"""A small typed client of the HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from builder_framework import __version__
from builder_framework.cli import exits
from builder_framework.cli.sse import ServerEvent, parse_events
from builder_framework.errors import BuilderError, FieldProblem
from builder_framework.redact import Secret, mask_url_userinfo

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
STREAM_SILENCE_SECONDS = 45.0
"""The server writes at least every 15 s; after three times that the connection is dead."""

Json = dict[str, Any]


class ApiError(BuilderError):
    """The server answered, but not with what was asked for."""

    code: ClassVar[str] = "api_error"

    def __init__(
        self, status: int, problem_code: str, message: str, problems: tuple[FieldProblem, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem_code = problem_code
        self.problems = problems

    @property
    def temporary(self) -> bool:
        """Whether the same request may work a little later."""
        return self.status in (408, 425, 429, 500, 502, 503, 504)

    @property
    def exit_code(self) -> int:
        """For the command line."""
        if self.status in (400, 413, 415):
            return exits.USAGE
        if self.status in (404, 409):
            return exits.REFUSED
        return exits.SERVER


class ConnectionFailedError(BuilderError):
    """No answer, or one that broke off."""

    code: ClassVar[str] = "connection_failed"
    recoverable: ClassVar[bool] = True
    exit_code = exits.SERVER


@dataclass(frozen=True)
class LogPiece:
    """Text of a log that ends before byte `next_offset`; `complete`: nothing comes after it."""

    text: str
    next_offset: int
    complete: bool


class Client:
    """Calls to one server. All raise ApiError and ConnectionFailedError."""

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: Secret | None = None,
        *,
        token: Secret | None = None,
        session_factory: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        """`url`: of the server, without `/api/v1`. Without user or token only `version` works."""
        self.url = url.rstrip("/")
        self._session = session_factory()
        # Bytes, because requests would encode a str as Latin-1; explicit, because it would
        # otherwise look into ~/.netrc.
        self._session.auth = _anonymous
        if username is not None and password is not None:
            self._session.auth = HTTPBasicAuth(username.encode(), password.reveal().encode())
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token.reveal()}"
        self._session.headers["User-Agent"] = f"builder/{__version__}"

    def version(self) -> Json:
        """The server's version."""
        return self._json("GET", "/api/v1/version")

    def submit(self, body: Mapping[str, Any], idempotency_key: str) -> Json:
        """Submit a build; with the same key it may be repeated safely."""
        return self._json(
            "POST", "/api/v1/builds", body=body, headers={"Idempotency-Key": idempotency_key}
        )

    def upload(self, content: Iterable[bytes], content_type: str, idempotency_key: str) -> Json:
        """Submit a build with its context: `content` is the whole body, with a length."""
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": content_type}
        return self._json("POST", "/api/v1/builds", content=content, headers=headers)

    def get(self, build_id: str) -> Json:
        """One build."""
        return self._json("GET", _path(build_id))

    def list(self, filters: Mapping[str, Any], limit: int) -> Iterator[Json]:
        """Up to `limit` builds, newest first, over as many pages as it takes."""
        params: Mapping[str, Any] | None = {**filters, "limit": min(limit, 200)}
        path, left = "/api/v1/builds", limit
        while True:
            page = self._json("GET", path, params=params)
            yield from page["builds"][:left]
            left -= len(page["builds"])
            if left <= 0 or not page["next"]:
                return
            path, params = page["next"], None

    def cancel(self, build_id: str) -> Json:
        """Ask a build to end."""
        return self._json("POST", f"{_path(build_id)}/cancel")

    def deliveries(self, build_id: str) -> Sequence[Json]:
        """The webhooks of a build, in order of its events."""
        found: Sequence[Json] = self._json("GET", f"{_path(build_id)}/deliveries")["deliveries"]
        return found

    def redeliver(self, build_id: str, delivery_id: str) -> Json:
        """Send a webhook again."""
        delivery = quote(delivery_id, safe="")
        return self._json("POST", f"{_path(build_id)}/deliveries/{delivery}/redeliver")

    def log(self, build_id: str, offset: int) -> LogPiece:
        """A piece of the log from a byte offset."""
        response = self._send("GET", f"{_path(build_id)}/log", params={"offset": offset})
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
        response = self._send(
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

    def whoami(self) -> Json:
        """The caller's name and roles."""
        return self._json("GET", "/api/v1/whoami")

    def fetch(self, path: str) -> Json:
        """What is at `/api/v1/PATH`."""
        return self._json("GET", f"/api/v1/{path}")

    def post(self, path: str) -> Json:
        """Do what `/api/v1/PATH` is for, without a body."""
        return self._json("POST", f"/api/v1/{path}")

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Make `/api/v1/PATH` what `body` says."""
        self._send("PUT", f"/api/v1/{path}", body=body).close()

    def delete(self, path: str) -> None:
        """Remove `/api/v1/PATH`."""
        self._send("DELETE", f"/api/v1/{path}").close()

    def create_token(self, body: Mapping[str, Any]) -> Json:
        """A token with its text."""
        return self._json("POST", "/api/v1/tokens", body=body)

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        response = self._send(method, path, **arguments)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ApiError(
                response.status_code, "not_json", f"{self._where} does not speak our API"
            )
        return found

    @property
    def _where(self) -> str:
        return mask_url_userinfo(self.url)

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: Iterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        read_timeout: float = READ_SECONDS,
    ) -> requests.Response:
        sent = {"Accept": "application/json, */*;q=0.5", **(headers or {})}
        data: bytes | Iterable[bytes] | None = content
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            response = self._session.request(
                method,
                self.url + path,
                params=params,
                data=data,
                headers=sent,
                stream=stream,
                timeout=(CONNECT_SECONDS, read_timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ConnectionFailedError(f"{self._where} {_reason(error)}") from error
        if not response.ok or response.is_redirect:
            with response:
                raise self._error(response)
        return response

    def _error(self, response: requests.Response) -> ApiError:
        if response.is_redirect:
            target = urlsplit(response.headers["Location"])
            return ApiError(
                response.status_code,
                "redirected",
                f"{self._where} redirects to {target.scheme}://{target.hostname}; use that address",
            )
        try:
            body = response.json()
        except (ValueError, requests.RequestException):
            body = None
        if not isinstance(body, dict):
            body = {}
        problems = tuple(
            FieldProblem(str(item.get("field")), str(item.get("problem")))
            for item in body.get("errors", [])
            if isinstance(item, dict)
        )
        detail = str(body.get("detail") or f"{response.status_code} {response.reason}")
        return ApiError(response.status_code, str(body.get("code", "")), detail, problems)


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def quoted(part: str) -> str:
    """A part of a path."""
    return quote(part, safe="")


def _path(build_id: str) -> str:
    return f"/api/v1/builds/{quoted(build_id)}"


def _reason(error: requests.RequestException) -> str:
    """What happened, in words; the library's own text is long and holds the whole URL."""
    if isinstance(error, requests.exceptions.SSLError):
        return "has a certificate that cannot be verified"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"does not answer within {CONNECT_SECONDS:g} s"
    if isinstance(error, requests.exceptions.Timeout):
        return "accepted the connection but did not answer in time"
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)):
        return "is not a URL like http://host:port"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return "is not an http or https URL"
    return "cannot be reached"
