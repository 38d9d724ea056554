"""The dev cluster as a whole: starts its parts side by side, and takes all of them away again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from devcluster import executor_image, httpclient, libmesos, samples
from devcluster.authority import Authority
from devcluster.config import ClusterConfig, Secrets, alone_with_the_cache
from devcluster.daemon import Daemon, Service, wait_until
from devcluster.engine import Engine, find_program
from devcluster.errors import ClusterError
from devcluster.git import GitServer
from devcluster.mesos import RACKS, Agent, Master
from devcluster.network import Bridge, refuse_taken_port
from devcluster.progress import Progress, silent
from devcluster.registry import Registry

#: A first `make up` may take some minutes to make the base image.
LOCK_SECONDS = 600


@dataclass(frozen=True)
class Part:
    """One line of `make status`."""

    name: str
    address: str
    pid: int | None
    healthy: bool


class Cluster:
    """A Mesos master, two agents, an engine, a registry and a git server on their own bridge.

    `second_registry` has another user, and TLS by an authority of the cluster's own.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.secrets = Secrets.of(config.state_dir)
        self.bridge = Bridge(config)
        self.engine = Engine(config)
        self.registry = Registry(config, self.secrets.registry)
        self.second_registry = Registry(
            config,
            self.secrets.second_registry,
            name="registry2",
            port=config.ports.registry2,
            authority=Authority(config.state_dir / "authority"),
        )
        self.git = GitServer(config, self.secrets.git)
        self.master = Master(config)
        ports = (config.ports.agent1, config.ports.agent2)
        self.agents = [
            Agent(config, number, port, rack, self.engine)
            for number, (port, rack) in enumerate(zip(ports, RACKS, strict=True), start=1)
        ]

    @property
    def address(self) -> str:
        """The gateway address: every part listens on it, containers and this machine reach it."""
        return self.config.address

    @property
    def executor_image(self) -> str:
        return self.config.external_executor_image or executor_image.IMAGE

    @property
    def base_image(self) -> str:
        """The image that sample Dockerfiles start from."""
        return samples.base_image(self.registry)

    @property
    def is_embedded(self) -> bool:
        """True when master and agents are ours, False with an external master."""
        return self.config.external_master is None

    def up(self, progress: Progress = silent) -> None:
        """Starts what does not run yet and returns when all of it answers. Idempotent."""
        refuse_unsuitable()
        with self._lock():
            self._claim()
            try:
                self.bridge.up()
                self._refuse_taken_ports()
            except ClusterError:
                if not any(part.pid for part in self.parts()):
                    self._give_up_claim()
                raise
            self.config.keep()
            # What is downloaded and made is shared with other clusters, which may start now, too.
            with alone_with_the_cache(), ThreadPoolExecutor(max_workers=4) as pool:
                tasks = self._start_all(pool, progress)
                _first_error(tasks)

    def down(self, progress: Progress = silent) -> None:
        """Ends every process, mount, link and rule of this cluster; keeps its data."""
        refuse_unsuitable()
        with self._lock():
            self._refuse_other_owner()
            self._stop_all(progress)
            self._give_up_claim()

    def clean(self, progress: Progress = silent) -> None:
        """Deletes the data of a cluster that is down; the cache of downloads stays."""
        progress(f"deleting {self.config.state_dir}")
        shutil.rmtree(self.config.state_dir, ignore_errors=True)

    def parts(self) -> list[Part]:
        """Each part with its address, pid and health."""
        rows: list[tuple[Daemon, str]] = [
            (self.engine.containerd, "-"),
            (self.engine.dockerd, self.engine.docker_host),
            (self.registry.daemon, self.registry.address),
            (self.second_registry.daemon, self.second_registry.address),
            (self.git.daemon, self.git.url),
            (self.git.ssh.daemon, self.git.ssh.url),
        ]
        if self.is_embedded:
            rows += [(each.daemon, each.address) for each in (self.master, *self.agents)]
        parts = [
            Part(daemon.name, address, daemon.pid, daemon.pid is not None and daemon.is_ready())
            for daemon, address in rows
        ]
        if not self.is_embedded:
            address = self.config.master_address
            answers = httpclient.status_of(f"http://{address}/version") == 200
            parts.append(Part("master", address, None, answers))
        return parts

    def _start_all(self, pool: ThreadPoolExecutor, progress: Progress) -> list[Future[None]]:
        """Four lines of work; each waits only for what it needs."""

        def engine() -> None:
            self.engine.start()
            progress(f"engine is up on {self.engine.docker_host}")

        def services() -> None:
            _start((self.registry, self.second_registry, self.git, self.git.ssh))
            samples.provide_repositories(self.git, self.base_image)
            progress(f"registry is up on {self.registry.address}, git server on {self.git.url}")

        def master() -> None:
            library = libmesos.provide(progress)
            for each in (self.master, *self.agents):
                each.use(library)
            self.master.start()
            progress(f"Mesos master is up on {self.master.address}")

        def agents() -> None:
            engine_up.result()  # a starting agent asks the engine for its version
            master_up.result()
            for agent in self.agents:
                agent.spawn()
            for agent in self.agents:
                agent.wait_ready()
            wait_until(
                lambda: len(self.master.agents()) == len(self.agents),
                30,
                f"the agents did not register; see {self.config.log_dir}/agent*.log",
            )
            progress(f"{len(self.agents)} Mesos agents are registered")

        def images() -> None:
            engine_up.result()
            if self.config.external_executor_image is None:
                executor_image.provide(self.engine, progress)
            services_up.result()
            samples.provide_base_image(self.engine, self.registry)
            progress(f"executor image {self.executor_image} and {self.base_image} are there")

        engine_up = pool.submit(engine)
        services_up = pool.submit(services)
        tasks = [engine_up, services_up]
        if self.is_embedded:
            master_up = pool.submit(master)
            tasks += [master_up, pool.submit(agents)]
        return [*tasks, pool.submit(images)]

    def _stop_all(self, progress: Progress) -> None:
        progress("removing containers")
        self.engine.remove_containers()
        progress("ending agents, master, registries and git servers")
        daemons = [*(agent.daemon for agent in self.agents), self.master.daemon]
        daemons += [self.registry.daemon, self.second_registry.daemon]
        daemons += [self.git.daemon, self.git.ssh.daemon]
        _together([daemon.stop for daemon in daemons])
        progress("ending the engine")
        self.engine.stop()
        for target in leftover_mounts(self.config.state_dir, self.config.run_dir):
            subprocess.run([find_program("umount"), "--lazy", target], check=False)

    def _refuse_taken_ports(self) -> None:
        ports = self.config.ports
        wanted = [
            (self.registry.daemon, "registry", ports.registry),
            (self.second_registry.daemon, "registry2", ports.registry2),
            (self.git.daemon, "git", ports.git),
            (self.git.ssh.daemon, "ssh", ports.ssh),
        ]
        if self.is_embedded:
            wanted += [
                (self.master.daemon, "master", ports.master),
                (self.agents[0].daemon, "agent1", ports.agent1),
                (self.agents[1].daemon, "agent2", ports.agent2),
            ]
        for daemon, name, port in wanted:
            if daemon.pid is None:
                refuse_taken_port(self.address, port, name)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One `up` or `down` of this index at a time, whoever runs it.

        An abstract socket's name: as local to this network namespace as the bridge is, gone with
        its process, and no file to leave behind.
        """
        with socket.socket(socket.AF_UNIX) as name:

            def taken() -> bool:
                try:
                    name.bind(f"\0builder-framework-{self.config.bridge}")
                except OSError:
                    return False
                return True

            sentence = f"another `make up` or `make down` of {self.config.bridge} does not end"
            wait_until(taken, LOCK_SECONDS, sentence)
            yield

    @property
    def _owner_file(self) -> Path:
        return self.config.run_dir / "owner.json"

    def _claim(self) -> None:
        """Records whose bridge and run directory these are; refuses those of somebody else."""
        self._refuse_other_owner()
        if not self._owner_file.exists():
            if self.bridge.exists:
                raise ClusterError(
                    f"this machine has a link {self.config.bridge} that no dev cluster made; "
                    f"remove it with `ip link del {self.config.bridge}` or choose another one with "
                    f"INDEX=1 to 254"
                )
            self.config.run_dir.mkdir(parents=True, exist_ok=True)
            self._owner_file.write_text(json.dumps({"state_dir": str(self.config.state_dir)}))

    def _give_up_claim(self) -> None:
        self.bridge.down()
        shutil.rmtree(self.config.run_dir, ignore_errors=True)

    @property
    def is_available(self) -> bool:
        """True when bridge and run directory are this cluster's already, or nobody's."""
        owner = self._owner
        return owner == str(self.config.state_dir) or (owner is None and not self.bridge.exists)

    @property
    def _owner(self) -> str | None:
        try:
            return str(json.loads(self._owner_file.read_text())["state_dir"])
        except FileNotFoundError:
            return None

    def _refuse_other_owner(self) -> None:
        owner = self._owner
        if owner not in (None, str(self.config.state_dir)):
            raise ClusterError(
                f"the dev cluster {self.config.bridge} belongs to {owner}; "
                f"run `make down` there, or choose another one with INDEX=1 to 254"
            )


def refuse_unsuitable() -> None:
    """The one thing that every action needs and that the tests may lack."""
    if os.geteuid() != 0:
        raise ClusterError("the dev cluster starts a container engine and needs root")


def leftover_mounts(*directories: Path) -> list[str]:
    """Mount points below the directories, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4].encode().decode("unicode_escape")
        if any(Path(target).is_relative_to(directory) for directory in directories):
            found.append(target)
    return sorted(found, key=len, reverse=True)


def _start(services: Sequence[Service]) -> None:
    """Starts all of them, then waits for each."""
    for service in services:
        service.spawn()
    for service in services:
        service.wait_ready()


def _together(actions: list[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(max_workers=len(actions)) as pool:
        _first_error([pool.submit(action) for action in actions])


def _first_error(tasks: list[Future[None]]) -> None:
    """Waits for all of them; raises the error of the first that failed on its own account."""
    for task in tasks:
        task.exception()
    for task in tasks:
        task.result()
