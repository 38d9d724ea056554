"""A pytest plugin with the fixture `cluster`: a dev cluster of the tests' own, beside `make up`'s.

It is started by the first test that asks for it and taken down after the last one. With
``BUILDER_TEST_KEEP=1`` it stays up, and the next run starts in a second. ``BUILDER_TEST_INDEX``
chooses another subnet, so that two checkouts can test at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from devcluster.cluster import Cluster
from devcluster.config import REPOSITORY, ClusterConfig
from devcluster.progress import Progress, Stopwatch, silent

INDEX = int(os.environ.get("BUILDER_TEST_INDEX", "1"))
STATE_DIR = REPOSITORY / ".devcluster-test"


def cluster_config() -> ClusterConfig:
    """The tests' cluster. A frozen agent is unreachable after 15 s here, not after 75 s."""
    return ClusterConfig.named("test", state_dir=STATE_DIR, index=INDEX, agent_ping_timeout="3secs")


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


def _progress(config: pytest.Config) -> Progress:
    """Progress past pytest's capturing: the first start of all takes a minute or two."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return silent

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    return Stopwatch(write)
