"""The Docker engine that builds: one of the executor's own, or the agent's through its socket."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from builder_framework.protocol import EngineMode, EngineSpec, Reason
from builder_framework.redact import Secret
from executor import caches, dns, host, process, rootless, sweep
from executor.caches import COLD, CacheKey, Lease
from executor.cancel import CancelToken
from executor.disk import DiskWatch
from executor.failure import BuildFailure
from executor.surroundings import network_settings

logger = logging.getLogger(__name__)

READY_WAIT = 60.0
"""Seconds from dockerd's start to its first answer; a cold one needs 2 to 5."""

STEP_LOG = 8 * 1024 * 1024
"""Bytes of one step's output that BuildKit passes on; it holds several copies of it in memory. By
default it also drops what comes faster than 200 KiB/s, which often is the error."""

ENDING = 2.0
"""Seconds that an engine has to end before another one starts."""

REMOVAL = 30.0
"""Seconds in which the data of a build without a cache goes; else the next executor does it."""

_TICK = 0.02

_SHORTEST = 6
"""Characters of a secret's line that is looked for: shorter ones are anywhere."""


class Engine(Protocol):
    """Something that answers Docker's API at `address` (`unix:///…`)."""

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        ...

    @property
    def alive(self) -> bool:
        """False once it is known to have ended."""
        ...

    @property
    def private(self) -> bool:
        """Whether it is ours to end."""
        ...

    @property
    def data_root(self) -> Path | None:
        """Where it writes, once it may; None for one that is not ours."""
        ...

    def wait_ready(self, token: CancelToken, say: Callable[[str], None]) -> float:
        """Wait until it answers. Returns the seconds its start took (0: it ran already).

        `say` hears what is waited for. Raises BuildFailure(engine_failed), Stopped.
        """
        ...

    def protect(self, secrets: Iterable[Secret]) -> None:
        """What it may have seen of a build, and must not remember."""
        ...

    def welcome(self, key: CacheKey, reach: Iterable[str]) -> None:
        """Another build comes to it while it runs."""
        ...

    def tidy(self) -> None:
        """Bring its cache below the mark, if it is private. What builds use meanwhile stays."""
        ...

    def stop(self, patience: float) -> None:
        """End it if it is private: TERM, after `patience` seconds KILL."""
        ...


def answers(path: Path, timeout: float = 2.0) -> bool:
    """Whether a Docker engine answers `GET /_ping` on this socket."""
    try:
        sweep.call(path, "GET", "/_ping", timeout)
    except sweep.EngineError:
        return False
    return True


class SocketEngine:
    """The agent's own engine, whose socket is mounted into the container."""

    private = False
    alive = True
    data_root = None

    def __init__(self, path: Path = Path("/var/run/docker.sock")) -> None:
        self._path = path
        self.address = f"unix://{path}"

    def wait_ready(self, token: CancelToken, say: Callable[[str], None]) -> float:
        """See Engine; this one runs, or something is wrong with the set-up."""
        token.check()
        if not answers(self._path):
            say(f"No Docker engine answers at {self._path}")
            raise BuildFailure(
                Reason.ENGINE_FAILED,
                f"no Docker engine answers at {self._path}; is the agent's socket mounted there?",
            )
        try:
            sweep.clear_dead_attempts(self._path)
        except sweep.EngineError as error:
            logger.warning("could not clear away what dead builds left: %s", error)
        return 0.0

    def protect(self, secrets: Iterable[Secret]) -> None:
        """Its memory is its owner's."""

    def welcome(self, key: CacheKey, reach: Iterable[str]) -> None:
        """Its network and its cache are its owner's."""

    def tidy(self) -> None:
        """Its cache is its owner's."""

    def stop(self, patience: float) -> None:
        """Not ours."""


class NestedEngine:
    """A dockerd of the executor's own, started once and kept over its tasks.

    One thread starts it, watches it and reaps it; the kernel kills dockerd with that thread.
    """

    private = True

    def __init__(
        self,
        spec: EngineSpec,
        sandbox: Path,
        key: CacheKey = COLD,
        *,
        root: Path = caches.ROOT,
        run_dir: Path = Path("/run/builder-engine"),
        reach: Iterable[str] = (),
    ) -> None:
        self._spec = spec
        self._key = key
        self._root = root
        self._lease: Lease | None = None
        self._needles: set[bytes] = set()
        self._rootless = spec.mode is EngineMode.ROOTLESS
        self._run_dir = run_dir = rootless.RUN_DIR if self._rootless else run_dir
        self._socket = run_dir / "docker.sock"
        self._log = sandbox / "dockerd.log"
        self._reach = tuple(reach)
        self._state_changed = threading.Condition()
        self._note: str | None = None
        self._failure: str | None = None
        self._ready = False
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._took = 0.0
        self._bridge = ""
        self._told = False
        self.address = f"unix://{self._socket}"
        self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it runs or is about to."""
        return self._failure is None and not self._stopping.is_set()

    @property
    def data_root(self) -> Path | None:
        """See Engine."""
        return self._lease.data_root if self._lease is not None else None

    def wait_ready(self, token: CancelToken, say: Callable[[str], None]) -> float:
        """See Engine."""
        was_ready = self._ready
        said: str | None = None
        while True:
            with self._state_changed:
                if not self._ready and self._failure is None:
                    self._state_changed.wait(0.1)
                note, failure, ready = self._note, self._failure, self._ready
            if note is not None and note != said:
                said = note
                say(note)
            if failure is not None:
                raise BuildFailure(Reason.ENGINE_FAILED, failure)
            if ready:
                # It may have started while the build that it started for was cloned.
                others, self._told = was_ready and self._told, True
                return 0.0 if others else self._took
            token.check()

    def protect(self, secrets: Iterable[Secret]) -> None:
        """See Engine."""
        lines = (line for secret in secrets for line in secret.reveal().splitlines())
        self._needles |= {line.encode() for line in lines if len(line) >= _SHORTEST}

    def welcome(self, key: CacheKey, reach: Iterable[str]) -> None:
        """See Engine. What was there for the start is done for those that come later."""
        lease = self._lease
        if lease is not None:
            lease.remember(key.source)
        caches.make_room(self._root)
        hidden = host.hidden(reach, self._bridge) if self._bridge else None
        if hidden is not None:
            logger.warning("%s is in the network of the engine, %s", hidden, self._bridge)

    def tidy(self) -> None:
        """See Engine. Best effort: the next engine here begins with the same."""
        if self._lease is None:
            return
        try:
            sweep.trim_cache(self._socket, self._lease.folder, self._spec.cache_keep_mb)
        except (sweep.EngineError, OSError) as error:
            logger.warning("could not trim the build cache: %s", error)

    def stop(self, patience: float) -> None:
        """See Engine. Returns when it is gone and its data root is free."""
        self._stopping.set()
        if self._lease is not None:
            self._lease.ending()
        running = self._process
        if running is not None and not process.has_exited(running):
            process.signal_group(running, signal.SIGTERM if patience > 0 else signal.SIGKILL)
            self._thread.join(max(patience, 0.0))
            if not process.has_exited(running):
                logger.warning("dockerd did not end in %.1f s: killing it", patience)
                process.signal_group(running, signal.SIGKILL)
        self._thread.join(REMOVAL if patience > 0 else 2.0)

    def _supervise(self) -> None:
        try:
            with self._leased() as lease:
                if lease is not None and not self._stopping.is_set():
                    self._run(lease)
        except (OSError, LookupError, BuildFailure) as error:
            self._change(failure=f"the Docker engine did not start: {error}")
        except Exception:
            logger.exception("the engine's thread failed")
            self._change(failure="the Docker engine did not start: see the executor's log")

    @contextlib.contextmanager
    def _leased(self) -> Iterator[Lease | None]:
        """A directory of the cache while the engine runs; the lease ends with this process."""
        self._root.mkdir(parents=True, exist_ok=True)
        caches.make_room(self._root)
        self._lease = caches.acquire(self._key, lambda: not self._stopping.is_set(), self._root)
        try:
            yield self._lease
        finally:
            if self._lease is not None:
                gone = self._lease.scrub(self._needles)
                if gone:
                    logger.info("%d records of steps that printed a secret are gone", gone)
                if not self._lease.lasting:
                    host.unmount(self._lease.folder)
                self._lease.release()

    def _run(self, lease: Lease) -> None:
        """From dockerd's start to its end."""
        self._change(note="Starting the Docker engine")
        if self._rootless:
            rootless.prepare(lease.data_root)
        else:
            host.prepare_cgroups()
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)  # of one that was killed
        taken = [*host.routed_networks(), *host.nameservers(), *host.addresses(self._reach)]
        settings = self._run_dir / "daemon.json"
        self._bridge = host.bridge_address(taken)
        # Without a network of its own it reaches what the executor does.
        upstream = None if self._rootless else dns.loopback_server()
        host.write_daemon_json(settings, self._spec, self._bridge, upstream is not None)
        with contextlib.ExitStack() as stack:
            if upstream is not None:
                stack.enter_context(dns.relay(self._bridge.partition("/")[0], upstream))
            self._serve(lease, settings)

    def _serve(self, lease: Lease, settings: Path) -> None:
        began = time.monotonic()
        command = [
            "dockerd",
            f"--config-file={settings}",
            f"--data-root={lease.data_root}",
            f"--exec-root={self._run_dir / 'exec'}",
            f"--pidfile={self._run_dir / 'docker.pid'}",
            f"--host={self.address}",
        ]
        with self._log.open("ab") as log:
            dockerd = self._process = process.start(
                rootless.command(command) if self._rootless else command,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(self._run_dir),
                    "BUILDKIT_STEP_LOG_MAX_SIZE": str(STEP_LOG),
                    "BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
                    **network_settings(),
                    **(rootless.environment() if self._rootless else {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if self._stopping.is_set():  # asked to stop just before there was anything to stop
            process.signal_group(dockerd, signal.SIGKILL)
        self._await_answer(dockerd, began)
        code = process.reap(dockerd)
        self._change(failure=f"the Docker engine ended with {code}: {self._tail()}")

    def _await_answer(self, dockerd: subprocess.Popen[bytes], began: float) -> None:
        while not process.has_exited(dockerd):
            if self._socket.exists() and answers(self._socket):
                self._clear()
                self._took = time.monotonic() - began
                self._change(ready=True)
                return
            if time.monotonic() - began > READY_WAIT:
                logger.error("dockerd did not answer within %.0f s", READY_WAIT)
                process.signal_group(dockerd, signal.SIGKILL)
                return
            time.sleep(_TICK)

    def _clear(self) -> None:
        """Whatever is here was left by executors that are gone: the lock says so."""
        try:
            sweep.clear_engine(self._socket)
        except sweep.EngineError as error:
            logger.warning("could not remove what dead builds left: %s", error)
        self.tidy()

    def _change(
        self, *, note: str | None = None, failure: str | None = None, ready: bool = False
    ) -> None:
        with self._state_changed:
            self._note = note or self._note
            self._failure = failure or self._failure
            self._ready = ready or self._ready
            self._state_changed.notify_all()

    def _tail(self, lines: int = 5, size: int = 4096) -> str:
        """The end of dockerd's log, which says why it ended."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - size))
            text = file.read().decode(errors="replace")
            return " | ".join(text.splitlines()[-lines:])
        return "its log cannot be read"


class Engines:
    """The engine of this executor: started with the first build, shared by all of them."""

    def __init__(self, sandbox: Path) -> None:
        self.disk = DiskWatch()
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._settings: tuple[EngineSpec, str] | None = None
        self._engine: Engine | None = None
        self._closed = False
        self._users = 0
        self._spoiled: Engine | None = None

    @contextlib.contextmanager
    def use(
        self, spec: EngineSpec, key: CacheKey = COLD, reach: Iterable[str] = ()
    ) -> Iterator[Engine]:
        """The engine for `spec`, starting if it does not run; `wait_ready` before using it.

        `key`: whose cache it has. `reach`: hosts that the build talks to. Raises
        BuildFailure(engine_failed) where another build of this executor needs one with other
        settings, or of another trust domain.
        """
        with self._lock:
            engine = self._engine_for(spec, key, reach)
            self._users += 1
        try:
            yield engine
        finally:
            with self._lock:
                self._users -= 1
                if engine is self._spoiled and not self._users:
                    engine.stop(ENDING)

    def spoil(self, engine: Engine) -> None:
        """It heard a secret: what it remembers is cleared away once nobody uses it any more."""
        with self._lock:
            if engine.private:
                self._spoiled = engine

    def abandon(self, engine: Engine) -> None:
        """Kill an engine of ours that nobody else uses, with whatever it is doing."""
        with self._lock:
            alone = self._users <= 1
        if engine.private and alone:
            engine.stop(0)

    def _engine_for(self, spec: EngineSpec, key: CacheKey, reach: Iterable[str]) -> Engine:
        if self._closed:
            raise BuildFailure(Reason.ENGINE_FAILED, "the executor is about to end")
        if self._engine is not None and self._engine.alive:
            if (spec, key.domain) == self._settings:
                self._engine.welcome(key, reach)
                return self._engine
            if self._users:
                raise BuildFailure(
                    Reason.ENGINE_FAILED,
                    "this executor's engine runs with other settings; use a new executor",
                )
        if self._engine is not None:
            self._engine.stop(ENDING)
        self._settings = (spec, key.domain)
        self._engine = (
            SocketEngine()
            if spec.mode is EngineMode.SOCKET
            else NestedEngine(spec, self._sandbox, key, reach=reach)
        )
        return self._engine

    def stop(self, patience: float, *, tidy: bool = False) -> None:
        """End the engine, if it is ours, for good; 0 kills it at once. `tidy` it before."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            if tidy and engine.alive:
                engine.tidy()
            engine.stop(patience)
