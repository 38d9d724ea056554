"""Gathers what the verdict is about: from the API, the registry, the master and the agents."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import requests

from devcluster import Cluster
from devcluster.cluster import leftover_mounts
from devcluster.daemon import Service
from devcluster.engine import NAMESPACE
from tests.chaos.orders import Order, call
from tests.chaos.parts import eventually
from tests.chaos.verdict import Complaint, Evidence, Fault, judge, puts, timestamp
from tests.integration.harness import Framework, Json

LEFTOVER_SECONDS = 60.0
"""How long after the last build its traces may still be there."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ACCEPT = (
    f"{_MANIFEST}, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_OVER = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_DROPPED"})


def of_order(order: Order, framework: Framework, *others: Framework) -> Evidence:
    """All there is to know about a build that should be over. `others` share the database."""
    unknown: Json = {"state": "UNKNOWN"}
    build = unknown if order.build_id is None else order.look(framework) or unknown
    if build["state"] != "UNKNOWN":
        eventually(lambda: framework.get(str(order.build_id))["log"]["complete"], 30)
        build = framework.get(str(order.build_id))
    cluster = framework.cluster
    with cluster.registry.log_path.open(errors="replace") as log:
        put = tuple(put for put in puts(log) if put.name == order.name)
    told = {other.url: (order.look(other) or unknown)["state"] for other in others}
    return Evidence(
        build=build,
        tags={tag: tag_digest(cluster, order.name, tag) for tag in order.tags},
        puts=put,
        log=framework.log(str(order.build_id)) if build["state"] != "UNKNOWN" else "",
        ids=_ids(framework, f"{cluster.registry.address}/{order.name}:{order.tags[0]}"),
        told={**told, "the database": _recorded(framework, order) or "UNKNOWN"},
    )


def _ids(framework: Framework, image: str) -> tuple[str, ...]:
    answer = framework.call("GET", "/api/v1/builds", params={"image": image})
    return tuple(build["id"] for build in answer.json()["builds"])


def tag_digest(cluster: Cluster, name: str, tag: str) -> str | None:
    """The digest of the manifest that the registry has under a tag."""
    answer = requests.head(
        f"http://{cluster.registry.address}/v2/{name}/manifests/{tag}",
        auth=(cluster.registry.username, cluster.registry.password),
        headers={"Accept": _ACCEPT},
        timeout=30,
    )
    return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else None


def verdicts(
    orders: Iterable[Order], frameworks: Sequence[Framework]
) -> dict[Order, list[Complaint]]:
    """What is wrong with each build."""
    return {order: judge(order, of_order(order, *frameworks)) for order in orders}


# -- what must be gone ------------------------------------------------------------------------


def leftovers(cluster: Cluster, frameworks: Sequence[Framework]) -> list[Complaint]:
    """What is still there long after the last build was over."""
    found: list[str] = []

    def clean() -> bool:
        found[:] = [
            *(f"container {line}" for line in _running(cluster)),
            *(f"shim {line}" for line in _shims(cluster)),
            *(f"mount {line}" for line in _mounts(cluster)),
            *(f"task {line}" for line in _tasks(cluster)),
            *{line for framework in frameworks for line in undelivered(framework)},
        ]
        return not found

    eventually(clean, LEFTOVER_SECONDS)
    return [Complaint(Fault.LEFTOVER, f"{line} is still there") for line in found]


def _running(cluster: Cluster) -> list[str]:
    """Containers that are not over, paused ones too; cache volumes in use are theirs.

    A dockerd that is killed inside `docker run` leaves a container that never starts. That is
    Mesos' to remove (`--docker_kill_orphans`, off here because two agents share an engine).
    """
    form = "{{.Names}} {{.State}}"
    lines = cluster.engine.docker("ps", "--all", "--format", form).splitlines()
    return [line for line in lines if not line.endswith((" exited", " dead", " created"))]


def _shims(cluster: Cluster) -> list[str]:
    tasks = cluster.config.run_dir / "containerd" / "io.containerd.runtime.v2.task" / NAMESPACE
    return [path.name[:12] for path in tasks.glob("*")]


def _mounts(cluster: Cluster) -> list[str]:
    """The engine mounts nothing while no container runs, but its own directory."""
    root, engine = cluster.config.state_dir / "docker", cluster.engine
    never_started = engine.docker("ps", "--all", "--quiet", "--filter", "status=created").split()
    form = "{{.GraphDriver.Data.MergedDir}}"
    theirs = engine.docker("inspect", "--format", form, *never_started) if never_started else ""
    # The engine's own for containers in the host's network; it stays once there was one.
    hosts = cluster.config.run_dir / "docker" / "netns" / "default"
    known = {str(root), str(hosts), *theirs.split()}
    mounted = leftover_mounts(root, cluster.config.run_dir / "docker")
    return [target for target in mounted if target not in known]


def _tasks(cluster: Cluster) -> list[str]:
    """Tasks that the master holds for running, whoever started them: every build is over."""
    return [
        f"{task['id']} ({task['state']})"
        for framework in frameworks_of(cluster)
        for task in [*framework["tasks"], *framework["unreachable_tasks"]]
        if task["state"] not in _OVER
    ]


def frameworks_of(cluster: Cluster) -> list[Json]:
    """The frameworks that the master knows, with their tasks."""
    answer = requests.get(f"{cluster.master.url}/master/state", timeout=30)
    answer.raise_for_status()
    found: list[Json] = answer.json()["frameworks"]
    return found


def undelivered(framework: Framework) -> list[str]:
    """Deliveries that nobody took; the receiver of these suites takes every one."""
    rows = _rows(framework, "SELECT id FROM deliveries WHERE state <> 'DELIVERED'")
    return [f"delivery {row[0]}" for row in rows]


def _recorded(framework: Framework, order: Order) -> str | None:
    """The state of a build in the database, past every process."""
    return dict(_rows(framework, "SELECT id, state FROM builds")).get(str(order.build_id))


def _rows(framework: Framework, query: str) -> list[Any]:
    """Of the database of a framework, whichever it has."""
    url = framework.settings.get("BUILDER_DATABASE_URL")
    if url is not None:
        with psycopg.connect(url) as connection:
            return list(connection.execute(query.encode()))
    file = framework.data_dir / "builder.db"
    if not file.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return list(database.execute(query))


# -- for whoever has to find out why ----------------------------------------------------------


def story(order: Order, frameworks: Sequence[Framework], folder: Path) -> str:
    """What the frameworks logged about a build; record and log go into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = [
        line
        for framework in frameworks
        for line in framework.log_file.read_text(errors="replace").splitlines()
        if order.build_id is not None and order.build_id in line
    ]
    for framework in frameworks:
        answer = call(framework, "GET", f"/api/v1/builds/{order.build_id}")
        if answer is not None and answer.status_code == 200:
            (folder / f"{order.build_id}.json").write_text(answer.text)
            (folder / f"{order.build_id}.log").write_text(framework.log(str(order.build_id)))
            break
    return "\n".join(f"    {line}" for line in sorted(mine))


def ended_at(order: Order, framework: Framework) -> float:
    """When a build was over (seconds since the epoch); now, when it is not."""
    build = order.look(framework) or {}
    ended = build.get("ended_at")
    return timestamp(ended) if ended else time.time()


def keep_logs(
    cluster: Cluster, services: Iterable[Service], frameworks: Iterable[Framework], folder: Path
) -> None:
    """Copies the logs of every part, as they are now."""
    for log in (*cluster.config.log_dir.glob("*.log"), *(each.log_path for each in services)):
        shutil.copy(log, folder / log.name)
    for framework in frameworks:
        shutil.copy(framework.log_file, folder / f"framework-{framework.port}.log")
