"""Faults of the cluster's parts. Each is injected, held for some seconds, and healed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from devcluster import Cluster
from devcluster.daemon import Service
from devcluster.engine import Engine
from devcluster.errors import ClusterError
from tests.chaos.proxy import Proxy
from tests.integration.harness import Framework

_WAIT_SECONDS = 15.0


class Fault(Protocol):
    """`name` says what and to whom. `longest`: seconds after which it must be healed."""

    @property
    def name(self) -> str: ...
    @property
    def longest(self) -> float: ...
    def inject(self, rng: random.Random) -> str:
        """Make it happen; what was hit, for the log. Choices come from `rng` only."""
        ...

    def heal(self) -> None:
        """Make it good again. Does nothing when nothing was injected."""
        ...


class Part(Protocol):
    """What can be killed and frozen: devcluster's services are such parts as they are."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Supervised(Part, Protocol):
    """A part that somebody starts again when it ends by itself, as in every real cluster."""

    deaths: list[str]

    def supervise(self) -> None: ...


@dataclass
class Crash:
    """SIGKILL to one of the parts; healed by a start."""

    what: str
    parts: Sequence[Part]
    longest: float = 8.0
    _hit: list[Part] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.what} ended"

    def inject(self, rng: random.Random) -> str:
        number = rng.randrange(len(self.parts))
        self._hit.append(self.parts[number])
        self.parts[number].kill()
        return f"{self.what} {number + 1}"

    def heal(self) -> None:
        while self._hit:
            self._hit[-1].start()
            self._hit.pop()


@dataclass
class Freeze:
    """SIGSTOP to one of the parts; healed by SIGCONT."""

    what: str
    parts: Sequence[Part]
    longest: float = 8.0
    _hit: list[Part] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.what} frozen"

    def inject(self, rng: random.Random) -> str:
        number = rng.randrange(len(self.parts))
        self._hit.append(self.parts[number])
        self.parts[number].pause()
        return f"{self.what} {number + 1}"

    def heal(self) -> None:
        while self._hit:
            self._hit.pop().resume()


@dataclass
class Silence:
    """The line between framework and master carries nothing; what was sent arrives afterwards."""

    proxy: Proxy
    longest: float = 8.0
    name: str = "line to the master silent"

    def inject(self, _rng: random.Random) -> str:
        self.proxy.silence()
        return self.proxy.address

    def heal(self) -> None:
        self.proxy.flow()


@dataclass
class Reset:
    """Every connection between framework and master breaks; new ones are fine."""

    proxy: Proxy
    longest: float = 1.0
    name: str = "line to the master reset"

    def inject(self, _rng: random.Random) -> str:
        self.proxy.reset()
        return self.proxy.address

    def heal(self) -> None:
        """It is over at once."""


@dataclass
class CutOff:
    """What containers send to a port of the gateway is dropped: neither answer nor reset."""

    cluster: Cluster
    what: str
    ports: Sequence[int]
    longest: float = 8.0
    _hit: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"executors cut off from {self.what}"

    def inject(self, rng: random.Random) -> str:
        port = rng.choice(list(self.ports))
        self._hit.append(port)
        self._rule("-I", port)
        return f"port {port}"

    def heal(self) -> None:
        while self._hit:
            self._rule("-D", self._hit[-1])
            self._hit.pop()

    def _rule(self, action: str, port: int) -> None:
        bridge = self.cluster.config.bridge
        # With the comment by which `make down` finds rules that a killed run has left.
        match = ["-i", bridge, "-p", "tcp", "--dport", str(port)]
        match += ["-m", "comment", "--comment", f"builder-framework {bridge}", "-j", "DROP"]
        subprocess.run(["iptables", "-w", action, "INPUT", *match], check=True)


@dataclass
class ExecutorFault:
    """One running container of the engine; all of them are executors."""

    engine: Engine
    what: str
    hit: Callable[[Engine, str], None]
    healed: Callable[[Engine, str], None] = lambda _engine, _container: None
    longest: float = 6.0
    _hit: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"executor {self.what}"

    def inject(self, rng: random.Random) -> str:
        running = self._running()
        if not running:
            return "none was there"
        container = rng.choice(running)
        self._hit.append(container)
        # It may end by itself meanwhile.
        with contextlib.suppress(ClusterError, OSError):
            self.hit(self.engine, container)
        return container

    def _running(self) -> list[str]:
        """Waits a little for one: between two builds there may be none."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (running := self.engine.docker("ps", "--quiet").split()):
            if time.monotonic() > deadline:
                return []
            time.sleep(0.2)
        return sorted(running)

    def heal(self) -> None:
        while self._hit:
            with contextlib.suppress(ClusterError):
                self.healed(self.engine, self._hit[-1])
            self._hit.pop()


def kill_container(engine: Engine, container: str) -> None:
    engine.docker("kill", container)


def freeze_container(engine: Engine, container: str) -> None:
    engine.docker("pause", container)


def thaw_container(engine: Engine, container: str) -> None:
    engine.docker("unpause", container)


def kill_executor_process(engine: Engine, container: str) -> None:
    """The executor itself dies; the container's init and what the build started do not."""
    init = engine.docker("inspect", "--format", "{{.State.Pid}}", container).strip()
    children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
    if children:
        os.kill(int(children[0]), signal.SIGKILL)


# -- parts, and those who start them again -------------------------------------------------------


@dataclass
class ServicePart:
    """A service of devcluster; systemd's role, to start it again, is played here."""

    service: Service
    deaths: list[str] = field(default_factory=list)
    _down: bool = False

    def kill(self) -> None:
        self._down = True
        self.service.kill()

    def start(self) -> None:
        self.service.start()
        self._down = False

    def supervise(self) -> None:
        if not self._down and self.service.daemon.pid is None:
            self.deaths.append(self.service.daemon.last_words())
            self.service.spawn()

    def pause(self) -> None:
        self.service.pause()

    def resume(self) -> None:
        self.service.resume()


@dataclass
class FrameworkPart:
    """The framework as a part; Marathon's role, to start it again, is the healer's."""

    framework: Framework
    deaths: list[str] = field(default_factory=list)
    _down: bool = False

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, by: signal.Signals) -> None:
        """A framework that was told to end and does not is a death of its own kind."""
        self._down = True
        try:
            self.framework.end(by)
        except subprocess.TimeoutExpired:
            self.deaths.append(f"{by.name} was not obeyed")
            self.framework.end(signal.SIGKILL)

    def start(self) -> None:
        self.framework.spawn()
        self._down = False

    def supervise(self) -> None:
        """Start it again when it ended by itself, as Marathon would; its exit code is kept."""
        process = self.framework.process
        if not self._down and process is not None and process.poll() is not None:
            self.deaths.append(f"exit code {process.returncode}")
            self.framework.spawn()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.framework.process is not None:
            self.framework.process.send_signal(number)


@dataclass
class Redeployed:
    """The same, told to end as Marathon tells it."""

    part: FrameworkPart

    def kill(self) -> None:
        self.part.end(signal.SIGTERM)

    def start(self) -> None:
        self.part.start()

    def pause(self) -> None:
        self.part.pause()

    def resume(self) -> None:
        self.part.resume()


@dataclass
class EnginePart:
    """The agents' dockerd, without its containerd."""

    engine: Engine

    def kill(self) -> None:
        self.engine.dockerd.kill()

    def start(self) -> None:
        self.engine.start()

    def pause(self) -> None:
        self.engine.dockerd.pause()

    def resume(self) -> None:
        self.engine.dockerd.resume()


def services(cluster: Cluster) -> dict[str, list[Supervised]]:
    """The parts of the cluster but for frameworks and executors, by what they are."""
    found: dict[str, list[Supervised]] = {
        "master": [ServicePart(cluster.master)],
        "agent": [ServicePart(agent) for agent in cluster.agents],
        "registry": [ServicePart(cluster.registry)],
        "git": [ServicePart(cluster.git)],
    }
    for name in ("postgres", "zookeeper"):
        service: Service | None = getattr(cluster, name, None)
        if service is not None:
            found[name] = [ServicePart(service)]
    return found


def all_faults(
    cluster: Cluster,
    frameworks: Sequence[FrameworkPart],
    parts: Mapping[str, Sequence[Supervised]],
    proxy: Proxy,
) -> list[Fault]:
    """Every fault that this cluster can have, in a fixed order."""
    config, engine = cluster.config, cluster.engine
    dockerd = [EnginePart(engine)]
    # The master gives an agent up after 15 s of silence (`pytest_plugin.cluster_config`).
    longest_freeze = {"agent": 20.0}
    return [
        Crash("framework", frameworks),
        Freeze("framework", frameworks, 12.0),
        Crash("redeployed framework", [Redeployed(each) for each in frameworks], 3.0),
        *(Crash(name, part) for name, part in parts.items()),
        *(Freeze(name, part, longest_freeze.get(name, 8.0)) for name, part in parts.items()),
        Crash("dockerd", dockerd),
        Freeze("dockerd", dockerd),
        ExecutorFault(engine, "killed with its container", kill_container),
        ExecutorFault(engine, "killed alone", kill_executor_process),
        ExecutorFault(engine, "frozen", freeze_container, thaw_container, 10.0),
        CutOff(cluster, "their agent", [config.ports.agent1, config.ports.agent2]),
        CutOff(cluster, "the registry", [config.ports.registry]),
        CutOff(cluster, "git", [config.ports.git]),
        Silence(proxy),
        Reset(proxy),
    ]
