"""A container engine of our own: containerd and dockerd with private roots, sockets and bridge.

dockerd would otherwise join a containerd that runs on the machine (and meet the machine's engine
in its ``moby`` namespace), so ours is named explicitly. Nothing of the machine's engine is read or
changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from devcluster.config import REPOSITORY, ClusterConfig
from devcluster.daemon import Daemon
from devcluster.errors import ClusterError

#: Bit of CAP_SYS_RESOURCE in /proc/PID/status (capability.h).
CAP_SYS_RESOURCE = 24
#: containerd's namespace for what dockerd runs.
NAMESPACE = "moby"
WRAPPER = REPOSITORY / "executor" / "runc-without-sys-resource"
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find_program(name: str) -> str:
    """The path of a program, looked for in administrators' directories too."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])
    found = shutil.which(name, path=path)
    if found is None:
        raise ClusterError(f"the program {name} is missing; `make up` installs it")
    return found


def docker_cli() -> str:
    """The docker CLI that came with the engine, which need not be the first on PATH.

    A much newer CLI refuses an old engine's API, and an old one cannot use a new engine's.
    """
    beside = Path(find_program("dockerd")).resolve().parent.parent / "bin" / "docker"
    return str(beside) if beside.exists() else find_program("docker")


def lacks_sys_resource(status: Path = Path("/proc/self/status")) -> bool:
    """True where even root's bounding set has no CAP_SYS_RESOURCE."""
    for line in status.read_text().splitlines():
        if line.startswith("CapBnd:"):
            return not int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return False


class Engine:
    """The cluster's dockerd with its containerd."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        run = config.run_dir
        self._containerd_socket = run / "containerd.sock"
        self._docker_config = config.state_dir / "docker-config"
        self._bin = config.state_dir / "bin"
        self.containerd = Daemon(
            name="containerd",
            argv=["containerd", "--config", str(config.state_dir / "containerd.toml")],
            run_dir=run,
            log_path=config.log_dir / "containerd.log",
            env={"PATH": self.path},
            is_ready=self._containerd_socket.exists,
        )
        self.dockerd = Daemon(
            name="dockerd",
            argv=["dockerd", "--config-file", str(config.state_dir / "dockerd.json")],
            run_dir=run,
            log_path=config.log_dir / "dockerd.log",
            env={"PATH": self.path},
            is_ready=self._answers,
        )

    @property
    def docker_host(self) -> str:
        return self._config.docker_host

    @property
    def path(self) -> str:
        """A PATH on which ``docker`` is the CLI that fits this engine."""
        return os.pathsep.join([str(self._bin), os.environ.get("PATH", os.defpath), *SBIN])

    def start(self) -> None:
        """Starts both daemons unless they run, and waits until the engine answers."""
        self._write_configuration()
        if self.containerd.pid is None:
            self._containerd_socket.unlink(missing_ok=True)
        self.containerd.start()
        if self.dockerd.pid is None:
            # After a crash its pid may be somebody else's, and dockerd would not start.
            (self._config.run_dir / "docker.pid").unlink(missing_ok=True)
        self.dockerd.spawn()
        self.dockerd.wait_ready(60)

    def stop(self) -> None:
        """Ends every container, then dockerd and containerd; also when dockerd has crashed."""
        self.remove_containers()
        self.dockerd.stop()
        self._end_orphans()
        self.containerd.stop()

    def remove_containers(self) -> None:
        """Ends and removes every container of this engine (all are ours)."""
        if self.dockerd.pid is None or not self._answers():
            return
        for last in (False, False, True):
            containers = self.docker("ps", "--all", "--quiet", "--no-trunc").split()
            if not containers:
                return
            try:
                self.docker("rm", "--force", "--volumes", *containers)
            except ClusterError:
                # One that just ends is being removed already, by its own --rm.
                if last:
                    raise

    def docker(self, *arguments: str, stdin: str | None = None, cwd: Path | None = None) -> str:
        """Runs the docker CLI against this engine; its output, or a ClusterError."""
        done = subprocess.run(
            [str(self._bin / "docker"), *arguments],
            env=self.environment(),
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            words = " ".join(arguments[:3])
            raise ClusterError(f"`docker {words}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The environment of a docker CLI that talks to this engine and to no other."""
        kept = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
        return {
            **kept,
            "PATH": self.path,
            "DOCKER_HOST": self.docker_host,
            "DOCKER_CONFIG": str(self._docker_config),
            "DOCKER_BUILDKIT": "1",
        }

    def log_in(self, registry: str, username: str, password: str) -> None:
        """Lets this engine's CLI (not the user's own) push to and pull from `registry`."""
        self.docker("login", "--username", username, "--password-stdin", registry, stdin=password)

    def _end_orphans(self) -> None:
        """Ends containers that a dockerd which is no more has left to containerd.

        A dockerd that is started again would end them too, after giving each ten seconds.
        """
        tasks = self._config.run_dir / "containerd" / "io.containerd.runtime.v2.task" / NAMESPACE
        orphans = [path.name for path in tasks.glob("*")]
        if not orphans:
            return
        self.containerd.start()
        for verb in (["kill", "--signal", "SIGKILL"], ["delete", "--force"]):
            for orphan in orphans:
                self._ctr("tasks", *verb, orphan)
        for orphan in orphans:
            self._ctr("containers", "delete", orphan)

    def _ctr(self, *arguments: str) -> None:
        """Asks our containerd for something; what is gone already is no fault."""
        socket = str(self._containerd_socket)
        argv = [find_program("ctr"), "--address", socket, "--namespace", NAMESPACE, *arguments]
        subprocess.run(argv, capture_output=True, check=False)

    def _answers(self) -> bool:
        if not self._config.docker_socket.exists():
            return False
        done = subprocess.run(
            [str(self._bin / "docker"), "version", "--format", "{{.Server.Version}}"],
            env=self.environment(),
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def _write_configuration(self) -> None:
        config = self._config
        self._docker_config.mkdir(parents=True, exist_ok=True)
        self._bin.mkdir(parents=True, exist_ok=True)
        config.run_dir.mkdir(parents=True, exist_ok=True)
        link = self._bin / "docker"
        if not link.is_symlink() or str(link.readlink()) != docker_cli():
            link.unlink(missing_ok=True)
            link.symlink_to(docker_cli())
        (config.state_dir / "containerd.toml").write_text(
            "version = 2\n"
            f"root = {json.dumps(str(config.state_dir / 'containerd'))}\n"
            f"state = {json.dumps(str(config.run_dir / 'containerd'))}\n"
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            "[grpc]\n"
            f"address = {json.dumps(str(self._containerd_socket))}\n"
        )
        settings: dict[str, object] = {
            "hosts": [config.docker_host],
            "containerd": str(self._containerd_socket),
            "data-root": str(config.state_dir / "docker"),
            "exec-root": str(config.run_dir / "docker"),
            "pidfile": str(config.run_dir / "docker.pid"),
            "bridge": config.bridge,
            "iptables": False,
            "ip6tables": False,
            "insecure-registries": [config.registry_address],
            "features": {"buildkit": True},
            # Agents and builds come and go; a container's log is read from the sandbox.
            "log-driver": "json-file",
            "log-opts": {"max-size": "10m", "max-file": "2"},
            "shutdown-timeout": 5,
        }
        if lacks_sys_resource():
            settings["runtimes"] = {"runc-without-sys-resource": {"path": str(WRAPPER)}}
            settings["default-runtime"] = "runc-without-sys-resource"
        (config.state_dir / "dockerd.json").write_text(json.dumps(settings, indent=2) + "\n")
