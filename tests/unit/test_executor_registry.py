"""A push counts only with a digest and without an error, and a stop hangs up on the engine."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import RegistryAuth
from builder_framework.redact import Secret
from builder_framework.validate import image_reference
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.registry import LoadedImage, Registry
from tests.unit.waiting import until

IMAGE = image_reference("registry.example:5000/app:1")
DIGEST = "sha256:" + "a" * 64
GOOD: list[dict[str, Any]] = [
    {"status": "The push refers to repository [registry.example:5000/app]"},
    {"status": "Pushing", "progressDetail": {"current": 1, "total": 2}, "id": "55e3"},
    {"status": "Pushed", "progressDetail": {}, "id": "55e3"},
    {"status": f"1: digest: {DIGEST} size: 891"},
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self._answer(self.server.version_status, {"ApiVersion": "1.44", "message": "x"})
        elif self.path.endswith("/images/registry.example:5000/app:1/json"):
            self._answer(200, {"Id": DIGEST, "Size": 1234, "RootFS": {"Layers": ["a", "b"]}})
        else:
            self._answer(404, {"message": "No such image"})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self._answer(self.server.delete_status, {"message": "no"})

    def do_POST(self) -> None:
        engine = self.server
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        engine.pushes.append(self.path)
        if self.path.partition("?")[0].endswith("/tag"):
            self._answer(201, {})
            return
        engine.auth = json.loads(base64.urlsafe_b64decode(self.headers["X-Registry-Auth"]))
        if engine.push_status != 200:
            self._answer(engine.push_status, {"message": "refused by the engine"})
            return
        engine.before_answer()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in engine.events:
            data = json.dumps(event).encode() + b"\r\n"
            self._write(b"%x\r\n%s\r\n" % (len(data), data))
        while engine.endless:
            time.sleep(0.02)
            if not self._write(b"2\r\n\r\n\r\n"):
                engine.hung_up.set()
                break
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
        except OSError:
            return False
        return True

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None:
        pass


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    events: list[dict[str, Any]] = GOOD
    endless = False
    push_status = 200
    version_status = 200
    delete_status = 200
    auth: Any = None
    before_answer: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.pushes: list[str] = []
        self.deleted: list[str] = []
        self.hung_up = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(tmp_path / "docker.sock") as running:
        yield running
        running.endless = False
        running.shutdown()


@pytest.fixture
def registry(engine: FakeEngine, tmp_path: Path) -> Registry:
    return Registry(f"unix://{tmp_path}/docker.sock")


def push(registry: Registry, auth: RegistryAuth | None = None) -> tuple[str, list[str]]:
    said: list[str] = []
    return registry.push(IMAGE, auth, CancelToken(), said.append), said


def test_a_good_push(registry: Registry, engine: FakeEngine) -> None:
    pushed, said = push(registry, RegistryAuth("pusher", Secret("s3cret")))
    assert pushed == DIGEST
    assert engine.auth == {"username": "pusher", "password": "s3cret"}
    assert "/images/registry.example:5000/app/push?tag=1" in engine.pushes[0]
    assert "55e3: Pushed" in said
    assert not any("Pushing" in line for line in said)


def test_no_credentials_are_no_credentials(
    registry: Registry, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those in the files of whoever runs the executor."""
    login = base64.b64encode(b"somebody:else").decode()
    config = {"auths": {"registry.example:5000": {"auth": login}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    push(registry)
    assert engine.auth == {}


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], Reason.PUSH_FAILED),
        (GOOD[:3], Reason.PUSH_FAILED),
        ([*GOOD, {"errorDetail": {"message": "EOF"}, "error": "EOF"}], Reason.PUSH_FAILED),
        ([{"error": "denied: requested access to the resource is denied"}], Reason.PUSH_DENIED),
        ([{"errorDetail": {"message": "unauthorized"}}, *GOOD], Reason.PUSH_DENIED),
    ],
)
def test_a_failed_push(
    registry: Registry, engine: FakeEngine, events: list[dict[str, Any]], reason: Reason
) -> None:
    engine.events = events
    with pytest.raises(BuildFailure) as caught:
        push(registry)
    assert caught.value.reason is reason
    assert str(IMAGE) in caught.value.message


def test_a_push_that_the_engine_refuses(registry: Registry, engine: FakeEngine) -> None:
    engine.push_status = 500
    with pytest.raises(BuildFailure, match="refused by the engine") as caught:
        push(registry)
    assert caught.value.reason is Reason.PUSH_FAILED


def test_a_stop_hangs_up(registry: Registry, engine: FakeEngine) -> None:
    """Only then does an engine give up its push."""
    engine.endless = True
    engine.events = GOOD[:2]
    token = CancelToken()
    timer = threading.Timer(0.4, token.cancel, (Stop.KILL,))
    timer.start()
    with pytest.raises(Stopped):
        registry.push(IMAGE, None, token, lambda _: None)
    timer.join()
    assert engine.hung_up.wait(5)


def test_a_stop_hangs_up_on_an_engine_that_has_not_begun_to_answer(
    registry: Registry, engine: FakeEngine
) -> None:
    engine.endless = True
    token = CancelToken()
    engine.before_answer = lambda: token.cancel(Stop.KILL)
    with pytest.raises(Stopped):
        registry.push(IMAGE, None, token, lambda _: None)
    assert engine.hung_up.wait(10)


def test_the_image_in_the_engine(registry: Registry) -> None:
    assert registry.inspect(IMAGE) == LoadedImage(DIGEST, 1234, 2)
    with pytest.raises(BuildFailure) as caught:
        registry.inspect(image_reference("other:1"))
    assert caught.value.reason is Reason.ENGINE_FAILED


def test_a_push_without_progress_is_hung_up(engine: FakeEngine, tmp_path: Path) -> None:
    """Bytes alone are no progress: this engine says the same all the time."""
    engine.endless = True
    engine.events = GOOD[:2]
    with pytest.raises(BuildFailure, match="no progress") as caught:
        push(Registry(f"unix://{tmp_path}/docker.sock", silence=0.3))
    assert (caught.value.reason, caught.value.transient) == (Reason.PUSH_FAILED, True)
    assert engine.hung_up.wait(5)


def test_a_name_for_the_engine(registry: Registry, engine: FakeEngine) -> None:
    registry.tag(IMAGE, image_reference("registry.example:5000/app:builder-staging"))
    assert "repo=registry.example%3A5000%2Fapp" in engine.pushes[0]
    assert "tag=builder-staging" in engine.pushes[0]


@pytest.mark.parametrize("status", [200, 404, 409, 500])
def test_forgetting_never_fails(registry: Registry, engine: FakeEngine, status: int) -> None:
    engine.delete_status = status
    registry.forget(IMAGE)
    assert "registry.example:5000/app:1" in engine.deleted[0]


def test_without_a_working_engine(registry: Registry, engine: FakeEngine) -> None:
    engine.version_status = 500
    registry.forget(IMAGE)
    with pytest.raises(BuildFailure) as caught:
        push(registry)
    assert caught.value.reason is Reason.ENGINE_FAILED


def test_threads_do_not_pile_up(registry: Registry) -> None:
    before = threading.active_count()
    for _ in range(5):
        push(registry)
    until(lambda: threading.active_count() <= before + 1)
