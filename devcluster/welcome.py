"""What `make up` adds to a cluster: the framework, a first build, and what a newcomer wants to see.

The names of environment variables and CLI options are the product's; they are all in this file.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devcluster import httpclient
from devcluster.cluster import Cluster, Part
from devcluster.config import REPOSITORY, write_private
from devcluster.daemon import Daemon
from devcluster.errors import ClusterError
from devcluster.network import refuse_taken_port
from devcluster.progress import Progress
from devcluster.samples import PUBLIC

BUILDER = Path(sys.executable).parent / "builder"
#: The first image that a cluster builds.
SAMPLE_IMAGE = "app:latest"


class Framework:
    """The framework's process on a cluster: `builder serve`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.data_dir = cluster.config.state_dir / "framework"
        self.daemon = Daemon(
            name="framework",
            argv=[str(BUILDER), "serve"],
            run_dir=cluster.config.run_dir,
            log_path=cluster.config.log_dir / "framework.log",
            env=self._environment(),
            is_ready=lambda: httpclient.status_of(f"{self.url}/readyz") == 200,
        )

    @property
    def url(self) -> str:
        return f"http://{self._cluster.address}:{self._cluster.config.ports.http}"

    def start(self) -> None:
        """Starts it unless it runs, and waits until it is subscribed to the master."""
        if not BUILDER.exists():
            raise ClusterError(f"{BUILDER} is missing; `make up` installs it into .venv")
        if self.daemon.pid is None:
            port = self._cluster.config.ports.http
            refuse_taken_port(self._cluster.address, port, "http")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.daemon.spawn()
        self.daemon.wait_ready(60)

    def stop(self) -> None:
        self.daemon.stop()

    def part(self) -> Part:
        """Its line in `make status`."""
        pid = self.daemon.pid
        return Part("framework", self.url, pid, pid is not None and self.daemon.is_ready())

    def _environment(self) -> dict[str, str]:
        cluster = self._cluster
        return {
            "BUILDER_MESOS_MASTER": cluster.config.master_address,
            "BUILDER_HTTP_HOST": cluster.address,
            "BUILDER_HTTP_PORT": str(cluster.config.ports.http),
            "BUILDER_USERNAME": cluster.secrets.api.username,
            "BUILDER_PASSWORD": cluster.secrets.api.password,
            "BUILDER_DATA_DIR": str(self.data_dir),
            "BUILDER_EXECUTOR_IMAGE": cluster.executor_image,
            "BUILDER_INSECURE_REGISTRIES": cluster.registry.address,
            "BUILDER_GIT_PROTOCOLS": "https,ssh,http",
            "BUILDER_ENGINE": "nested",
            "BUILDER_UPLOAD_URL": self.url,
            "BUILDER_EREMETIC": "true",
            # The API is plain HTTP on an address that only this machine and its containers reach.
            "BUILDER_BEHIND_TLS_PROXY": "true",
        }


@dataclass(frozen=True)
class SampleBuild:
    """The image that the first build pushed."""

    image: str
    digest: str


def client_environment(cluster: Cluster, framework: Framework) -> dict[str, str]:
    """What `.devcluster/env` holds: how to reach every part."""
    return {
        "BUILDER_URL": framework.url,
        "BUILDER_USERNAME": cluster.secrets.api.username,
        "BUILDER_PASSWORD": cluster.secrets.api.password,
        "MESOS_MASTER": cluster.config.master_address,
        "REGISTRY": cluster.registry.address,
        "REGISTRY_USERNAME": cluster.registry.username,
        "REGISTRY_PASSWORD": cluster.registry.password,
        "GIT_URL": cluster.git.url,
        "DOCKER_HOST": cluster.engine.docker_host,
    }


def write_environment(cluster: Cluster, framework: Framework) -> Path:
    """Writes the sourceable file; only its owner reads it, as it holds passwords."""
    path = cluster.config.state_dir / "env"
    variables = client_environment(cluster, framework).items()
    write_private(
        path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables)
    )
    return path


def submit_sample(cluster: Cluster, framework: Framework) -> SampleBuild:
    """Runs the sample build through the CLI, its log on our output; the digest that was pushed."""
    image = f"{cluster.registry.address}/{SAMPLE_IMAGE}"
    argv = [str(BUILDER), "submit", "--git", cluster.git.clone_url(PUBLIC), "--image", image]
    argv += ["--registry-username", cluster.registry.username, "--follow"]
    done = subprocess.run(
        argv,
        env={
            **os.environ,
            **client_environment(cluster, framework),
            "BUILDER_REGISTRY_PASSWORD": cluster.registry.password,
        },
        check=False,
    )
    if done.returncode:
        log = framework.daemon.log_path
        raise ClusterError(f"the sample build failed (its log is above); the framework's is {log}")
    return SampleBuild(image, pushed_digest(cluster, SAMPLE_IMAGE))


def pushed_digest(cluster: Cluster, name: str) -> str:
    """The digest that the registry itself gives a tag, whatever the build reported."""
    repository, _, tag = name.partition(":")
    accept = (
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
        "application/vnd.docker.distribution.manifest.v2+json"
    )
    url = f"http://{cluster.registry.address}/v2/{repository}/manifests/{tag}"
    headers = httpclient.headers(url, cluster.secrets.registry, {"Accept": accept})
    return headers["Docker-Content-Digest"]


def agents_use_our_engine(cluster: Cluster) -> bool:
    """True when every agent of an external cluster runs on this machine with our dockerd."""
    try:
        answer = httpclient.get_json(f"http://{cluster.config.master_address}/master/slaves")
        for agent in answer["slaves"]:
            name, _, address = str(agent["pid"]).partition("@")
            flags = httpclient.get_json(f"http://{address}/{name}/flags")["flags"]
            if flags.get("docker_socket") != str(cluster.config.docker_socket):
                return False
    except (OSError, ValueError, KeyError):
        return False
    return bool(answer["slaves"])


def agents_are_local(cluster: Cluster) -> bool:
    """True when every agent runs on this machine, so that its containers reach our registry."""
    try:
        answer = httpclient.get_json(f"http://{cluster.config.master_address}/master/slaves")
        for agent in answer["slaves"]:
            host = str(agent["pid"]).partition("@")[2].rpartition(":")[0]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))  # only works with an address of this machine
    except (OSError, ValueError, KeyError):
        return False
    return bool(answer["slaves"])


def check_external_master(cluster: Cluster) -> None:
    """One sentence when the external master does not answer or cannot have our executor image."""
    master = cluster.config.external_master
    if master is None:
        return
    if httpclient.status_of(f"http://{master}/version") != 200:
        raise ClusterError(
            f"no Mesos master answers at http://{master}/version; check MESOS_MASTER"
        )
    if cluster.config.external_executor_image is None and not agents_use_our_engine(cluster):
        raise ClusterError(
            f"the agents of {master} cannot see the executor image of this machine; push it to a "
            f"registry that they pull from and run make up with EXECUTOR_IMAGE=REGISTRY/NAME:TAG"
        )


def up(cluster: Cluster, progress: Progress) -> None:
    """The framework on a running cluster, a first build, and the summary."""
    framework = Framework(cluster)
    progress("starting the framework")
    framework.start()
    environment = write_environment(cluster, framework)
    progress(f"framework is up on {framework.url}")
    sample = None
    if agents_are_local(cluster):
        progress("building the sample repository")
        sample = submit_sample(cluster, framework)
        progress("the sample build is pushed")
    print(summary(cluster, framework, environment, sample))


def summary(
    cluster: Cluster, framework: Framework, environment: Path, sample: SampleBuild | None
) -> str:
    """What a newcomer wants to see."""
    try:
        shown = environment.relative_to(REPOSITORY)
    except ValueError:
        shown = environment
    api = cluster.secrets.api
    lines = [
        "",
        f"  API       {framework.url}   user {api.username}   password {api.password}",
        f"  Mesos     http://{cluster.config.master_address}",
        f"  registry  {cluster.registry.address}   user {cluster.registry.username}",
        f"  git       {cluster.git.url}",
    ]
    if sample is not None:
        lines += [f"  pushed    {sample.image}@{sample.digest}"]
    lines += [
        "",
        "Next:",
        f"  . {shown} && .venv/bin/builder list",
        "  .venv/bin/builder submit \\",
        f"      --git $GIT_URL/{PUBLIC}.git --image $REGISTRY/{PUBLIC}:mine \\",
        "      --registry-username $REGISTRY_USERNAME --registry-password-env REGISTRY_PASSWORD \\",
        "      --follow",
        "  make test",
    ]
    return "\n".join(lines)
