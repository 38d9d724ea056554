"""What anybody's script does: clone, `docker build`, `docker push`, beside an engine like ours.

The engine is the executor image's own dockerd with the executor's own settings, in a privileged
container on the agents' engine, its data on a volume.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devcluster import Cluster
from executor.engine import answers
from tests.integration.harness import until

_DOCKERD = """
import os, sys
from pathlib import Path
from builder_framework.protocol import EngineSpec
from executor import host
host.prepare_cgroups()
settings = Path("/run/daemon.json")
spec = EngineSpec(insecure_registries=(sys.argv[1],))
host.write_daemon_json(settings, spec, host.bridge_address(host.routed_networks()))
os.execvp("dockerd", ["dockerd", f"--config-file={settings}", "--data-root=/var/lib/builder/docker",
    "--host=unix:///bench/docker.sock"])
"""

_PIPELINE = """
set -e
exec 3>/bench/times
export DOCKER_HOST=unix:///bench/docker.sock
rm -rf /tmp/source
date +%s.%N >&3
git clone --quiet --depth=1 "$1" /tmp/source
date +%s.%N >&3
docker build --tag "$2" /tmp/source
date +%s.%N >&3
docker push "$2"
date +%s.%N >&3
"""


@dataclass(frozen=True)
class Took:
    """Seconds of each part of one pipeline."""

    clone: float
    build: float
    push: float

    @property
    def total(self) -> float:
        return self.clone + self.build + self.push


@dataclass(frozen=True)
class BareEngine:
    """A running engine. `start`: seconds from `docker run` to its first answer, login included."""

    cluster: Cluster
    container: str
    start: float

    def run(self, url: str, image: str) -> Took:
        """Clone, build and push."""
        self._exec("sh", "-c", _PIPELINE, "pipeline", url, image)
        marks = [float(line) for line in self._exec("cat", "/bench/times").split()]
        return Took(*(after - before for before, after in itertools.pairwise(marks)))

    def _exec(self, *command: str) -> str:
        return self.cluster.engine.docker("exec", self.container, *command)


@contextlib.contextmanager
def bare_engine(cluster: Cluster) -> Iterator[BareEngine]:
    """One with nothing in it; it is gone afterwards, with its data."""
    registry = cluster.registry
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        began = time.monotonic()
        container = cluster.engine.docker(
            *("run", "--detach", "--privileged", f"--volume={folder}:/bench"),
            *("--volume=/var/lib/builder", cluster.executor_image),
            *("python3", "-c", _DOCKERD, registry.address),
        ).strip()
        try:
            socket = Path(folder, "docker.sock")
            until(lambda: answers(socket), "the bare engine does not answer")
            login = ["docker", "--host=unix:///bench/docker.sock", "login", registry.address]
            login += [f"--username={registry.username}", "--password-stdin"]
            cluster.engine.docker(
                "exec", "--interactive", container, *login, stdin=registry.password
            )
            yield BareEngine(cluster, container, time.monotonic() - began)
        finally:
            cluster.engine.docker("rm", "--force", "--volumes", container)
