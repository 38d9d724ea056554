"""Requests and their answers: one session to one server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

from builder_framework import __version__
from builder_framework.client.errors import ApiError, ConnectionFailedError
from builder_framework.client.retry import patiently
from builder_framework.errors import FieldProblem
from builder_framework.redact import Secret, mask_url_userinfo

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0

Json = dict[str, Any]


class Transport:
    """Calls raise ApiError and ConnectionFailedError. `waits`: seconds between tries."""

    def __init__(
        self,
        url: str,
        username: str | None,
        password: Secret | None,
        token: Secret | None,
        waits: Sequence[float],
        session_factory: Callable[[], requests.Session],
    ) -> None:
        self.url = url.rstrip("/")
        self._waits = tuple(waits)
        self._session = session_factory()
        # Bytes, because requests would encode a str as Latin-1; explicit, because it would
        # otherwise look into ~/.netrc.
        self._session.auth = _anonymous
        if username is not None and password is not None:
            self._session.auth = HTTPBasicAuth(username.encode(), password.reveal().encode())
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token.reveal()}"
        self._session.headers["User-Agent"] = f"builder/{__version__}"

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def json(self, method: str, path: str, **arguments: Any) -> Any:
        """The object that is the answer; arguments as of `send`."""
        response = self.send(method, path, **arguments)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ApiError(
                response.status_code, "not_json", f"{self._where} does not speak our API"
            )
        return found

    def send(
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
        """A successful response. `body`: as JSON; `content`: the bytes themselves, sent once."""
        sent = {"Accept": "application/json, */*;q=0.5", **(headers or {})}
        data: bytes | Iterable[bytes] | None = content
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"

        def once() -> requests.Response:
            return self._once(
                method,
                path,
                params=params,
                data=data,
                headers=sent,
                stream=stream,
                timeout=(CONNECT_SECONDS, read_timeout),
            )

        if content is not None or stream:  # the bytes are gone; who follows asks again itself
            return once()
        return patiently(once, self._waits, repeatable=method == "GET" or "Idempotency-Key" in sent)

    def _once(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            response = self._session.request(
                method, self.url + path, allow_redirects=False, **arguments
            )
        except requests.RequestException as error:
            raise ConnectionFailedError(f"{self._where} {_reason(error)}") from error
        if not response.ok or response.is_redirect:
            with response:
                raise self._error(response)
        return response

    @property
    def _where(self) -> str:
        return mask_url_userinfo(self.url)

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
        wait = response.headers.get("Retry-After", "")
        return ApiError(
            response.status_code,
            str(body.get("code", "")),
            detail,
            problems,
            float(wait) if wait.isdecimal() else None,
        )


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


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
