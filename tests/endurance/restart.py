"""`make restart`: a store with 10,000 queued and 200 running builds, and a framework that starts.

The 200 are said to run on the cluster's agents, which know nothing of them: the framework has to
ask, learn that they are gone, and go on. The last of the queue is the only one that fits an agent.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import replace

from builder_framework import config, keys
from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.model import (
    Build,
    BuildRequest,
    Constraint,
    Placement,
    Resources,
    new_build_id,
)
from builder_framework.protocol import Phase, Report
from builder_framework.recipe import GitSource, RegistryAuth, Source
from builder_framework.redact import Secret
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from devcluster import Cluster
from tests.endurance.cluster import running_cluster
from tests.integration.harness import Framework, until

_PORT = 8191
_NOWHERE = (Constraint("rack", "EQUALS", "nowhere"),)
_OWNER = "tester"


def fill(store: SqlStore, framework: Framework, git: str, queued: int, running: int) -> str:
    """Put the builds into the store; the id of the one that fits."""
    cluster = framework.cluster
    registry = cluster.registry
    request = BuildRequest(
        Source(GitSource(git)),
        (f"{registry.address}/restart:1",),
        timeout=600.0,
        queue_ttl=86400.0,
        resources=Resources(0.5, 512.0),
        registry_auth=RegistryAuth(registry.username, Secret(registry.password)),
        constraints=_NOWHERE,
    )
    changes = [Change(_runs(request, cluster, store, number)) for number in range(running)]
    changes += [Change(_waits(request)) for _ in range(queued - 1)]
    last = _waits(replace(request, constraints=()))
    store.apply([*changes, Change(last)])
    return last.id


def _waits(request: BuildRequest) -> Build:
    event = ev.Submitted(new_build_id(), request, _OWNER)
    return machine.step(None, event, time.time(), machine.MachinePolicy()).build


def _runs(request: BuildRequest, cluster: Cluster, store: SqlStore, number: int) -> Build:
    agent = {key: str(value) for key, value in cluster.master.agents()[number % 2].items()}
    place = Placement(
        agent["id"],
        agent["hostname"],
        f"http://{agent['pid'].partition('@')[2]}",
        number // 2,
        f"builder.gone.{number}",
        store.framework_id() or "",
    )
    now, policy = time.time(), machine.MachinePolicy()
    build = machine.step(_waits(request), ev.Placed(place), now, policy).build
    report = Report(phase=Phase.BUILDING)
    return machine.step(build, ev.TaskProgressed(1, report), now, policy).build


def measure(framework: Framework, queued: int, running: int) -> dict[str, float]:
    """Seconds from the start of the process to each step."""
    cluster = framework.cluster
    dockerfile = f"FROM {cluster.base_image}\nRUN true\n"
    git = cluster.git.create_repository("restart", {"Dockerfile": dockerfile})
    # Once, so that the framework is registered before the builds refer to its id.
    framework.start()
    framework.end(signal.SIGTERM)
    storage = config.storage(framework.environment())
    store = SqlStore(storage.url, keys.sealer(storage))
    store.lead("restart", None)
    fits = fill(store, framework, git, queued, running)
    store.close()
    began = time.monotonic()
    framework.start()
    seconds = {"ready": time.monotonic() - began}

    def reconciled() -> bool:
        page = framework.call("GET", "/api/v1/builds?state=RUNNING,STAGING&limit=200").json()
        return {build["id"] for build in page["builds"]} <= {fits}

    def scheduled() -> bool:
        return bool(framework.get(fits)["attempts"])

    until(reconciled, "the running builds were not asked about", 120.0)
    seconds["reconciled"] = time.monotonic() - began
    until(scheduled, "nothing was placed", 120.0)
    seconds["placed"] = time.monotonic() - began
    framework.succeeded(fits)
    seconds["built"] = time.monotonic() - began
    return seconds


def run(queued: int, running: int) -> int:
    """Print the figures."""
    with running_cluster() as (cluster, directory):
        framework = Framework(cluster, directory, _PORT)
        seconds = measure(framework, queued, running)
        framework.end(signal.SIGTERM)
    told = " ".join(f"{name}={value:.1f}" for name, value in seconds.items())
    print(f"restart: queued={queued} running={running} {told}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=200)
    asked = parser.parse_args()
    sys.exit(run(asked.queued, asked.running))
