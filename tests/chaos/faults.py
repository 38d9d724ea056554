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
from devcluster.engine import Engine
from devcluster.errors import ClusterError
from tests.chaos.parts import EnginePart, FrameworkPart, InRole, Part, Supervised
from tests.chaos.proxy import Proxy

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
class TakenOver:
    """SIGSTOP to the leader until another one leads; awake again it must not act as one."""

    leader: InRole
    trouble: list[str]
    longest: float = 4.0
    name: str = "leader frozen until another leads"
    _hit: bool = False

    def inject(self, _rng: random.Random) -> str:
        self._hit = True
        self.leader.pause()
        if self.leader.wait_for_another():
            return "another leads"
        self.trouble.append("nobody took over from a frozen leader within a minute")
        return "nobody took over"

    def heal(self) -> None:
        if self._hit:
            self.leader.resume()
        self._hit = False


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


def framework_faults(frameworks: Sequence[FrameworkPart], trouble: list[str]) -> list[Fault]:
    """Those of whoever leads and whoever follows at the time. `trouble` takes what goes wrong."""
    found: list[Fault] = [TakenOver(InRole(frameworks, "leader"), trouble)]
    for role in ("leader", "follower"):
        redeployed = InRole(frameworks, role, signal.SIGTERM)
        found += [
            Crash(role, [InRole(frameworks, role)]),
            Freeze(role, [InRole(frameworks, role)]),
            Crash(f"redeployed {role}", [redeployed], 3.0),
        ]
    return found


def all_faults(
    cluster: Cluster,
    of_frameworks: Sequence[Fault],
    parts: Mapping[str, Sequence[Supervised]],
    proxy: Proxy,
) -> list[Fault]:
    """Every fault that this cluster can have, in a fixed order."""
    config, engine = cluster.config, cluster.engine
    dockerd = [EnginePart(engine)]
    # The master gives an agent up after 15 s of silence (`pytest_plugin.cluster_config`), and
    # ZooKeeper a session after 10 s.
    longest_freeze = {"agent": 20.0, "zookeeper": 14.0}
    return [
        *of_frameworks,
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
