"""What a dev cluster is called, where it lives and which addresses it uses.

Everything that two clusters on one machine must not share follows from the *index*: the bridge
``bfdev<index>``, the subnet ``10.213.<index>.0/24`` and the run directory. Everything else lives in
the state directory. Passwords are made once per state directory and kept there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from devcluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parent.parent
#: Second half of the subnet of index 0: 10.213.0.0/24. Private (RFC 1918), off the ranges that
#: Docker picks from (172.17.0.0/12, 192.168.0.0/16) and that home routers use.
NETWORK = "10.213.{index}.0/24"
#: File in the state directory with what `up` was told.
CHOICES = "cluster.json"
#: 255 subnets, and an interface name may have 15 characters.
LAST_INDEX = 254


@dataclass(frozen=True)
class Ports:
    """TCP ports on the gateway address. 5050 and 5051 are Mesos' own defaults."""

    master: int = 5050
    agent1: int = 5051
    agent2: int = 5052
    registry: int = 5001
    git: int = 8090
    ssh: int = 8022
    registry2: int = 5002
    http: int = 8080

    @classmethod
    def parse(cls, text: str) -> Ports:
        """From ``http=8081 registry=5002`` (spaces or commas between them)."""
        known = {each.name for each in dataclasses.fields(cls)}
        chosen: dict[str, int] = {}
        for word in text.replace(",", " ").split():
            name, _, number = word.partition("=")
            if name not in known or not number.isdecimal() or not 0 < int(number) < 1 << 16:
                raise ClusterError(
                    f"{word!r} is not a port setting; write NAME=NUMBER with a NAME among "
                    f"{', '.join(sorted(known))}"
                )
            chosen[name] = int(number)
        return cls(**chosen)


@dataclass(frozen=True)
class Credentials:
    """A user and a password; the password stays out of the representation."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Secrets:
    """The users of one cluster's API, registries and private git repository."""

    api: Credentials
    registry: Credentials
    git: Credentials
    second_registry: Credentials

    @classmethod
    def of(cls, state_dir: Path) -> Secrets:
        """Reads the state directory's secrets, making them the first time."""
        path = state_dir / "secrets.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        names = ("api", "registry", "git", "second_registry")
        if missing := [name for name in names if name not in kept]:
            kept |= {name: secrets.token_urlsafe(18) for name in missing}
            write_private(path, json.dumps(kept))
        return cls(
            api=Credentials("builder", kept["api"]),
            registry=Credentials("pusher", kept["registry"]),
            git=Credentials("cloner", kept["git"]),
            second_registry=Credentials("mirror", kept["second_registry"]),
        )


@dataclass(frozen=True)
class ClusterConfig:
    """Where one dev cluster lives. Immutable; every path and address derives from these fields."""

    name: str
    state_dir: Path
    index: int = 0
    ports: Ports = field(default_factory=Ports)
    #: ``host:port`` of a master to use instead of the embedded master and agents.
    external_master: str | None = None
    #: The executor image on an external cluster (it cannot see the one that we build).
    external_executor_image: str | None = None
    #: The master declares an agent unreachable after this long times `max_ping_timeouts`
    #: (Mesos' defaults: 15 s and 5).
    agent_ping_timeout: str = "15secs"
    max_agent_ping_timeouts: int = 5

    @classmethod
    def named(cls, name: str, *, state_dir: Path, index: int = 0, **others: Any) -> ClusterConfig:
        """The configuration called `name`; refuses an index without a subnet."""
        if not 0 <= index <= LAST_INDEX:
            raise ClusterError(f"the cluster index must be between 0 and {LAST_INDEX}, not {index}")
        return dataclasses.replace(
            cls(name=name, state_dir=state_dir.resolve(), index=index), **others
        )

    @classmethod
    def kept(cls, name: str, *, state_dir: Path, index: int | None = None) -> ClusterConfig | None:
        """The configuration of the last `up` with this state directory; None before the first.

        Its index, too, unless another one is given.
        """
        try:
            choices = json.loads((state_dir / CHOICES).read_text())
        except FileNotFoundError:
            return None
        ports = Ports(**choices.pop("ports"))
        last: int = choices.pop("index", 0)
        chosen = last if index is None else index
        return cls.named(name, state_dir=state_dir, index=chosen, ports=ports, **choices)

    def keep(self) -> None:
        """Makes `kept` return this one, so that `down` and `status` look at what `up` started."""
        choices = {
            "index": self.index,
            "ports": dataclasses.asdict(self.ports),
            "external_master": self.external_master,
            "external_executor_image": self.external_executor_image,
        }
        write_private(self.state_dir / CHOICES, json.dumps(choices, indent=2) + "\n")

    @property
    def bridge(self) -> str:
        return f"bfdev{self.index}"

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Network(NETWORK.format(index=self.index))

    @property
    def address(self) -> str:
        """The bridge's gateway address: processes here and containers both reach it."""
        return str(self.subnet.network_address + 1)

    @property
    def run_dir(self) -> Path:
        """Sockets and pid records. Short, because a socket's path may have 107 characters; on the
        machine's ``/run``, so that they never outlive a reboot or a removed checkout."""
        return Path("/run") / self.bridge

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "log"

    @property
    def master_address(self) -> str:
        return self.external_master or f"{self.address}:{self.ports.master}"

    @property
    def registry_address(self) -> str:
        return f"{self.address}:{self.ports.registry}"

    @property
    def docker_socket(self) -> Path:
        return self.run_dir / "docker.sock"

    @property
    def docker_host(self) -> str:
        return f"unix://{self.docker_socket}"


def cache_directory() -> Path:
    """``$BUILDER_CACHE_DIR``, or ``~/.cache/builder-framework``."""
    chosen = os.environ.get("BUILDER_CACHE_DIR")
    return Path(chosen) if chosen else Path.home() / ".cache" / "builder-framework"


@contextlib.contextmanager
def alone_with_the_cache() -> Iterator[None]:
    """Wait until nobody else on this machine fills the cache."""
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "lock"):
        yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside `with` nobody else has this file's lock, in no thread and no process."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, in one step (readers see the old or the new one)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    part.replace(path)
