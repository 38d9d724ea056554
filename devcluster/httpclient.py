"""Small HTTP questions to the cluster's own parts, past any proxy the environment names.

`ca_file`: the authority (PEM) that has signed an https server's certificate.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster.config import Credentials

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(
    url: str,
    credentials: Credentials | None = None,
    seconds: float = 5.0,
    ca_file: Path | None = None,
) -> bytes:
    """The body of a 200 answer; raises `OSError` (of which `URLError` is one) otherwise."""
    with _opener_for(ca_file).open(_request(url, credentials), timeout=seconds) as answer:
        return bytes(answer.read())


def get_json(
    url: str,
    credentials: Credentials | None = None,
    seconds: float = 5.0,
    ca_file: Path | None = None,
) -> Any:
    """The JSON of a 200 answer."""
    return json.loads(get(url, credentials, seconds, ca_file))


def headers(url: str, credentials: Credentials | None, sent: dict[str, str]) -> Mapping[str, str]:
    """The headers of a 200 answer to a HEAD request, looked up without regard to case."""
    request = _request(url, credentials)
    request.method = "HEAD"
    for name, value in sent.items():
        request.add_header(name, value)
    with _opener.open(request, timeout=5.0) as answer:
        received: Mapping[str, str] = answer.headers
        return received


def status_of(
    url: str,
    credentials: Credentials | None = None,
    seconds: float = 2.0,
    sent: object | None = None,
    ca_file: Path | None = None,
) -> int | None:
    """The HTTP status of a GET (of a POST with `sent` as JSON), or None when nothing answers."""
    request = _request(url, credentials)
    if sent is not None:
        request.data = json.dumps(sent).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with _opener_for(ca_file).open(request, timeout=seconds) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, http.client.HTTPException):
        return None


def _opener_for(ca_file: Path | None) -> urllib.request.OpenerDirector:
    if ca_file is None:
        return _opener
    trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file)))
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)


def _request(url: str, credentials: Credentials | None) -> urllib.request.Request:
    request = urllib.request.Request(url)
    if credentials is not None:
        pair = f"{credentials.username}:{credentials.password}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
    return request
