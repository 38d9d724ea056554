"""What a highly available set-up stands on: PostgreSQL, ZooKeeper, several framework processes."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kazoo.client import KazooClient

from devcluster import Cluster
from devcluster.daemon import Service
from devcluster.postgres import Postgres, free_port
from devcluster.zookeeper import ZooKeeper
from tests.chaos.parts import FrameworkPart
from tests.integration.harness import Framework, master_info

PORTS = (8190, 8191)
MASTERS = "/mesos"
ELECTIONS = ("zookeeper", "postgresql")


@dataclass(frozen=True)
class Surroundings:
    """`services` by what they are; `settings` are what frameworks must be told of them."""

    services: Mapping[str, Service]
    settings: Mapping[str, str]


@contextlib.contextmanager
def surroundings(master: str, election: str) -> Iterator[Surroundings]:
    """Servers of our own with empty data, gone afterwards. `master`: address of the Mesos master.

    It is found in ZooKeeper where that holds the `election`, too.
    """
    with tempfile.TemporaryDirectory(prefix="builder-chaos-") as name, contextlib.ExitStack() as up:
        directory = Path(name)
        # PostgreSQL's own user has to get there.
        directory.chmod(0o755)
        postgres = Postgres(directory / "postgres", free_port())
        services: dict[str, Service] = {"postgres": postgres}
        _start(postgres, up)
        settings = {
            "BUILDER_DATABASE_URL": postgres.create_database("builder"),
            "BUILDER_MESOS_MASTER": master,
        }
        if election == "zookeeper":
            zookeeper = ZooKeeper(directory / "zookeeper", port=free_port())
            services["zookeeper"] = zookeeper
            _start(zookeeper, up)
            announce(zookeeper, master)
            settings["BUILDER_MESOS_MASTER"] = f"zk://{zookeeper.address}{MASTERS}"
        yield Surroundings(services, settings)


def _start(service: Service, up: contextlib.ExitStack) -> None:
    up.callback(service.kill)
    service.start()


def announce(zookeeper: ZooKeeper, master: str) -> None:
    """What a master writes, which the embedded one cannot; it outlives sessions and ZooKeeper."""
    client = KazooClient(zookeeper.address, timeout=10)
    client.start()
    try:
        client.create(f"{MASTERS}/json.info_", master_info(master), sequence=True, makepath=True)
    finally:
        client.stop()
        client.close()


@contextlib.contextmanager
def running(
    cluster: Cluster, settings: Mapping[str, str], folder: Path
) -> Iterator[list[FrameworkPart]]:
    """Framework processes that share a database; the first leads at the beginning."""
    parts = [
        FrameworkPart(Framework(cluster, folder / f"framework-{port}", port, dict(settings)))
        for port in PORTS
    ]
    try:
        parts[0].framework.start()
        for part in parts[1:]:
            part.framework.spawn()
        yield parts
    finally:
        for part in parts:
            if part.framework.process is not None:
                part.end(signal.SIGTERM)
