"""`make failovers`: two frameworks on one PostgreSQL, and the leader is ended again and again.

Some of them by SIGSTOP: while such a one sleeps the other takes over, and when it wakes it must
neither write nor launch nor subscribe. Builds go on all the while.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

from devcluster.postgres import Postgres, free_port
from tests.endurance.cluster import running_cluster
from tests.integration.harness import TERMINAL, Framework, Json, until

_PORTS = (8192, 8193)
_PATIENCE = 60.0
_AT_WORK = 4
_SUBSCRIBED = re.compile(r"(?:registered|subscribed) as \S+ (?:with|to) ")


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of our own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="builder-postgres-") as directory:
        Path(directory).chmod(0o755)
        server = Postgres(Path(directory), free_port())
        server.start()
        try:
            yield server
        finally:
            server.kill()


@dataclass
class Pair:
    """Two frameworks; one of them leads."""

    members: tuple[Framework, Framework]
    builds: list[str] = field(default_factory=list)

    def leader(self) -> Framework | None:
        """Whoever is subscribed."""
        return next((member for member in self.members if member.is_ready()), None)

    def other(self, member: Framework) -> Framework:
        first, second = self.members
        return second if member is first else first

    def wait_leader(self, not_this: Framework | None = None) -> Framework:
        """The leader, once there is one."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            leader = self.leader()
            if leader is not None and leader is not not_this:
                return leader
            time.sleep(0.1)
        raise AssertionError("nobody leads")


def subscriptions(member: Framework) -> int:
    """How often this one has subscribed, over all its lives."""
    return len(_SUBSCRIBED.findall(member.log_file.read_text()))


def fail_over(pair: Pair, by: str) -> tuple[float, int]:
    """End the leader by `by`; seconds until the other is subscribed, and SUBSCRIBEs it took."""
    old = pair.wait_leader()
    new = pair.other(old)
    before = subscriptions(old) + subscriptions(new)
    began = time.monotonic()
    assert old.process is not None
    if by == "stop":
        old.process.send_signal(signal.SIGSTOP)
    else:
        old.end(signal.SIGTERM if by == "term" else signal.SIGKILL)
    pair.wait_leader(not_this=old)
    took = time.monotonic() - began
    if by == "stop":
        old.process.send_signal(signal.SIGCONT)
        # It finds out that it leads no longer, and ends by itself.
        code = old.process.wait(timeout=_PATIENCE)
        assert code == 70, f"the one that was stopped ended with {code}"
        old.process = None
    needed = subscriptions(old) + subscriptions(new) - before
    old.spawn()
    until(lambda: bool(old.readiness()), "the new follower does not answer")
    return took, needed


def keep_busy(pair: Pair, git: str, rng: random.Random) -> None:
    """A few builds at work; asked of either member, whoever leads."""
    member = rng.choice(pair.members)
    unfinished = [b for b in pair.builds if member.get(b)["state"] not in TERMINAL]
    for _ in range(_AT_WORK - len(unfinished)):
        pair.builds.append(member.submit(git, f"failover:{len(pair.builds)}"))


def launches(pair: Pair) -> Counter[str]:
    """How many tasks the master ever had for each build."""
    master = pair.members[0].cluster.master
    state: Json = requests.get(f"{master.url}/master/state", timeout=10).json()
    tasks: Counter[str] = Counter()
    for framework in (*state["frameworks"], *state["completed_frameworks"]):
        for task in (*framework["tasks"], *framework["completed_tasks"]):
            tasks[task["id"].partition(".")[0]] += 1
    return tasks


def run(times: int, stops: int, seed: int) -> int:
    """Print one line for each failover and the sum; 0 if nothing was doubled, lost or too often."""
    rng = random.Random(seed)  # noqa: S311
    how = ["stop"] * stops + [rng.choice(["kill", "kill", "term"]) for _ in range(times - stops)]
    rng.shuffle(how)
    with running_cluster() as (cluster, directory), running_postgres() as postgres:
        settings = {
            "BUILDER_DATABASE_URL": postgres.create_database("builder"),
            "BUILDER_FRAMEWORK_NAME": "failovers",
        }
        first, second = (
            Framework(cluster, directory / str(port), port, dict(settings)) for port in _PORTS
        )
        pair = Pair((first, second))
        first.start()
        second.data_dir.mkdir(parents=True)
        second.spawn()
        until(lambda: bool(second.readiness()), "the follower does not answer")
        dockerfile = f"FROM {cluster.base_image}\nRUN sleep 3\n"
        git = cluster.git.create_repository("failover", {"Dockerfile": dockerfile})
        took, too_often = [], 0
        for number, by in enumerate(how, start=1):
            keep_busy(pair, git, rng)
            time.sleep(rng.uniform(0.0, 3.0))
            seconds, needed = fail_over(pair, by)
            took.append((by, seconds))
            too_often += needed > 1
            print(f"{number:3} {by:4} {seconds:5.1f} s  SUBSCRIBEs: {needed}", flush=True)
        leader = pair.wait_leader()
        ended = [leader.wait_end(build_id, 240.0) for build_id in pair.builds]
        doubled = sum(count > 1 for count in launches(pair).values())
        lost = sum(build["state"] != "SUCCEEDED" for build in ended)
        for build in ended:
            if build["state"] != "SUCCEEDED" or len(build["attempts"]) > 1:
                print(build["id"], build["state"], build["reason"], build["message"])
        for member in pair.members:
            member.end(signal.SIGTERM)
    slowest = max(seconds for _, seconds in took)
    print(
        f"failovers: seed={seed} failovers={times} stops={stops} builds={len(ended)} lost={lost} "
        f"doubled={doubled} too_many_subscribes={too_often} slowest_s={slowest:.1f}"
    )
    return 1 if lost or doubled or too_often else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--stops", type=int, default=15)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    asked = parser.parse_args()
    sys.exit(run(asked.times, asked.stops, asked.seed))
