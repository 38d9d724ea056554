"""Marathon over HTTP: how an app is, a new image for it, and a deployment undone.

Its REST API from version 1.0 on (docs/docs/rest-api of mesosphere/marathon). Of an app only its
container is ever sent, as Marathon itself has just shown it, with another image: fields that one
version shows and another refuses (`uris`, `ports`, `versionInfo`) are in nobody's way. Nothing is
ever forced.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from builder_framework.domain.deployment import (
    MAX_MESSAGE_LENGTH,
    Accepted,
    Answer,
    App,
    Command,
    Gone,
    Locked,
    Put,
    Refused,
    Running,
    Unknown,
)
from builder_framework.errors import BuilderError
from builder_framework.redact import Secret

_CONNECT = 5.0
_TOTAL = 30.0
_MAX_ANSWER = 16 * 1024 * 1024
_PIECE = 64 * 1024
# `TooManyRunningDeploymentsException`, which goes by as a lock does; its status is that of a
# missing permission.
_MOST_RUNNING = "of running deployments is achieved"
# Of proxies: too slow, too often.
_LATER = (408, 429)

Json = dict[str, Any]


class MarathonError(BuilderError):
    """Marathon does not answer, or not what its API says; its sentence is for people."""

    code = "marathon_unavailable"
    recoverable = True


class Marathon:
    """One Marathon, or a proxy in front of several. To be used by one thread."""

    def __init__(
        self, url: str, login: tuple[str, Secret] | None = None, ca_file: Path | None = None
    ) -> None:
        """`url`: what stands before `/v2`. `login`: for basic authentication."""
        self._url = url.rstrip("/")
        self._session = requests.Session()
        # Neither a proxy nor a password from somebody's .netrc: the operator has said it all.
        self._session.trust_env = False
        self._session.verify = True if ca_file is None else str(ca_file)
        if login is not None:
            user, password = login
            token = base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()
            # requests' own basic authentication knows Latin-1 only.
            self._session.headers["Authorization"] = f"Basic {token}"

    def app(self, app_id: str) -> App | None:
        """How it is; None when there is none. Raises MarathonError."""
        # First what goes on: a deployment that ends in between is then seen as one that goes on,
        # never as one that is over with tasks as they were before its end.
        status, listed = self._call("GET", "/v2/deployments")
        if status != 200 or not isinstance(listed, list):
            raise MarathonError(_why(status, listed))
        status, shown = self._call("GET", f"/v2/apps{quote(app_id)}")
        if status == 404:
            return None
        found = shown.get("app") if isinstance(shown, dict) else None
        if status != 200 or not isinstance(found, dict):
            raise MarathonError(_why(status, shown))
        try:
            return _app(found, [each for each in listed if app_id in each["affectedApps"]])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MarathonError("Marathon's answer is not what its API says") from None

    def carry_out(self, command: Command) -> Answer:
        """Tell Marathon. Never raises."""
        try:
            if isinstance(command, Put):
                path, body = f"/v2/apps{quote(command.app)}", {"container": command.container}
                return _answer(*self._call("PUT", path, body))
            path = f"/v2/deployments/{quote(command.marathon_id, safe='')}"
            return _answer(*self._call("DELETE", path), gone=True)
        except MarathonError as error:
            return Unknown(error.message)

    def close(self) -> None:
        """Release connections."""
        self._session.close()

    def _call(self, method: str, path: str, body: Json | None = None) -> tuple[int, Any]:
        """Status and parsed body; None when that is no JSON. Raises MarathonError."""
        until = time.monotonic() + _TOTAL
        try:
            with self._session.request(
                method,
                f"{self._url}{path}",
                json=body,
                headers={"Accept": "application/json"},
                timeout=(_CONNECT, _TOTAL),
                allow_redirects=False,
                stream=True,
            ) as response:
                raw = bytearray()
                for piece in response.iter_content(_PIECE):
                    raw += piece
                    if len(raw) > _MAX_ANSWER or time.monotonic() > until:
                        raise MarathonError("Marathon's answer does not end")
                return response.status_code, _json(bytes(raw))
        except OSError as error:  # of requests, and of a file of authorities
            raise MarathonError(f"Marathon does not answer: {_cause(error)}") from None


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _app(found: Json, deployments: list[Json]) -> App:
    version = str(found["version"])
    info = found.get("versionInfo") or {}
    failure = found.get("lastTaskFailure") or {}
    checked = bool(found.get("healthChecks"))
    container = found.get("container")
    return App(
        # Scaling changes `version`, too.
        version=str(info.get("lastConfigChangeAt") or version),
        container=container if isinstance(container, Mapping) else None,
        deployments=tuple(Running(str(x["id"]), str(x["version"])) for x in deployments),
        instances=int(found["instances"]),
        running=int(found["tasksRunning"]),
        healthy=int(found["tasksHealthy"]) if checked else None,
        failure=_failure(failure) if failure.get("version") == version else None,
    )


def _failure(failure: Json) -> str:
    said = str(failure.get("message") or "").strip()
    return f"{failure.get('state')}{': ' if said else ''}{said}"


def _answer(status: int, body: Any, *, gone: bool = False) -> Answer:
    """Of a change. 5xx and what is not understood may have been done all the same."""
    told = body if isinstance(body, dict) else {}
    if status in (200, 201) and isinstance(told.get("deploymentId"), str):
        return Accepted(told["deploymentId"])
    if status == 409 or (status == 403 and _MOST_RUNNING in str(told.get("message"))):
        by = told.get("deployments")
        listed = by if isinstance(by, list) else []
        return Locked(tuple(str(x["id"]) for x in listed if isinstance(x, dict) and "id" in x))
    if status == 404 and gone:
        return Gone()
    if 400 <= status < 500 and status not in _LATER:
        return Refused(_why(status, body))
    return Unknown(_why(status, body))


def _why(status: int, body: Any) -> str:
    """What an answer says against it, in one sentence."""
    told = body if isinstance(body, dict) else {}
    said = [str(told["message"])] if "message" in told else []
    details = told.get("details")
    said += map(_detail, details if isinstance(details, list) else [])
    text = "; ".join(said)[:MAX_MESSAGE_LENGTH]
    return f"Marathon answered {status}{': ' if text else ''}{text}"


def _detail(detail: Any) -> str:
    """`{"path": …, "errors": […]}` of Marathon; versions differ in it."""
    if isinstance(detail, dict) and isinstance(detail.get("errors"), list):
        return f"{detail.get('path', '')} {', '.join(map(str, detail['errors']))}".strip()
    return str(detail)


def _cause(error: OSError) -> str:
    """In words that hold neither the URL nor the objects of libraries."""
    match error:
        case requests.exceptions.SSLError():
            return "its certificate cannot be verified, or it speaks no TLS"
        case requests.Timeout():
            return "no answer in time"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return error.strerror or type(error).__name__
