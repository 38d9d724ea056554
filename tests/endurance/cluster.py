"""The tests' dev cluster for a command line run, with whatever was asked for in the environment."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from devcluster import Cluster
from devcluster.progress import Stopwatch
from devcluster.pytest_plugin import cluster_config


@contextlib.contextmanager
def running_cluster() -> Iterator[tuple[Cluster, Path]]:
    """A cluster that is up, and an empty directory; both are gone afterwards.

    With `BUILDER_TEST_KEEP=1` the cluster stays for the next run.
    """
    cluster = Cluster(cluster_config())
    cluster.up(Stopwatch(lambda line: print(line, flush=True)))
    try:
        with tempfile.TemporaryDirectory(prefix="builder-endurance-") as directory:
            yield cluster, Path(directory)
    finally:
        if os.environ.get("BUILDER_TEST_KEEP") != "1":
            cluster.down()


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0 to 1) of `values` do not exceed; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(len(ordered) * share + 0.999999) - 1))]
