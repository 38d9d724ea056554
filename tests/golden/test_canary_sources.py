"""The secrets of archives and uploads, and where they are looked for afterwards."""

from __future__ import annotations

import base64
import http.server
import json
import secrets
import signal
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from builder_framework.redact import spellings
from devcluster import Cluster
from tests.golden.test_uploads import simple
from tests.integration.harness import Framework, pull, until
from tests.integration.test_hygiene import files_with
from tests.integration.test_secrets import endpoints, processes, sandboxes

PORT = 8199
SNOOP = "RUN (env; cat /proc/*/environ /proc/*/cmdline) 2>&1; echo snooped; sleep 6"


class Door(http.server.ThreadingHTTPServer):
    """Serves `content` to who has the login, after a redirection to a signed URL, and stands before
    the framework, to see the tokens of uploads.
    """

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), _Handler)
        self.password = f"canary-{secrets.token_hex(8)}"
        self.signature = f"canary-{secrets.token_hex(8)}"
        self.query = f"canary-{secrets.token_hex(8)}"
        self.content = b""
        self.framework = ""
        self.tokens: list[str] = []
        self.url = f"http://{address}:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Door

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        given = self.headers.get("Authorization", "")
        if asked.path.startswith("/api/"):
            self.server.tokens.append(given.removeprefix("Bearer "))
            found = requests.get(
                self.server.framework + self.path, headers={"Authorization": given}, timeout=30
            )
            self._answer(found.status_code, found.content)
        elif asked.path == "/a.tar.gz":
            login = base64.b64encode(f"me:{self.server.password}".encode()).decode()
            if given != f"Basic {login}" or asked.query != f"sig={self.server.query}":
                self._answer(401)
            else:
                self._answer(302, Location=f"{self.server.url}/b?sig={self.server.signature}")
        else:
            signed = asked.query == f"sig={self.server.signature}"
            self._answer(200 if signed else 403, self.server.content if signed else b"")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def door(cluster: Cluster) -> Iterator[Door]:
    server = Door(cluster.address)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def behind(
    cluster: Cluster, door: Door, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Framework]:
    running = Framework(
        cluster,
        tmp_path_factory.mktemp("behind"),
        PORT,
        {"BUILDER_FRAMEWORK_NAME": "behind", "BUILDER_UPLOAD_URL": door.url},
    )
    door.framework = running.url
    running.start()
    yield running
    running.end(signal.SIGTERM)


def submit(behind: Framework, image: str, **request: Any) -> str:
    """`request`: as of requests; the body's own part is put into it."""
    body = behind.body("", image)
    del body["source"]
    if "files" in request:
        request["files"]["request"] = (None, json.dumps(body), "application/json")
    else:
        request["json"] = {**body, "source": request.pop("source")}
    answer = behind.call("POST", "/api/v1/builds", **request)
    assert answer.status_code == 202, answer.text
    build_id: str = answer.json()["id"]
    return build_id


def places(behind: Framework, cluster: Cluster, build_id: str, image: str) -> dict[str, str]:
    """What can be seen while it runs, and what is left of it."""
    until(lambda: "snooped" in behind.log(build_id), "the build does not run")
    found = {**endpoints(cluster), **processes()}
    ids = cluster.engine.docker("ps", "--quiet", "--all").split()
    found["docker inspect"] = cluster.engine.docker("inspect", *ids)
    behind.succeeded(build_id)
    until(lambda: behind.get(build_id)["log"]["complete"], "the log is not complete")
    made = pull(cluster, image, "1")
    return {
        **found,
        "log": behind.log(build_id),
        "build": json.dumps(behind.get(build_id)),
        "list": behind.call("GET", "/api/v1/builds").text,
        "framework's log": behind.log_file.read_text(),
        "image": json.dumps([made.manifest, made.index, made.attestations, made.config]),
        "layers": repr(made.files),
        **{
            str(path): path.read_bytes().decode(errors="replace")
            for path in behind.data_dir.rglob("builder.db*")
        },
        **sandboxes(cluster, build_id),
    }


def shown(found: dict[str, str], *values: str) -> set[tuple[int, str]]:
    """Which of the secrets show where."""
    return {
        (number, place)
        for number, value in enumerate(values)
        for place, text in found.items()
        if any(form in text for form in spellings(value) if len(form) > 5)
    }


def left(cluster: Cluster, *values: str) -> list[str]:
    """Files of the agent that hold one, when the executor has cleared up behind itself."""
    until(lambda: not cluster.engine.docker("ps", "--quiet").strip(), "the executor is still there")
    return [path for value in values for path in files_with(cluster, value)]


def test_the_secrets_of_an_archive_show_nowhere(
    behind: Framework, cluster: Cluster, door: Door, name: str
) -> None:
    """Its password, the query of its URL, and that of the URL which it redirects to."""
    door.content = simple(cluster, name, SNOOP)
    tarball = {
        "url": f"{door.url}/a.tar.gz?sig={door.query}",
        "username": "me",
        "password": door.password,
    }
    build_id = submit(behind, f"{name}:1", source={"tarball": tarball})
    values = (door.password, door.query, door.signature)
    assert shown(places(behind, cluster, build_id, name), *values) == set()
    assert left(cluster, *values) == []


@pytest.mark.slow
def test_the_token_of_an_upload_shows_nowhere(
    behind: Framework, cluster: Cluster, door: Door, name: str
) -> None:
    content = ("context.tar.gz", simple(cluster, name, SNOOP), "application/gzip")
    build_id = submit(behind, f"{name}:1", files={"context": content})
    found = places(behind, cluster, build_id, name)
    (token,) = door.tokens
    assert shown(found, token) == set()
    assert left(cluster, token) == []


def test_the_needles_are_found_where_they_are(door: Door) -> None:
    """Or the tests above would prove nothing."""
    login = base64.b64encode(f"me:{door.password}".encode()).decode()
    assert shown({"header": login}, door.password) == {(0, "header")}
