"""One HTTP request to a registry: bounded in time and size, stopped with the build, over requests.

Proxies are those of the environment, certificates those that Docker would check with.
"""

from __future__ import annotations

import contextlib
import email.utils
import io
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.auth import AuthBase
from requests.utils import get_environ_proxies

from executor.cancel import CancelToken

CONNECT_TIMEOUT = 5.0
"""Seconds."""

CALL_TIMEOUT = 30.0
"""Seconds for one request from beginning to end; a manifest has some kilobytes."""

MAX_BODY = 4 * 1024 * 1024
"""Bytes; what the OCI specification wants registries to take at least as a manifest."""

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where Docker looks for the CA of one registry: REGISTRY/ca.crt."""


class LeaseOver(Exception):  # noqa: N818  (nothing was put; another lease may be had)
    """The lease ended before the request had left."""


class WhileLeased(io.BytesIO):
    """A request's body that is sent only while `left()` seconds are positive.

    It is read after the connection stands, so neither a slow name server nor a process that was
    frozen meanwhile can make a request leave too late.
    """

    def __init__(self, content: bytes, left: Callable[[], float]) -> None:
        super().__init__(content)
        self._left = left

    def read(self, size: int | None = -1, /) -> bytes:
        """See io.BytesIO. Raises LeaseOver."""
        if self._left() <= 0:
            raise LeaseOver
        return super().read(size)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of Retry-After, which is a number or a date; 0 without a usable one."""
    text = headers.get("Retry-After") or ""
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


@dataclass(frozen=True)
class Request:
    """What to ask. `seconds`: until there must be an answer."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = None
    body: WhileLeased | None = None
    seconds: float = CALL_TIMEOUT


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> str:
        """What it says about an error, in a line."""
        with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
            errors: list[Any] = json.loads(self.body)["errors"]
            return "; ".join(f"{e.get('code')}: {e.get('message')}" for e in errors)[:500]
        return " ".join(self.body[:200].decode(errors="replace").split())

    @property
    def retry_after(self) -> float:
        """See the function."""
        return retry_after(self.headers)


class Client:
    """Connections to one registry and its token server. One thread at a time."""

    def __init__(self, host: str, token: CancelToken, *, insecure: bool) -> None:
        self._host = host
        self._token = token
        self._insecure = insecure
        self._session = self._new_session()

    def send(self, request: Request) -> Answer:
        """The answer, whatever its status. Raises requests.RequestException, LeaseOver, Stopped.

        A thread of its own waits for it: a stop must not wait for a slow server.
        """
        if request.body is not None:
            request.body.seek(0)
        session, future = self._session, Future[Answer]()
        arguments = (session, request, future)
        threading.Thread(target=_answer, args=arguments, name="registry", daemon=True).start()
        until = time.monotonic() + request.seconds
        try:
            while not _done(future):
                self._token.check()
                if time.monotonic() >= until:
                    raise requests.Timeout(f"no answer within {request.seconds:.1f} s")
            return future.result()
        finally:
            if not future.done():  # the thread keeps the old one
                self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # Its environment holds passwords of others, too (netrc); proxies are given in each call.
        session.trust_env = False
        session.headers["User-Agent"] = "builder-executor"
        session.headers["Accept-Encoding"] = "identity"
        if self._insecure:
            session.verify = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        else:
            session.verify = _certificates(self._host)
        return session


class _Header(AuthBase):
    """A ready Authorization header; being an `auth`, it keeps requests from looking for others."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


def _done(future: Future[Answer]) -> bool:
    """Whether there is a result, after a moment's wait for it."""
    with contextlib.suppress(NotYet):
        future.exception(0.1)
    return future.done()


def _answer(session: requests.Session, request: Request, future: Future[Answer]) -> None:
    try:
        with session.request(
            request.method,
            request.url,
            params=request.parameters,
            headers=dict(request.headers),
            data=request.body,
            auth=_Header(request.authorization),
            timeout=(CONNECT_TIMEOUT, max(request.seconds, 0.1)),
            allow_redirects=request.method in ("GET", "HEAD"),
            proxies=get_environ_proxies(request.url),
            stream=True,
        ) as response:
            future.set_result(Answer(response.status_code, response.headers, _read(response)))
    except (OSError, urllib3.exceptions.HTTPError) as error:  # RequestException is an OSError
        known = isinstance(error, requests.RequestException)
        future.set_exception(error if known else requests.ConnectionError(error))
    except Exception as error:  # noqa: BLE001  (raised again where the result is taken)
        future.set_exception(error)


def _read(response: requests.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(64 * 1024):
        content += chunk
        if len(content) > MAX_BODY:
            raise requests.RequestException(f"an answer of over {MAX_BODY} bytes")
    return bytes(content)


def _certificates(host: str) -> str | bool:
    """The CA bundle that Docker would use."""
    own = CERTIFICATES / host / "ca.crt"
    return str(own) if own.exists() else certificates()


def certificates() -> str | bool:
    """The system's CA bundle; requests has one of its own, without a company's CA."""
    system = ssl.get_default_verify_paths()
    return system.cafile or system.capath or True
