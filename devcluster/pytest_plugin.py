"""A pytest plugin with the fixture `cluster`: a dev cluster of the tests' own, beside `make up`'s.

It is started by the first test that asks for it and taken down after the last one. With
``BUILDER_TEST_KEEP=1`` it stays up, and the next run starts in a second. Each of pytest-xdist's
workers has a cluster of its own. Which subnet it uses is the first one that no other checkout's
cluster holds, so that they can test at the same time; ``BUILDER_TEST_INDEX`` chooses another one
(and the next for the second worker).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster
from devcluster.config import LAST_INDEX, REPOSITORY, ClusterConfig
from devcluster.errors import ClusterError
from devcluster.postgres import Postgres, free_port
from devcluster.progress import Progress, Stopwatch, silent

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
STATE_DIR = REPOSITORY / (f".devcluster-test-{WORKER}" if WORKER else ".devcluster-test")


def cluster_config() -> ClusterConfig:
    """The tests' cluster. A frozen agent is unreachable after 15 s here, not after 75 s."""
    return ClusterConfig.named(
        "test", state_dir=STATE_DIR, index=cluster_index(), agent_ping_timeout="3secs"
    )


def cluster_index() -> int:
    """The one that was asked for, the one that this cluster has already, or the first free one.

    Workers start at the same moment, so each looks at indexes of its own.
    """
    if asked := os.environ.get("BUILDER_TEST_INDEX"):
        return int(asked) + WORKER
    last = ClusterConfig.kept("test", state_dir=STATE_DIR)
    free = range(1 + WORKER, LAST_INDEX, WORKERS)
    indexes: list[int] = [last.index, *free] if last else [*free]
    for index in indexes:
        if Cluster(ClusterConfig.named("test", state_dir=STATE_DIR, index=index)).is_available:
            return index
    raise ClusterError("every index is taken; `make down` in checkouts whose tests were cut off")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """Master, two agents, engine, registry, git server and the executor image, all running."""
    if os.geteuid() != 0:
        pytest.skip("the dev cluster starts a container engine and needs root")
    with own_cluster(_progress(pytestconfig)) as running:
        yield running


@contextlib.contextmanager
def own_cluster(progress: Progress = silent) -> Iterator[Cluster]:
    """The tests' cluster, up inside `with`; for suites that pytest does not run, too."""
    running = Cluster(cluster_config())
    running.up(progress)
    try:
        yield running
    finally:
        if os.environ.get("BUILDER_TEST_KEEP") != "1":
            running.down()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this run's own. Tests leave it running and reachable."""
    if os.geteuid() != 0:
        pytest.skip("a PostgreSQL server is started as the user postgres, which needs root")
    # Not pytest's directories: only root may enter those.
    directory = Path(tempfile.mkdtemp(prefix="builder-postgres-"))
    directory.chmod(0o755)
    server = Postgres(directory, free_port())
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty database on the server, deleted after the test."""
    name = f"test-{next(_numbers)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


_numbers = itertools.count(1)


def _progress(config: pytest.Config) -> Progress:
    """Progress past pytest's capturing: the first start of all takes a minute or two."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return silent

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    return Stopwatch(write)
