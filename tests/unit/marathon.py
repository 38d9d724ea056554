"""A Marathon as far as its API is used here: apps, deployments, and what goes wrong with them.

After its REST API of version 1.5 and later (docs/docs/rest-api/public/api of mesosphere/marathon,
and `AppsResource`, `DeploymentsResource`, `MarathonExceptionMapper` where that does not say):

- `PUT /v2/apps/ID` changes what the body names and leaves the rest (`partialUpdate`), but a
  `container` replaces the old one whole. It starts a deployment: 201 for a new app, 200 for one
  that is there. While another deployment changes the app: 409 that names it, unless `force=true`.
  What the schema does not know is 422.
- `GET /v2/deployments` lists those that go on; one that is over is gone, whatever came of it.
- `DELETE /v2/deployments/ID` takes its place with a deployment that restores the apps as they were:
  200 with the new id; 404 when it does not go on. With `force=true` it only ends: 202.
- `GET /v2/apps/ID` shows the definition, defaults filled in, with how its tasks are.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
Answer = tuple[int, Json | list[Json] | None]

# types/app.raml, `App`; types/appContainer.raml, `Container` and `DockerContainer`.
APP_FIELDS = frozenset(
    {"id", "acceptedResourceRoles", "args", "backoffFactor", "backoffSeconds", "check", "cmd"}
    | {"constraints", "container", "cpus", "dependencies", "disk", "env", "executor", "fetch"}
    | {"executorResources", "gpus", "healthChecks", "instances", "ipAddress", "killSelection"}
    | {"labels", "maxLaunchDelaySeconds", "mem", "networks", "portDefinitions", "ports"}
    | {"readinessChecks", "requirePorts", "residency", "resourceLimits", "role", "secrets"}
    | {"taskKillGracePeriodSeconds", "tty", "unreachableStrategy", "upgradeStrategy", "uris"}
    | {"user", "version", "versionInfo"}
)
CONTAINER_FIELDS = frozenset({"type", "docker", "linuxInfo", "volumes", "portMappings"})
DOCKER_FIELDS = frozenset(
    {"credential", "pullConfig", "forcePullImage", "image", "network", "parameters"}
    | {"portMappings", "privileged"}
)
READ_ONLY = frozenset({"version", "versionInfo", "tasks", "deployments", "lastTaskFailure"})


@dataclass
class Deployment:
    """One that goes on. `left`: looks until it is over, None: never. `before`: the app's old
    definition and version, None of a new one.
    """

    id: str
    app: str
    version: str
    left: int | None
    before: tuple[Json, str] | None = None

    def shown(self) -> Json:
        """`DeploymentStepInfo`."""
        action = {"action": "RestartApplication", "app": self.app}
        return {
            "id": self.id,
            "version": self.version,
            "affectedApps": [self.app],
            "affectedPods": [],
            "steps": [{"actions": [action]}],
            "currentActions": [{**action, "readinessCheckResults": []}],
            "currentStep": 1,
            "totalSteps": 1,
        }


@dataclass
class Marathon:
    """`locked`: how many requests are refused with 409 first; `takes`: looks until a deployment is
    over, None: never; `takes_back`: likewise of one that restores; `healthy`: whether its tasks
    are, then; `login`: (user, password) that it wants; `broken`: status of every answer.
    """

    locked: int = 0
    takes: int | None = 2
    takes_back: int | None = 1
    healthy: bool = True
    login: tuple[str, str] | None = None
    broken: int | None = None
    apps: dict[str, Json] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""
    _ticks: int = 0

    def has(self, app_id: str, image: str, **fields: Any) -> None:
        """There is such an app, and it runs."""
        docker = {"image": image, "forcePullImage": False, "parameters": [], "privileged": False}
        self.apps[app_id] = {
            "id": app_id,
            "instances": 2,
            "container": {"type": "DOCKER", "docker": docker, "volumes": [], "portMappings": []},
            "healthChecks": [{"protocol": "MESOS_HTTP", "path": "/"}],
            **fields,
        }
        self.versions[app_id] = self._now()

    def image(self, app_id: str) -> str:
        """What it runs, or is to run."""
        image: str = self.apps[app_id]["container"]["docker"]["image"]
        return image

    def puts(self, app_id: str) -> list[Json]:
        """Bodies that were put there, refused ones too."""
        wanted = f"/v2/apps{app_id}"
        return [body for method, path, body in self.requests if (method, path) == ("PUT", wanted)]

    def put(self, app_id: str, app: Json, *, force: bool = False) -> Answer:
        if problems := _problems(app):
            return 422, {"message": "Object is not valid", "details": problems}
        others = [each for each in self.deployments.values() if each.app == app_id]
        if (self.locked > 0 or others) and not force:
            self.locked = max(0, self.locked - 1)
            locked = "App is locked by one or more deployments. Override with '?force=true'."
            return 409, {"message": locked, "deployments": [{"id": each.id} for each in others]}
        for each in others:
            del self.deployments[each.id]
        old = self.apps.get(app_id)
        before = None if old is None else (old, self.versions[app_id])
        told = {name: value for name, value in app.items() if name not in READ_ONLY}
        made = {**(old or {}), **copy.deepcopy(told)}
        left = 0 if made == old else self.takes
        started = self._start(app_id, made, left, before)
        return 201 if old is None else 200, started

    def revert(self, deployment_id: str, *, force: bool = False) -> Answer:
        found = self.deployments.pop(deployment_id, None)
        if found is None:
            return 404, {"message": f"DeploymentPlan {deployment_id} does not exist"}
        if force:
            return 202, None
        assert found.before is not None  # nobody here undoes a new app
        return 200, self._start(found.app, found.before[0], self.takes_back, found.before)

    def going_on(self) -> list[Json]:
        shown = [each.shown() for each in self.deployments.values()]
        for each in list(self.deployments.values()):
            if each.left is not None:
                each.left -= 1
                if each.left <= 0:
                    del self.deployments[each.id]
        return shown

    def show(self, app_id: str) -> Answer:
        if app_id not in self.apps:
            return 404, {"message": f"App '{app_id}' does not exist"}
        app, version = self.apps[app_id], self.versions[app_id]
        changing = [each.id for each in self.deployments.values() if each.app == app_id]
        good = app["instances"] if self.healthy and not changing else 0
        failure = {"appId": app_id, "state": "TASK_FAILED", "message": "exited with 1"}
        return 200, {
            "app": {
                **app,
                "version": version,
                "versionInfo": {"lastScalingAt": version, "lastConfigChangeAt": version},
                "tasksStaged": 0,
                "tasksRunning": app["instances"],
                "tasksHealthy": good,
                "tasksUnhealthy": app["instances"] - good,
                "deployments": [{"id": each} for each in changing],
                "lastTaskFailure": {**failure, "version": version},
            }
        }

    def answer(self, method: str, target: str, body: Any) -> Answer:
        """To any request."""
        url = urlsplit(target)
        path = unquote(url.path).replace("//", "/")
        force = parse_qs(url.query).get("force") == ["true"]
        self.requests.append((method, path + ("?force" if force else ""), body))
        if self.broken is not None:
            return self.broken, {"message": "out of order"}
        match method:
            case "PUT":
                return self.put(path.removeprefix("/v2/apps"), body, force=force)
            case "DELETE":
                return self.revert(path.removeprefix("/v2/deployments/"), force=force)
            case _ if path == "/v2/deployments":
                return 200, self.going_on()
            case _:
                return self.show(path.removeprefix("/v2/apps"))

    def _start(
        self, app_id: str, app: Json, left: int | None, before: tuple[Json, str] | None
    ) -> Json:
        deployment = Deployment(str(uuid.uuid4()), app_id, self._now(), left, before)
        if left != 0:
            self.deployments[deployment.id] = deployment
        if before is None or app != before[0] or left != 0:
            self.versions[app_id] = deployment.version
        self.apps[app_id] = app
        return {"version": deployment.version, "deploymentId": deployment.id}

    def _now(self) -> str:
        self._ticks += 1
        return f"2026-01-02T03:04:05.{self._ticks:03d}Z"


def _problems(app: Json) -> list[Json]:
    """What the schema has against it, as `details` of an error."""
    found = [(f"/{name}", "is not allowed") for name in app.keys() - APP_FIELDS]
    container = app.get("container")
    if container is not None:
        found += [(f"/container/{name}", "?") for name in container.keys() - CONTAINER_FIELDS]
        docker = container.get("docker") or {}
        found += [(f"/container/docker/{name}", "?") for name in docker.keys() - DOCKER_FIELDS]
        if not docker.get("image"):
            found.append(("/container/docker/image", "must not be empty"))
    return [{"path": path, "errors": [error]} for path, error in found]


@contextmanager
def serving(marathon: Marathon) -> Iterator[Marathon]:
    """It listens on loopback inside the block; `url` says where."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with one_at_a_time:
                status, body = self._judge(json.loads(raw) if raw else None)
            shown = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(shown)))
            self.end_headers()
            self.wfile.write(shown)

        def _judge(self, body: Any) -> Answer:
            if marathon.login is not None:
                expected = base64.b64encode(":".join(marathon.login).encode()).decode()
                if self.headers["Authorization"] != f"Basic {expected}":
                    return 401, {"message": "Invalid username or password."}
            return marathon.answer(self.command, self.path, body)

        def do_GET(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

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
