"""Builds on a cluster where everything is killed, frozen and cut off: is any promise broken?

``python -m tests.chaos --seed 7 --builds 90 --kills 42``; ``make chaos SEED=7`` does it.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from devcluster import Cluster
from devcluster.progress import Stopwatch
from devcluster.pytest_plugin import STATE_DIR, own_cluster
from tests.chaos import evidence
from tests.chaos.customers import Customers
from tests.chaos.faults import FrameworkPart, all_faults, services
from tests.chaos.nemesis import Happened, blamed, inflict, schedule
from tests.chaos.orders import Order, provide, told
from tests.chaos.proxy import Proxy
from tests.chaos.verdict import Complaint, Fault
from tests.integration.harness import Framework
from tests.unit.receivers import Receiver, answers

PORT = 8190
PROXY_PORT = 8189
END_SECONDS = 300.0
"""How long builds may take after the last fault: agents wait 3 min for absent executors."""

SETTINGS = {
    "BUILDER_FRAMEWORK_NAME": "chaos",
    "BUILDER_STAGING_TIMEOUT": "120",
    "BUILDER_UNREACHABLE_TIMEOUT": "120",
}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@contextlib.contextmanager
def running(cluster: Cluster, proxy: Proxy, folder: Path) -> Iterator[list[FrameworkPart]]:
    """The frameworks, subscribed through the proxy."""
    receiver = Receiver(answers("204 No Content"))
    settings = {**SETTINGS, **told(receiver), "BUILDER_MESOS_MASTER": proxy.address}
    parts = [FrameworkPart(Framework(cluster, folder / "framework", PORT, settings))]
    for part in parts:
        part.framework.start()
    try:
        yield parts
    finally:
        for part in parts:
            part.end(signal.SIGTERM)
        receiver.close()


def suffer(
    cluster: Cluster, parts: Sequence[FrameworkPart], proxy: Proxy, options: argparse.Namespace
) -> tuple[Customers, list[Happened], list[str]]:
    """The builds and the faults, until all builds are over or `END_SECONDS` after the last one.

    Also what ended without having been told to.
    """
    others = services(cluster)
    faults = {fault.name: fault for fault in all_faults(cluster, parts, others, proxy)}
    if options.only:
        faults = {name: fault for name, fault in faults.items() if options.only in name}
    plan = schedule(options.seed, options.kills, list(faults))
    happened: list[Happened] = []
    supervised = [*parts, *(part for some in others.values() for part in some)]
    customers = Customers(
        parts,
        supervised,
        provide(cluster),
        options.seed,
        options.builds,
        lambda: len(happened) / len(plan) if plan else 1.0,
    )
    customers.start()
    try:
        inflict(plan, faults, say, happened.append)
        say("no more faults; waiting for the builds")
        evidence.eventually(lambda: not customers.waiting, END_SECONDS)
    finally:
        customers.stop()
    return customers, happened, [death for part in supervised for death in part.deaths]


def report(
    wrong: dict[Order, list[Complaint]],
    happened: Sequence[Happened],
    frameworks: Sequence[Framework],
    folder: Path,
) -> None:
    """The story of each wrong build, and what was going on when it ended."""
    under: Counter[str] = Counter()
    for order, complaints in wrong.items():
        print(*complaints, evidence.story(order, frameworks, folder), sep="\n")
        faults = blamed(happened, order.answered_at, evidence.ended_at(order, frameworks[0]))
        under[faults[-1] if faults else "no fault"] += 1
        print(f"    faults meanwhile: {', '.join(faults) or 'none'}")
    injected = Counter(each.fault for each in happened)
    for fault in sorted(injected | under):
        print(f"{fault:<45} injected={injected[fault]} last before a wrong end={under[fault]}")


def campaign(cluster: Cluster, options: argparse.Namespace, folder: Path) -> int:
    """One run; how many promises were broken."""
    proxy = Proxy(cluster.address, PROXY_PORT, cluster.master.address)
    with running(cluster, proxy, folder) as parts:
        frameworks = [part.framework for part in parts]
        customers, happened, deaths = suffer(cluster, parts, proxy, options)
        for framework in frameworks:
            framework.wait_ready()
        say("gathering evidence")
        verdicts = evidence.verdicts(customers.orders, frameworks[0])
        left = evidence.leftovers(cluster, frameworks)
        wrong = {order: complaints for order, complaints in verdicts.items() if complaints}
        report(wrong, happened, frameworks, folder)
    proxy.close()
    evidence.keep_logs(cluster, frameworks, folder)
    print(*left, sep="\n")
    for death, count in Counter(deaths).items():
        print(f"ended by itself {count} times: {death}")
    broken = Counter(c.fault for some in [*wrong.values(), left] for c in some)
    counts = " ".join(f"{fault.value}={broken[fault]}" for fault in Fault)
    accepted = sum(order.build_id is not None for order in verdicts)
    print(f"chaos: seed={options.seed} builds={accepted} kills={len(happened)} {counts}")
    return sum(broken.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))  # noqa: S311
    parser.add_argument("--builds", type=int, default=90)
    parser.add_argument("--kills", type=int, default=42)
    parser.add_argument("--only", default="", help="only faults with this word in their name")
    options = parser.parse_args()
    say(f"seed {options.seed}: {options.builds} builds, {options.kills} faults")
    folder = STATE_DIR / "chaos" / str(options.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with own_cluster(Stopwatch()) as cluster:
        broken = campaign(cluster, options, folder)
    if not broken:
        shutil.rmtree(folder)
    else:
        print(f"logs, databases and builds are in {folder}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    # By way of every `finally`: what is broken is healed first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
