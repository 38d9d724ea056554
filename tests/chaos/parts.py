"""The parts of the cluster that can be killed and frozen, and those who start them again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import requests

from devcluster import Cluster
from devcluster.daemon import Service
from devcluster.engine import Engine
from tests.integration.harness import Framework

_PATIENCE = 60.0


def eventually(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


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
class ServicePart:
    """A service of devcluster; systemd's role, to start it again, is played here."""

    service: Service
    deaths: list[str] = field(default_factory=list)
    _down: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def kill(self) -> None:
        with self._guard:
            self._down = True
        self.service.kill()

    def start(self) -> None:
        self.service.start()
        self._down = False

    def supervise(self) -> None:
        with self._guard:
            if not self._down and self.service.daemon.pid is None:
                self.deaths.append(self.service.daemon.last_words())
                self.service.spawn()

    def pause(self) -> None:
        self.service.pause()

    def resume(self) -> None:
        self.service.resume()


@dataclass
class FrameworkPart:
    """One process of the framework; Marathon's role, to start it again, is played here."""

    framework: Framework
    deaths: list[str] = field(default_factory=list)
    _down: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, by: signal.Signals) -> None:
        """A framework that was told to end and does not is a death of its own kind."""
        with self._guard:
            self._down = True
        try:
            self.framework.end(by)
        except subprocess.TimeoutExpired:
            self.deaths.append(f"{by.name} was not obeyed")
            self.framework.end(signal.SIGKILL)

    def start(self) -> None:
        with self._guard:
            self.framework.spawn()
            self._down = False

    def supervise(self) -> None:
        """Start it again when it ended by itself, as Marathon would; its exit code is kept."""
        with self._guard:
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

    def role(self) -> str | None:
        """ "leader" for whoever is subscribed, else "follower"; None when it does not answer."""
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"{self.framework.url}/readyz", timeout=2)
            led = answer.json()["checks"]["mesos"] == "subscribed"
            return "leader" if led else "follower"
        return None


@dataclass
class InRole:
    """Whoever leads, or does not, when a fault comes; it is also who is healed.

    `by`: how it is made to end.
    """

    frameworks: Sequence[FrameworkPart]
    role: str
    by: signal.Signals = signal.SIGKILL
    _hit: FrameworkPart | None = None

    def kill(self) -> None:
        self._found().end(self.by)

    def start(self) -> None:
        if self._hit is not None:
            self._hit.start()

    def pause(self) -> None:
        self._found().pause()

    def resume(self) -> None:
        if self._hit is not None:
            self._hit.resume()

    def wait_for_another(self) -> bool:
        """Whether within a minute another one had the role of who was hit."""
        others = [each for each in self.frameworks if each is not self._hit]
        return eventually(lambda: any(each.role() == self.role for each in others), _PATIENCE)

    def _found(self) -> FrameworkPart:
        """Just after an election nobody may lead yet; then the first one has to do."""
        eventually(lambda: self._candidates() != [], _PATIENCE)
        self._hit = next(iter(self._candidates()), self.frameworks[0])
        return self._hit

    def _candidates(self) -> list[FrameworkPart]:
        return [each for each in self.frameworks if each.role() == self.role]


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


def services(cluster: Cluster, more: Mapping[str, Service]) -> dict[str, list[Supervised]]:
    """The parts of the cluster but for frameworks and executors, by what they are."""
    return {
        "master": [ServicePart(cluster.master)],
        "agent": [ServicePart(agent) for agent in cluster.agents],
        "registry": [ServicePart(cluster.registry)],
        "git": [ServicePart(cluster.git)],
        **{name: [ServicePart(service)] for name, service in more.items()},
    }
