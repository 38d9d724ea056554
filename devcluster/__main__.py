"""``python -m devcluster up|down|status|clean``: what the Makefile calls."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from devcluster import welcome
from devcluster.cluster import Cluster
from devcluster.config import REPOSITORY, ClusterConfig, Ports
from devcluster.errors import ClusterError
from devcluster.progress import Stopwatch


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="devcluster", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status", "clean"))
    parser.add_argument(
        "--index", type=int, help="which bridge and subnet (0 to 254); the state directory's, or 0"
    )
    parser.add_argument("--state-dir", type=Path, help="where data, logs and passwords are kept")
    parser.add_argument("--ports", default="", help='for example "http=8081 registry=5002"')
    parser.add_argument("--master", default="", help="HOST:PORT of an existing cluster's master")
    parser.add_argument("--executor-image", default="", help="the executor image on that cluster")
    parser.add_argument("--no-framework", action="store_true", help="only what it runs on")
    return parser.parse_args()


def configuration(options: argparse.Namespace) -> ClusterConfig:
    """What the options say; actions other than `up` look at what the last `up` was told."""
    index = options.index or 0
    suffix = f"-{index}" if index else ""
    name = f"dev{suffix}"
    state_dir = (options.state_dir or REPOSITORY / f".devcluster{suffix}").resolve()
    kept = ClusterConfig.kept(name, state_dir=state_dir, index=options.index)
    if options.action != "up" and kept is not None:
        return kept
    ports = Ports.parse(options.ports) if options.ports or kept is None else kept.ports
    chosen = ClusterConfig.named(
        name,
        state_dir=state_dir,
        index=kept.index if kept is not None else index,
        ports=ports,
        external_master=options.master or None,
        external_executor_image=options.executor_image or None,
    )
    if chosen.external_master == f"{chosen.address}:{chosen.ports.master}":
        # Our own, from a sourced .devcluster/env.
        chosen = dataclasses.replace(chosen, external_master=None)
    if kept not in (None, chosen) and chosen.run_dir.exists():
        raise ClusterError("the cluster runs with other settings than these; `make down` first")
    return chosen


def up(cluster: Cluster, stopwatch: Stopwatch, *, framework: bool) -> None:
    welcome.check_external_master(cluster)
    cluster.up(stopwatch)
    if framework:
        welcome.up(cluster, stopwatch)


def down(cluster: Cluster, stopwatch: Stopwatch) -> None:
    # The framework first: to it, builds that end with the cluster are not failures to retry.
    welcome.Framework(cluster).stop()
    cluster.down(stopwatch)


def status(cluster: Cluster) -> bool:
    """Prints each part's line; True when all of them are healthy."""
    parts = [*cluster.parts(), welcome.Framework(cluster).part()]
    for part in parts:
        health = "healthy" if part.healthy else "not answering" if part.pid else "down"
        print(f"{part.name:<11} {health:<14} {part.pid or '-':<8} {part.address}")
    return all(part.healthy for part in parts)


def run(options: argparse.Namespace, stopwatch: Stopwatch) -> int:
    config = configuration(options)
    if options.action != "up" and not config.state_dir.exists() and not config.run_dir.exists():
        print("there is no dev cluster here; `make up` starts one")
        return 0
    cluster = Cluster(config)
    if options.action == "status":
        return 0 if status(cluster) else 1
    if options.action == "up":
        up(cluster, stopwatch, framework=not options.no_framework)
        return 0
    down(cluster, stopwatch)
    if options.action == "clean":
        cluster.clean(stopwatch)
    stopwatch("nothing of it is left" if options.action == "clean" else "it is down")
    return 0


def main() -> int:
    options = parse()
    try:
        return run(options, Stopwatch())
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; `make up` goes on, `make down` takes all away", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
