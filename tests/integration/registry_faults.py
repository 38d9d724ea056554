"""Every fault at every request of a push: `make registry-faults`.

The executor's pipeline runs in this process, against the cluster's real engine and registry, with a
proxy between both that spoils one request. Only git and the framework's leave are stood in for.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

from builder_framework.protocol import (
    BuildSpec,
    EngineMode,
    EngineSpec,
    LeaseAnswer,
    Outcome,
    Report,
    decode_lease_request,
)
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    Logins,
    RegistryAuth,
    RegistryLogin,
    Source,
)
from builder_framework.redact import Secret
from builder_framework.validate import image_reference
from devcluster import Cluster
from devcluster.progress import Stopwatch
from devcluster.pytest_plugin import cluster_config
from executor import pipeline as pipeline_module
from executor.cancel import CancelToken
from executor.engine import Engine, Engines, SocketEngine, answers
from executor.extras import Extras
from executor.host import daemon_settings
from executor.lease import LeaseDesk
from executor.log import BuildLog
from executor.manifests import Repository
from executor.pipeline import Pipeline
from executor.plan import Plan
from executor.registry import Registry
from executor.retry import Backoff
from executor.sources import Checkout, Fetcher
from executor.workspace import workspace
from tests.integration.faulty_proxy import Fault, FaultyProxy
from tests.integration.harness import pull, until

TAGS = ("1", "latest")
SILENCE = 6.0
"""Seconds without progress after which the engine's push is hung up; ten minutes in production."""

CALL_TIMEOUT = 5.0
AT_ONCE = 6


class OneEngine(Engines):
    """An engine that runs already, behind its socket."""

    def __init__(self, socket: Path, sandbox: Path) -> None:
        super().__init__(sandbox)
        self._only = SocketEngine(socket)

    def _engine_for(self, *_: object) -> Engine:
        return self._only


@contextmanager
def executors_engine(cluster: Cluster) -> Iterator[Path]:
    """The socket of an engine as executors have it: that of their image, with the same settings.

    On the machine's own network, so that it reaches the proxies.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        settings = daemon_settings(EngineSpec(), "198.18.213.1/24")
        settings = {k: v for k, v in settings.items() if k in ("features", "shutdown-timeout")}
        Path(folder, "daemon.json").write_text(json.dumps({**settings, "bridge": "none"}))
        command = ["dockerd", "--config-file=/faults/daemon.json", "--iptables=false"]
        container = cluster.engine.docker(
            *("run", "--detach", "--privileged", "--network=host", f"--volume={folder}:/faults"),
            *("--volume=/var/lib/docker", cluster.executor_image, *command),
            "--host=unix:///faults/docker.sock",
        ).strip()
        try:
            socket = Path(folder, "docker.sock")
            until(lambda: answers(socket), "the executor's engine does not answer")
            yield socket
        finally:
            cluster.engine.docker("rm", "--force", "--volumes", container)


@dataclass
class Case:
    """One build through the proxy, and what it came to."""

    cluster: Cluster
    engine: Path
    fault: Fault | None = None
    at: int = 0
    builds: int = 0
    report: Report = field(default_factory=Report)
    log: str = ""
    requests: int = 0
    puts: Counter[str] = field(default_factory=Counter)
    tags: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def run(self) -> Case:
        began = time.monotonic()
        name = f"faults-{uuid.uuid4().hex[:12]}"
        with FaultyProxy(self.cluster.registry.address, self.fault, self.at) as proxy:
            with tempfile.TemporaryDirectory() as folder:
                self.report = self._build(f"{proxy.address}/{name}", Path(folder))
                self.log = Path(folder, "log").read_text()
            self.requests = proxy.count
            for request in list(proxy.seen):
                if request.method == "PUT" and request.status == 201:
                    self.puts[request.path.rpartition("/")[2]] += 1
        self.tags = {tag: pull(self.cluster, name, tag).digest for tag in TAGS if self.good}
        self.seconds = time.monotonic() - began
        return self

    @property
    def good(self) -> bool:
        return self.report.outcome is Outcome.SUCCEEDED

    @property
    def wrong(self) -> str | None:
        """What is not as it must be."""
        if not self.good:
            return f"{self.report.outcome} {self.report.reason}: {self.report.message}"
        if set(self.tags.values()) != {self.report.digest}:
            return f"{self.report.digest} is told, the tags are at {self.tags}"
        if any(self.puts[tag] != 1 for tag in TAGS):
            return f"tags were put {dict(self.puts)} times"
        return None

    def _build(self, image: str, folder: Path) -> Report:
        registry = self.cluster.registry
        auth = RegistryAuth(registry.username, Secret(registry.password))
        login = RegistryLogin(image_reference(image).registry, auth)
        spec = BuildSpec(
            build_id=uuid.uuid4().hex[:16],
            attempt=1,
            source=Source(GitSource("https://git.example/app.git")),
            images=tuple(f"{image}:{tag}" for tag in TAGS),
            timeout=60.0,
            logins=Logins((login,)),
            engine=EngineSpec(EngineMode.SOCKET),
        )
        log = BuildLog(folder / "log", spec.secrets())
        desk = LeaseDesk(
            "task",
            lambda data: desk.answer(
                LeaseAnswer("task", decode_lease_request(data).nonce, True, 30.0)
            ),
        )
        with workspace(folder, folder) as space:
            report = _Pipeline(
                spec,
                space,
                log,
                CancelToken(),
                OneEngine(self.engine, folder),
                lambda _: None,
                desk,
                backoff=Backoff(0.05, 0.2),
                build=self._build_image,
            ).run()
        log.close()
        return report

    def _build_image(self, context: Path, tag: str) -> None:
        self.builds += 1
        (context / "a").write_text(uuid.uuid4().hex)
        (context / "b").write_text(uuid.uuid4().hex)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nCOPY b /b\n")
        host = f"--host=unix://{self.engine}"
        self.cluster.engine.docker(host, "build", "--quiet", "--tag", tag, str(context))


@dataclass
class _Pipeline(Pipeline):
    """Without git, and with a build that needs no buildx on this machine."""

    build: Callable[[Path, str], None] = lambda _context, _tag: None

    def _fetcher(self, plan: Plan) -> Fetcher:
        inline = InlineSource("FROM scratch\n")
        return replace(super()._fetcher(plan), source=Source(inline=inline))

    def _image(self, plan: Plan, checkout: Checkout, engine: Engine, extras: Extras) -> None:
        del checkout, engine, extras
        self.build(self.workspace.checkout, str(plan.local))


@contextmanager
def impatient() -> Iterator[None]:
    """The pipeline with short timeouts: a silent server would otherwise cost ten minutes."""
    with (
        mock.patch.object(pipeline_module, "Registry", partial(Registry, silence=SILENCE)),
        mock.patch.object(pipeline_module, "Repository", partial(Repository, timeout=CALL_TIMEOUT)),
    ):
        yield


def main() -> int:
    """All of them, as a table. The exit code is 1 if one case went wrong."""
    cluster = Cluster(cluster_config())
    cluster.up(Stopwatch(print))
    try:
        return run_all(cluster)
    finally:
        if os.environ.get("BUILDER_TEST_KEEP") != "1":
            cluster.down()


def run_all(cluster: Cluster) -> int:
    """See `main`."""
    with (
        impatient(),
        executors_engine(cluster) as engine,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        clean = Case(cluster, engine).run()
        if clean.wrong is not None:
            raise SystemExit(f"the clean run went wrong: {clean.wrong}\n{clean.log}")
        print(f"a clean push: {clean.requests} requests, {clean.seconds:.1f} s", flush=True)
        wanted = [
            Case(cluster, engine, fault, at) for fault in Fault for at in range(clean.requests)
        ]
        cases = []
        for case in pool.map(Case.run, wanted):
            cases.append(case)
            if case.wrong is not None or case.builds != 1:
                print(f"{case.fault} at {case.at}: {case.wrong}, {case.builds} builds\n{case.log}")
    print(f"{'fault':<10} {'cases':>5} {'wrong':>5} {'rebuilds':>8} {'retried':>7} {'max s':>6}")
    for fault in Fault:
        mine = [case for case in cases if case.fault is fault]
        print(
            f"{fault.value:<10} {len(mine):>5} {sum(c.wrong is not None for c in mine):>5} "
            f"{sum(c.builds - 1 for c in mine):>8} "
            f"{sum('Trying again' in c.log for c in mine):>7} {max(c.seconds for c in mine):>6.1f}"
        )
    wrong = sum(case.wrong is not None for case in cases)
    rebuilds = sum(case.builds - 1 for case in cases)
    print(
        f"registry-faults: requests={clean.requests} cases={len(cases)} "
        f"wrong={wrong} rebuilds={rebuilds}"
    )
    return 1 if wrong or rebuilds else 0


if __name__ == "__main__":
    sys.exit(main())
