"""The framework dies at a fail point while a build is under way: is any promise broken?

``python -m tests.chaos.points --repeats 5`` does it at every point and prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests

from builder_framework import failpoints
from devcluster import Cluster
from devcluster.progress import Stopwatch
from devcluster.pytest_plugin import own_cluster
from tests.chaos.evidence import frameworks_of, leftovers, of_order, undelivered
from tests.chaos.orders import Kind, Order, provide, told
from tests.chaos.parts import eventually
from tests.chaos.verdict import Complaint, Fault, judge
from tests.integration.harness import TERMINAL, Framework, Json
from tests.unit.receivers import Receiver, answers

FIRST_PORT = 8200
AT_ONCE = 3
"""Frameworks at the same time: each point has one of its own, and a machine has few cores."""

PATIENCE = 120.0
_POLL = 0.1


def _moment(point: str) -> str:
    return point.partition(".")[0]


def kind_for(point: str) -> Kind:
    """A build during which the point is reached."""
    return {"T16": Kind.CANCELLED, "T19": Kind.LONG}.get(_moment(point), Kind.GOOD)


@dataclass
class Life:
    """One framework with one build, from its armed start to the build's end after its death."""

    point: str
    framework: Framework
    order: Order
    deaths: int = 0
    trouble: list[str] = field(default_factory=list)

    def run(self) -> list[Complaint]:
        """What the build's customer may complain of."""
        try:
            if self.point.startswith("T19."):
                self._be_away_while_it_runs()
            self._arm()
            self.framework.spawn()
            self._until_over()
            if not eventually(lambda: not undelivered(self.framework), PATIENCE):
                self.trouble.append("its webhooks are not delivered")
            complaints = judge(self.order, of_order(self.order, self.framework))
        except (AssertionError, requests.RequestException) as error:
            complaints = [Complaint(Fault.WRONG, f"{self.point}: {error}")]
        finally:
            self._end()
        return complaints + [Complaint(Fault.WRONG, f"{self.point}: {t}") for t in self.trouble]

    def _arm(self) -> None:
        self.framework.settings |= {
            failpoints.VARIABLE: f"{self.point}:exit9",
            failpoints.PERMISSION: "1",
        }

    def _be_away_while_it_runs(self) -> None:
        """Only who comes back to a running task has something to reconcile."""
        self.framework.start()
        while self.order.build_id is None:
            self.order.submit(self.framework, time.time())
        build_id = self.order.build_id
        # From its step's first line on there is no news for half a minute, and what was new before
        # has had time to be acknowledged: news that an agent sends again would answer before
        # anything is asked.
        self.framework.wait_for(
            build_id, lambda _: "it takes long" in self.framework.log(build_id), "in its step"
        )
        self.framework.end(signal.SIGKILL)

    def _until_over(self) -> None:
        deadline = time.monotonic() + PATIENCE
        build: Json | None = None
        while build is None or build["state"] not in TERMINAL or not self.deaths:
            if time.monotonic() > deadline:
                what = "the build is not over" if self.deaths else "the point was not reached"
                self.trouble.append(f"{what}: {self.framework.tail()}")
                return
            self._revive()
            build = self._ask()
            time.sleep(_POLL)

    def _revive(self) -> None:
        """Starts the framework again when it has died, as Marathon would."""
        process = self.framework.process
        assert process is not None
        if (code := process.poll()) is None:
            return
        self.deaths += 1
        if code != -signal.SIGKILL or self.deaths > 1:
            self.trouble.append(f"the framework ended by itself with {code}")
        del self.framework.settings[failpoints.VARIABLE]
        self.framework.spawn()

    def _ask(self) -> Json | None:
        """One step of the customer; the build when there is an answer."""
        order = self.order
        if order.build_id is None:
            order.submit(self.framework, time.time())
            return None
        build = order.look(self.framework)
        wanted = order.kind is Kind.CANCELLED and not order.cancel_answered
        if build is not None and wanted and build["phase"] == "BUILDING":
            order.cancel(self.framework)
        return build

    def _end(self) -> None:
        process = self.framework.process
        if process is not None and process.poll() is None:
            self.framework.end(signal.SIGTERM)


def run(
    cluster: Cluster, points: Sequence[str], folder: Path
) -> Iterator[tuple[str, list[Complaint]]]:
    """Each point with what was wrong there, as they come; a few at a time."""
    urls = provide(cluster)
    receiver = Receiver(answers("204 No Content"))

    def one(numbered: tuple[int, str]) -> tuple[str, list[Complaint]]:
        number, point = numbered
        settings = {"BUILDER_FRAMEWORK_NAME": f"point-{number}-{point}", **told(receiver)}
        framework = Framework(cluster, folder / f"{number}-{point}", FIRST_PORT + number, settings)
        kind = kind_for(point)
        return point, Life(point, framework, Order(kind, urls[kind])).run()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(one, enumerate(points))
    receiver.close()


def forget(cluster: Cluster) -> None:
    """Has the master forget the frameworks of these runs; all of their builds are over."""
    for framework in frameworks_of(cluster):
        if framework["name"].startswith("point-"):
            requests.post(
                f"{cluster.master.url}/master/teardown",
                data={"frameworkId": framework["id"]},
                timeout=10,
            ).raise_for_status()


def table(runs: Mapping[str, Sequence[Sequence[Complaint]]]) -> str:
    """A line for each point: what it is, how often it was run, how often something was wrong."""
    lines = []
    for point, results in runs.items():
        red = sum(1 for complaints in results if complaints)
        side = point.partition(".")[2]
        what = failpoints.MOMENTS[_moment(point)]
        lines.append(f"{point:<11} {side:<6} {what:<45} runs={len(results)} red={red}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make failpoints", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1, help="how often at each point")
    parser.add_argument("--only", default="", help='for example "T5.before T6.after"')
    options = parser.parse_args()
    points = options.only.split() or list(failpoints.POINTS)
    runs: dict[str, list[list[Complaint]]] = {point: [] for point in points}
    folder = Path(tempfile.mkdtemp(prefix="builder-failpoints-"))
    with own_cluster(Stopwatch()) as cluster:
        for point, complaints in run(cluster, points * options.repeats, folder):
            runs[point].append(complaints)
            print(*complaints, sep="\n", end="\n" if complaints else "", flush=True)
        left = leftovers(cluster, ())
        forget(cluster)
    print(*left, table(runs), sep="\n")
    red = sum(1 for results in runs.values() for complaints in results if complaints) + len(left)
    if red:
        print(f"logs and databases: {folder}")
    else:
        shutil.rmtree(folder)
    total = sum(map(len, runs.values()))
    print(f"failpoints: points={len(points)} runs={total} red={red}")
    return 1 if red else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
