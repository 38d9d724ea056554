"""The nested engine: never two on one data root, its death is told, its end takes no time."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder_framework.protocol import EngineMode, EngineSpec, Reason
from executor import engine as engine_module
from executor import host
from executor.caches import COLD, CacheKey
from executor.cancel import CancelToken, Stop, Stopped
from executor.engine import Engines, NestedEngine, SocketEngine
from executor.failure import BuildFailure
from tests.unit.waiting import until

DOCKERD = """\
import http.server, os, signal, socketserver, sys, time
print("level=info msg=starting", flush=True)
mode = open(MODE).read()
if mode == "broken":
    sys.exit("level=fatal msg=no-iptables")
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "slow":
    time.sleep(5)
path = next(a for a in sys.argv if a.startswith("--host=unix://")).removeprefix("--host=unix://")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        with open(MODE + ".calls", "a") as calls:
            print(self.command, self.path, file=calls)
        refused = mode == "refuses" and self.command == "POST"
        self.send_response(500 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.answer(b"[]")
    def do_POST(self):
        self.answer(b'{"SpaceReclaimed": 4194304}')
    def address_string(self):
        return ""
    def log_message(self, *_):
        pass
socketserver.UnixStreamServer(path, Handler).serve_forever()
"""


@pytest.fixture
def mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dockerd that does as the returned file says when it starts."""
    folder, told = tmp_path / "bin", tmp_path / "mode"
    folder.mkdir()
    told.write_text("good")
    dockerd = folder / "dockerd"
    dockerd.write_text(f"#!{sys.executable}\nMODE = {str(told)!r}\n{DOCKERD}")
    dockerd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(host, "prepare_cgroups", lambda: None)
    return told


KEY = CacheKey("ours", "app")

Make = Callable[..., NestedEngine]


@pytest.fixture
def make(tmp_path: Path, mode: Path) -> Iterator[Make]:
    made: list[NestedEngine] = []

    def new(name: str = "a", key: CacheKey = KEY) -> NestedEngine:
        engine = NestedEngine(
            EngineSpec(),
            tmp_path,
            key,
            root=tmp_path / "cache",
            run_dir=tmp_path / name,
        )
        made.append(engine)
        return engine

    yield new
    for engine in made:
        engine.stop(0)


def wait(engine: NestedEngine) -> tuple[float, list[str]]:
    said: list[str] = []
    return engine.wait_ready(CancelToken(), said.append), said


def pid_of(engine: NestedEngine) -> int:
    assert engine._process is not None
    return engine._process.pid


def test_it_starts_once_and_stops(make: Make, tmp_path: Path) -> None:
    engine = make()
    took, said = wait(engine)
    assert took > 0
    assert said == ["Starting the Docker engine"]
    assert wait(engine)[0] == 0.0
    assert engine.address == f"unix://{tmp_path}/a/docker.sock"
    began = time.monotonic()
    engine.stop(5.0)
    assert time.monotonic() - began < 2
    assert not engine.alive
    assert not Path(f"/proc/{pid_of(engine)}").exists()
    assert b"starting" in (tmp_path / "dockerd.log").read_bytes()


def test_who_comes_when_it_has_started_is_told_what_the_start_took(make: Make) -> None:
    """Once: it may have started while that build's sources were fetched."""
    engine = make()
    until(lambda: engine._ready)
    assert wait(engine)[0] > 0
    assert wait(engine)[0] == 0.0


@pytest.mark.parametrize("patience", [0.0, 0.4])
def test_a_stubborn_one_is_killed(make: Make, mode: Path, patience: float) -> None:
    mode.write_text("stubborn")
    engine = make()
    wait(engine)
    began = time.monotonic()
    engine.stop(patience)
    assert time.monotonic() - began < patience + 1
    assert not Path(f"/proc/{pid_of(engine)}").exists()


def test_one_that_does_not_start_says_why(make: Make, mode: Path) -> None:
    mode.write_text("broken")
    engine = make()
    with pytest.raises(BuildFailure) as caught:
        wait(engine)
    assert caught.value.reason is Reason.ENGINE_FAILED
    assert "no-iptables" in caught.value.message
    assert not engine.alive


def test_a_missing_dockerd_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(BuildFailure):
        wait(make())


def test_one_that_dies_is_noticed(make: Make) -> None:
    engine = make()
    wait(engine)
    os.kill(pid_of(engine), 9)
    until(lambda: not engine.alive)
    with pytest.raises(BuildFailure, match="ended with -9"):
        wait(engine)


def test_waiting_for_it_can_be_stopped(make: Make, mode: Path) -> None:
    mode.write_text("slow")
    token = CancelToken()
    timer = threading.Timer(0.3, token.cancel, (Stop.KILL,))
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        make().wait_ready(token, lambda _: None)
    assert time.monotonic() - began < 1
    timer.join()


def test_two_never_share_a_data_root(make: Make) -> None:
    first, second = make("a"), make("b")
    wait(first)
    wait(second)
    assert first.alive
    assert first._lease is not None
    assert second._lease is not None
    assert first._lease.data_root != second._lease.data_root


def test_the_next_one_finds_what_the_last_one_left(make: Make) -> None:
    first = make("a")
    wait(first)
    assert first._lease is not None
    said = first._lease.folder / "state"
    stopping = threading.Thread(target=first.stop, args=(2.0,))
    stopping.start()
    until(lambda: said.exists() and said.read_text() == "ending")
    second = make("b")
    wait(second)
    stopping.join()
    assert second._lease is not None
    assert first._lease.data_root == second._lease.data_root


def test_one_without_a_cache_is_waited_for_until_it_is_gone(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Removing much takes longer than an engine may take to end."""
    engine = make("a", COLD)
    wait(engine)
    assert engine._lease is not None
    (engine._lease.data_root / "blobs").mkdir(parents=True)
    remove = shutil.rmtree

    def slowly(path: Path, *, ignore_errors: bool) -> None:
        time.sleep(1.0)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slowly)
    engine.stop(0.5)
    assert list((tmp_path / "cache" / "none" / "engines").iterdir()) == []
    assert "killing it" not in caplog.text


def test_stopping_one_that_waits_for_the_data_root(make: Make) -> None:
    first = make("a")
    wait(first)
    assert first._lease is not None
    first._lease.ending()
    second = make("b")
    began = time.monotonic()
    second.stop(2.0)
    assert time.monotonic() - began < 1
    assert second._process is None


def test_the_agents_engine_has_to_answer(tmp_path: Path, make: Make) -> None:
    with pytest.raises(BuildFailure, match="no Docker engine answers"):
        SocketEngine(tmp_path / "nothing").wait_ready(CancelToken(), lambda _: None)
    nested = make()
    wait(nested)
    socket = SocketEngine(Path(nested.address.removeprefix("unix://")))
    assert socket.wait_ready(CancelToken(), lambda _: None) == 0.0
    socket.stop(0)
    assert nested.alive


@pytest.fixture
def engines(tmp_path: Path, mode: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    def nested(spec: EngineSpec, sandbox: Path, key: CacheKey, reach: object) -> NestedEngine:
        del reach
        return NestedEngine(spec, sandbox, key, root=tmp_path / "cache", run_dir=tmp_path / "run")

    monkeypatch.setattr(engine_module, "NestedEngine", nested)
    made = Engines(tmp_path)
    yield made
    made.stop(0)


def ready(engines: Engines, spec: EngineSpec) -> engine_module.Engine:
    with engines.use(spec) as engine:
        engine.wait_ready(CancelToken(), lambda _: None)
        return engine


def test_one_engine_for_all_builds(engines: Engines) -> None:
    assert ready(engines, EngineSpec()) is ready(engines, EngineSpec())


def test_one_that_heard_a_secret_ends_with_its_last_build(engines: Engines) -> None:
    """Only without an engine can be removed what it remembers."""
    with engines.use(EngineSpec()) as engine:
        with engines.use(EngineSpec()):
            engine.wait_ready(CancelToken(), lambda _: None)
            engines.spoil(engine)
        assert engine.alive
    assert ready(engines, EngineSpec()) is not engine


def test_it_remembers_every_source_it_built(engines: Engines, tmp_path: Path) -> None:
    for source in ("a", "b"):
        with engines.use(EngineSpec(), CacheKey("ours", source)) as engine:
            engine.wait_ready(CancelToken(), lambda _: None)
    (file,) = tmp_path.glob("cache/ours/engines/*/sources")
    assert json.loads(file.read_text()) == ["b", "a"]


def test_a_dead_one_is_replaced(engines: Engines) -> None:
    first = ready(engines, EngineSpec())
    engines.abandon(first)
    assert not first.alive
    second = ready(engines, EngineSpec())
    assert second.alive
    assert second is not first


def test_one_in_use_is_not_abandoned(engines: Engines) -> None:
    with engines.use(EngineSpec()) as engine, engines.use(EngineSpec()):
        engine.wait_ready(CancelToken(), lambda _: None)
        engines.abandon(engine)
        assert engine.alive


def test_other_settings_need_another_engine(engines: Engines) -> None:
    other = EngineSpec(insecure_registries=("x:1",))
    with engines.use(EngineSpec()) as first:
        with pytest.raises(BuildFailure, match="other settings"), engines.use(other):
            pass
        assert first.alive
    second = ready(engines, other)
    assert second is not first
    assert not first.alive


def test_another_trust_domain_needs_another_engine(engines: Engines) -> None:
    ours, others = CacheKey("ours", "a"), CacheKey("others", "a")
    with engines.use(EngineSpec(), ours) as first:
        with engines.use(EngineSpec(), CacheKey("ours", "b")) as same:
            assert same is first
        with pytest.raises(BuildFailure, match="other settings"):
            engines.use(EngineSpec(), others).__enter__()


def test_nothing_starts_after_the_end(engines: Engines) -> None:
    engine = ready(engines, EngineSpec())
    engines.stop(2.0)
    assert not engine.alive
    with pytest.raises(BuildFailure, match="about to end"), engines.use(EngineSpec()):
        pass


def test_the_mode_decides(engines: Engines) -> None:
    with engines.use(EngineSpec(EngineMode.SOCKET)) as engine:
        assert isinstance(engine, SocketEngine)
        assert not engine.private


def calls(mode: Path) -> list[str]:
    """What the engine was asked beyond whether it is there."""
    asked = mode.with_name("mode.calls").read_text().splitlines()
    return [line.partition("?")[0] for line in asked if "/_ping" not in line]


CLEARED = [
    "GET /containers/json",
    "POST /networks/prune",
    "POST /volumes/prune",
    "POST /images/prune",
    "POST /build/prune",
]


def test_what_dead_executors_left_goes_before_a_build_begins(engines: Engines, mode: Path) -> None:
    ready(engines, EngineSpec())
    assert calls(mode) == CLEARED
    ready(engines, EngineSpec())
    assert calls(mode) == CLEARED


@pytest.mark.parametrize("tidy", [True, False])
def test_the_cache_is_trimmed_at_the_end_when_there_is_time(
    engines: Engines, mode: Path, tidy: bool
) -> None:
    ready(engines, EngineSpec())
    engines.stop(2.0, tidy=tidy)
    assert calls(mode) == CLEARED + ["POST /build/prune"] * tidy


def test_an_engine_that_refuses_to_be_cleared_builds_all_the_same(
    engines: Engines, mode: Path
) -> None:
    mode.write_text("refuses")
    assert ready(engines, EngineSpec()).alive
    engines.stop(2.0, tidy=True)
