"""`make bench-builds`: what a build costs with us, and what it costs without.

Every round takes a new repository through all variants, ours and the bare pipeline in turn, so that
whatever else the machine does hits all of them. Only ratios and differences within a run count.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from bench import breakdown, project
from bench.bare import BareEngine, Took, bare_engine
from bench.chart import chart
from bench.figures import Figure, Series, at_most, plain, table, times_faster, write
from devcluster import Cluster
from devcluster.config import REPOSITORY
from tests.endurance.cluster import running_cluster
from tests.integration.harness import Framework, Json

_PORT = 8195
_CHART = REPOSITORY / "docs" / "images" / "bench-builds.svg"

BARE_COLD = "bare, cold"
BARE_WARM = "bare, warm, unchanged"
BARE_CHANGED = "bare, warm, one file changed"
COLD_ENGINE = "a cold engine each time"
FIRST = "ours, first build on an agent"
FIRST_CACHED = "ours, first build, cache to the registry"
UNCHANGED = "ours, same agent, unchanged"
CHANGED = "ours, same agent, one file changed"
OTHER = "ours, other agent, unchanged"
OTHER_CHANGED = "ours, other agent, one file changed"
ORDER = (
    BARE_WARM,
    UNCHANGED,
    BARE_CHANGED,
    CHANGED,
    OTHER,
    OTHER_CHANGED,
    BARE_COLD,
    COLD_ENGINE,
    FIRST,
    FIRST_CACHED,
)

OVERHEAD = 1.5
SAME_AGENT = 10.0
OTHER_AGENT = 5.0
"""Targets: seconds over the bare pipeline, and times faster than a cold engine."""

_SETTLE = 2.0
"""Seconds between two builds: what the last one left is being stopped, and would be measured."""


@dataclass
class Samples:
    """Seconds by variant, and those of their phases."""

    total: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, variant: str, seconds: float, parts: dict[str, float]) -> None:
        self.total[variant].append(seconds)
        for name, part in parts.items():
            self.parts[variant][name].append(part)
        told = " ".join(f"{name} {part:.2f}" for name, part in parts.items())
        print(f"{variant:44} {seconds:7.2f} s  ({told})", flush=True)

    def series(self, variant: str) -> Series:
        return Series(variant, self.total[variant])


@dataclass
class Bench:
    """One run: the cluster, a framework on it, and what was found."""

    cluster: Cluster
    framework: Framework
    mib_per_second: float
    samples: Samples = field(default_factory=Samples)

    def round(self, repeats: int) -> None:
        """Every variant with a repository of its own, the cheap ones `repeats` times."""
        name = f"bench-{uuid.uuid4().hex[:8]}"
        git = self.cluster.git
        url = git.create_repository(
            name, project.files(self.cluster.base_image, self.mib_per_second)
        )
        with bare_engine(self.cluster) as engine:
            took = self._bare(BARE_COLD, engine, url, name)
            parts = {"engine": engine.start, **_parts(took)}
            self.samples.add(COLD_ENGINE, engine.start + took.total, parts)
            self._ours(FIRST, url, name, "a")
            for _ in range(repeats):
                self._bare(BARE_WARM, engine, url, name)
                self._ours(UNCHANGED, url, name, "a")
            for number in range(repeats):
                project.change(git, name, number + 1)
                self._ours(CHANGED, url, name, "a")
                self._bare(BARE_CHANGED, engine, url, name)
        # The first of these fills the registry's cache; the others find nothing else.
        first, second, third = (project.alias(git, name, number) for number in (1, 2, 3))
        self._ours(FIRST_CACHED, first, name, "a", registry_cache=True)
        self._ours(OTHER, second, name, "b", registry_cache=True)
        project.change(git, name, repeats + 1)
        self._ours(OTHER_CHANGED, third, name, "b", registry_cache=True)

    def _bare(self, variant: str, engine: BareEngine, url: str, name: str) -> Took:
        time.sleep(_SETTLE)
        # Another tag each time: moving one can make BuildKit's next export fail (buildkit#6521).
        tag = len(self.samples.total[variant])
        label = variant.replace(", ", "-").replace(" ", "-")
        took = engine.run(url, f"{self.cluster.registry.address}/{name}/bare:{label}-{tag}")
        self.samples.add(variant, took.total, _parts(took))
        return took

    def _ours(
        self, variant: str, url: str, name: str, rack: str, *, registry_cache: bool = False
    ) -> None:
        time.sleep(_SETTLE)
        image = f"{name}/cached:1" if registry_cache else f"{name}/ours:1"
        began = time.time()
        build_id = self.framework.submit(
            url,
            image,
            constraints=[["rack", "EQUALS", rack]],
            registry_cache=registry_cache,
            resources={"cpus": 1, "mem": 2048},
        )
        build = self.framework.succeeded(build_id)
        parts = breakdown.phases(began, build, self._container_began(build, began))
        self.samples.add(variant, sum(parts.values()), parts)

    def _container_began(self, build: Json, since: float) -> float | None:
        """When the container of its executor was started, if that was for this build."""
        told = self.cluster.engine.docker(
            "events",
            f"--since={since:.3f}",
            f"--until={time.time():.3f}",
            "--filter=event=start",
            f"--filter=label=builder.executor={build['attempts'][-1]['executor']}",
            "--format={{json .}}",
        )
        moments = [json.loads(line)["timeNano"] / 1e9 for line in told.splitlines()]
        return min(moments, default=None)


def _parts(took: Took) -> dict[str, float]:
    return {"clone": took.clone, "build": took.build, "push": took.push}


def figures(samples: Samples) -> list[Figure]:
    """What was found, with its targets."""
    of = samples.series
    compared = {
        UNCHANGED: BARE_WARM,
        CHANGED: BARE_CHANGED,
        FIRST: BARE_COLD,
        FIRST_CACHED: BARE_COLD,
        OTHER: BARE_WARM,
        OTHER_CHANGED: BARE_CHANGED,
    }
    found = [
        plain(of(name), compared=of(compared[name]) if name in compared else None) for name in ORDER
    ]
    found += [
        at_most("overhead, unchanged", of(UNCHANGED), of(BARE_WARM), OVERHEAD),
        at_most("overhead, one file changed", of(CHANGED), of(BARE_CHANGED), OVERHEAD),
        times_faster("same agent, unchanged", of(UNCHANGED), of(COLD_ENGINE), SAME_AGENT),
        times_faster("other agent, unchanged", of(OTHER), of(COLD_ENGINE), OTHER_AGENT),
        times_faster(
            "other agent, one file changed", of(OTHER_CHANGED), of(COLD_ENGINE), OTHER_AGENT
        ),
    ]
    for variant in (UNCHANGED, CHANGED):
        parts = samples.parts[variant]
        found += [plain(Series(f"{variant}: {name}", parts[name])) for name in breakdown.PHASES]
    return found


def phase_table(samples: Samples) -> str:
    """Median seconds of each phase, a line for each of our variants."""
    lines = [f"{'':44}" + "".join(f"{name:>10}" for name in breakdown.PHASES)]
    for variant in ORDER:
        parts = samples.parts[variant]
        row = "".join(
            f"{statistics.median(parts[name]):>10.2f}" if name in parts else f"{'':>10}"
            for name in breakdown.PHASES
        )
        lines.append(f"{variant:44}{row}")
    return "\n".join(lines)


def run(rounds: int, repeats: int) -> int:
    """Measure, print and write; 0 if every target holds."""
    with running_cluster() as (cluster, directory):
        settings = {
            "BUILDER_FRAMEWORK_NAME": "bench",
            "BUILDER_CACHE_SHARING": "repository",
            # As long as operators have it by default.
            "BUILDER_EXECUTOR_IDLE": "600",
        }
        framework = Framework(cluster, directory / "framework", _PORT, settings)
        framework.start()
        try:
            bench = Bench(cluster, framework, project.speed())
            for number in range(rounds):
                print(f"-- round {number + 1} of {rounds}", flush=True)
                bench.round(repeats)
        finally:
            framework.end(signal.SIGTERM)
    found = figures(bench.samples)
    print(f"\nseconds, POST to end (bare: clone, build and push)\n\n{table(found)}")
    print(f"\nmedian seconds of each phase\n\n{phase_table(bench.samples)}")
    print(f"\nwritten: {write('builds', found)}")
    _CHART.write_text(chart([bench.samples.series(name) for name in ORDER]))
    missed = [each.name for each in found if each.holds is False]
    print(f"bench-builds: rounds={rounds} targets_missed={len(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    sys.exit(run(asked.rounds, asked.repeats))
