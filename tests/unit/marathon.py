"""A Marathon as far as its API is used here: apps, deployments, and what goes wrong with them.

After its REST API of version 1.4 and later: `PUT /v2/apps/ID` starts a deployment (201 for a new
app, 200 for one that is there, 409 while another deployment holds it), `GET /v2/deployments` lists
those that go on, `GET /v2/apps/ID` tells tasks that are healthy.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class Marathon:
    """`locked`: how many requests are refused with 409 first; `takes`: looks until a deployment is
    over; `healthy`: whether its tasks are, then; `login`: (user, password) that it wants.
    """

    locked: int = 0
    takes: int = 2
    healthy: bool = True
    login: tuple[str, str] | None = None
    apps: dict[str, Json] = field(default_factory=dict)
    deployments: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def put(self, app_id: str, app: Json) -> tuple[int, Json]:
        if self.locked > 0:
            self.locked -= 1
            return 409, {"message": "App is locked by one or more deployments."}
        status = 200 if app_id in self.apps else 201
        self.apps[app_id] = app
        deployment = f"deployment-{len(self.deployments)}"
        self.deployments[deployment] = self.takes
        return status, {"version": "2026-01-02T03:04:05.678Z", "deploymentId": deployment}

    def going_on(self) -> list[Json]:
        found = [{"id": name} for name, left in self.deployments.items() if left > 0]
        self.deployments = {name: left - 1 for name, left in self.deployments.items()}
        return found

    def show(self, app_id: str) -> tuple[int, Json]:
        if app_id not in self.apps:
            return 404, {"message": f"App '{app_id}' does not exist"}
        healthy = self.apps[app_id]["instances"] if self.healthy else 0
        return 200, {"app": {**self.apps[app_id], "tasksHealthy": healthy}}


@contextmanager
def serving(marathon: Marathon) -> Iterator[Marathon]:
    """It listens on loopback inside the block; `url` says where."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: object) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _may(self) -> bool:
            if marathon.login is None:
                return True
            expected = base64.b64encode(":".join(marathon.login).encode()).decode()
            if self.headers["Authorization"] == f"Basic {expected}":
                return True
            self._answer(401, {"message": "Unauthorized"})
            return False

        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._may():
                self._answer(*marathon.put(self.path.removeprefix("/v2/apps/"), body))

        def do_GET(self) -> None:
            if not self._may():
                return
            if self.path == "/v2/deployments":
                self._answer(200, marathon.going_on())
            else:
                self._answer(*marathon.show(self.path.removeprefix("/v2/apps/")))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    marathon.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield marathon
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
