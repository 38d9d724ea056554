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
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster import Cluster
from devcluster.progress import Stopwatch
from devcluster.pytest_plugin import STATE_DIR, own_cluster
from tests.chaos import evidence
from tests.chaos.customers import Customers
from tests.chaos.faults import all_faults, framework_faults
from tests.chaos.nemesis import Happened, blamed, inflict, schedule
from tests.chaos.orders import Order, provide, told
from tests.chaos.parts import FrameworkPart, Supervised, eventually, services
from tests.chaos.proxy import Proxy
from tests.chaos.surroundings import ELECTIONS, running, surroundings
from tests.chaos.verdict import Complaint, Fault, unexpected
from tests.integration.harness import Framework
from tests.unit.receivers import Receiver, answers

PROXY_PORT = 8189
SETTLED_SECONDS = 60.0
"""How long after all builds it may take until every process answers and one leads."""
CALM_SECONDS = 5.0
"""For how long nothing may have changed then; ended sessions are told within one."""
END_SECONDS = 300.0
"""How long builds may take after the last fault: agents wait 3 min for absent executors."""

SETTINGS = {
    "BUILDER_FRAMEWORK_NAME": "chaos",
    "BUILDER_EXECUTOR_IDLE": "15",
    "BUILDER_STAGING_TIMEOUT": "120",
    "BUILDER_UNREACHABLE_TIMEOUT": "120",
}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def suffer(
    cluster: Cluster,
    parts: Sequence[FrameworkPart],
    others: Mapping[str, Sequence[Supervised]],
    proxy: Proxy,
    options: argparse.Namespace,
) -> tuple[Customers, list[Happened], list[str]]:
    """The builds and the faults, until all builds are over or `END_SECONDS` after the last one.

    Also what frameworks did that they should not.
    """
    trouble: list[str] = []
    of_frameworks = framework_faults(parts, trouble)
    faults = {fault.name: fault for fault in all_faults(cluster, of_frameworks, others, proxy)}
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
        eventually(lambda: not customers.waiting, END_SECONDS)
    finally:
        customers.stop()
    return customers, happened, trouble


def settled(parts: Sequence[FrameworkPart]) -> bool:
    """Whether every process answers and one leads. Those that ended by themselves are started."""
    for part in parts:
        part.supervise()
    roles = [part.role() for part in parts]
    return None not in roles and roles.count("leader") == 1


def settles(parts: Sequence[FrameworkPart]) -> bool:
    """Whether they come to rest: whoever was just thawed may not know yet that it has to end."""
    calm_since = time.monotonic()

    def calm() -> bool:
        nonlocal calm_since
        if not settled(parts):
            calm_since = time.monotonic()
        return time.monotonic() - calm_since > CALM_SECONDS

    return eventually(calm, SETTLED_SECONDS)


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
    receiver = Receiver(answers("204 No Content"))
    with contextlib.ExitStack() as up:
        up.callback(proxy.close)
        up.callback(receiver.close)
        ground = up.enter_context(surroundings(proxy.address, options.election))
        settings = {**SETTINGS, **told(receiver), **ground.settings}
        parts = up.enter_context(running(cluster, settings, folder))
        frameworks = [part.framework for part in parts]
        others = services(cluster, ground.services)
        up.callback(
            evidence.keep_logs, cluster, tuple(ground.services.values()), frameworks, folder
        )
        customers, happened, trouble = suffer(cluster, parts, others, proxy, options)
        if not settles(parts):
            trouble.append(f"roles after all faults: {[part.role() for part in parts]}")
        say("gathering evidence")
        verdicts = evidence.verdicts(customers.orders, frameworks)
        left = evidence.leftovers(cluster, frameworks[:1])
        wrong = {order: complaints for order, complaints in verdicts.items() if complaints}
        report(wrong, happened, frameworks, folder)
    deaths = Counter(death for part in parts for death in part.deaths)
    for death, count in deaths.items():
        print(f"a framework ended by itself {count} times: {death}")
    for services_death in [d for some in others.values() for part in some for d in part.deaths]:
        print(f"ended by itself: {services_death}")
    general = [*left, *unexpected([*trouble, *deaths.elements()])]
    print(*general, sep="\n", end="\n" if general else "")
    broken = Counter(c.fault for some in [*wrong.values(), general] for c in some)
    counts = " ".join(f"{fault.value}={broken[fault]}" for fault in Fault)
    accepted = sum(order.build_id is not None for order in verdicts)
    print(f"chaos: seed={options.seed} builds={accepted} kills={len(happened)} {counts}")
    return sum(broken.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))  # noqa: S311
    parser.add_argument("--builds", type=int, default=90)
    parser.add_argument("--kills", type=int, default=42)
    parser.add_argument("--election", choices=ELECTIONS, default=ELECTIONS[0])
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
