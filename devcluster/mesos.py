"""The cluster's Mesos master and agents, as handles that start, crash, freeze and question them."""

from __future__ import annotations

import sys

from devcluster import httpclient
from devcluster.config import REPOSITORY, ClusterConfig
from devcluster.daemon import Daemon, Service
from devcluster.engine import Engine
from devcluster.libmesos import LibMesos

#: What one agent offers; two builds of the default size fit.
AGENT_RESOURCES = "cpus:4;mem:4096;disk:16384"
RACKS = ("a", "b")


class MesosProcess(Service):
    """What master and agent have in common."""

    def __init__(
        self, config: ClusterConfig, name: str, port: int, role: list[str], env: dict[str, str]
    ) -> None:
        self._ip = config.address
        self._port = port
        self.name = name
        self.work_dir = config.state_dir / name
        self.daemon = Daemon(
            name=name,
            argv=[sys.executable, "-m", "devcluster.mesosd", *role],
            run_dir=config.run_dir,
            log_path=config.log_dir / f"{name}.log",
            env={
                "PYTHONPATH": str(REPOSITORY),
                "LIBPROCESS_IP": self._ip,
                "LIBPROCESS_PORT": str(port),
                "MESOS_IP": self._ip,
                "MESOS_PORT": str(port),
                "MESOS_HOSTNAME": self._ip,
                "MESOS_WORK_DIR": str(self.work_dir / "work"),
                "MESOS_RUNTIME_DIR": str(self.work_dir / "run"),
                **env,
            },
            is_ready=self.is_ready,
        )

    @property
    def address(self) -> str:
        """``ip:port``."""
        return f"{self._ip}:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def pid(self) -> int | None:
        return self.daemon.pid

    def is_ready(self) -> bool:
        """True when the process serves its own endpoint; tells a master from an agent."""
        raise NotImplementedError

    def use(self, library: LibMesos) -> None:
        """Says which libmesos the process is to load."""
        self.daemon.env = {**self.daemon.env, "BUILDER_LIBMESOS": str(library.path.parent)}

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.daemon.spawn()


class Master(MesosProcess):
    """The Mesos master. Its registry is a replicated log on disk, so that it survives a SIGKILL."""

    def __init__(self, config: ClusterConfig) -> None:
        super().__init__(
            config,
            "master",
            config.ports.master,
            ["master"],
            {
                "MESOS_REGISTRY": "replicated_log",
                "MESOS_QUORUM": "1",
                "MESOS_CLUSTER": f"devcluster-{config.name}",
                "MESOS_AGENT_PING_TIMEOUT": config.agent_ping_timeout,
                "MESOS_MAX_AGENT_PING_TIMEOUTS": str(config.max_agent_ping_timeouts),
            },
        )

    def is_ready(self) -> bool:
        # The operator API answers 200 only once the master leads and has read its registry.
        return httpclient.status_of(f"{self.url}/api/v1", sent={"type": "GET_HEALTH"}) == 200

    def agents(self) -> list[dict[str, object]]:
        """The agents that are registered and active, as `/slaves` describes them."""
        answer = httpclient.get_json(f"{self.url}/master/slaves")
        return [agent for agent in answer["slaves"] if agent["active"]]


class Agent(MesosProcess):
    """A Mesos agent with the Docker containerizer on the cluster's engine."""

    def __init__(
        self, config: ClusterConfig, number: int, port: int, rack: str, engine: Engine
    ) -> None:
        self.attributes = {"rack": rack}
        attributes = ";".join(f"{name}:{value}" for name, value in self.attributes.items())
        super().__init__(
            config,
            f"agent{number}",
            port,
            ["agent", f"{config.address}:{config.ports.master}"],
            {
                # The containerizer runs `docker -H unix://...`.
                "PATH": engine.path,
                "DOCKER_CONFIG": str(config.state_dir / "docker-config"),
                "MESOS_CONTAINERIZERS": "docker",
                "MESOS_DOCKER_SOCKET": str(config.docker_socket),
                # With it, each starting agent would remove the other one's containers.
                "MESOS_DOCKER_KILL_ORPHANS": "false",
                "MESOS_DOCKER_REMOVE_DELAY": "5mins",
                "MESOS_LAUNCHER": "posix",
                "MESOS_RESOURCES": AGENT_RESOURCES,
                "MESOS_ATTRIBUTES": attributes,
                "MESOS_RECOVER": "reconnect",
                "MESOS_STRICT": "true",
                # A first start of an executor may have to wait for a machine with two cores.
                "MESOS_EXECUTOR_REGISTRATION_TIMEOUT": "3mins",
            },
        )

    def is_ready(self) -> bool:
        return httpclient.status_of(f"{self.url}/slave(1)/health") == 200
