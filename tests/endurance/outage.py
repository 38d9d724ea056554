"""`make outage`: what the API's users notice while the master is down for a minute.

The same requests are timed with the master up and after its SIGKILL, in one run; then the master
comes back and whatever was accepted meanwhile must be built.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time

import requests
from requests.auth import HTTPBasicAuth

from tests.endurance.cluster import percentile, running_cluster
from tests.integration.harness import PASSWORD, USER, Framework

_PORT = 8190
_PAUSE = 0.05


class Load:
    """Requests of every kind, each timed, from a few clients at once until told to end."""

    def __init__(self, framework: Framework, git: str, clients: int) -> None:
        self._framework = framework
        self._git = git
        self._ending = threading.Event()
        self.seconds: dict[str, list[float]] = {"submit": [], "list": [], "get": [], "log": []}
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            session.auth = HTTPBasicAuth(USER.encode(), PASSWORD.encode())
            while not self._ending.is_set():
                # A queue of builds that fit nowhere: their number must not grow into the timing.
                body = self._framework.body(
                    self._git, "outage:1", constraints=[["rack", "EQUALS", "nowhere"]]
                )
                answer = self._timed(session, "submit", "POST", "/api/v1/builds", json=body)
                if answer.status_code == 202:
                    build_id = answer.json()["id"]
                    self.accepted.append(build_id)
                    self._timed(session, "get", "GET", f"/api/v1/builds/{build_id}")
                    self._timed(session, "log", "GET", f"/api/v1/builds/{build_id}/log")
                    self._timed(session, "list", "GET", "/api/v1/builds?limit=20")
                time.sleep(_PAUSE)

    def _timed(
        self, session: requests.Session, kind: str, method: str, path: str, **options: object
    ) -> requests.Response:
        began = time.monotonic()
        answer = session.request(method, f"{self._framework.url}{path}", timeout=60, **options)  # type: ignore[arg-type]
        self.seconds[kind].append(time.monotonic() - began)
        if answer.status_code >= 400:
            self.refused.append(f"{kind} {answer.status_code}")
        return answer


def measure(framework: Framework, git: str, seconds: float, clients: int) -> Load:
    """The load of `seconds`."""
    load = Load(framework, git, clients)
    load.start()
    time.sleep(seconds)
    load.end()
    return load


def run(seconds: float, clients: int) -> int:
    """Print the figures; 0 if nothing was refused and the service went on afterwards."""
    with running_cluster() as (cluster, directory):
        framework = Framework(cluster, directory, _PORT)
        framework.start()
        dockerfile = f"FROM {cluster.base_image}\nRUN true\n"
        git = cluster.git.create_repository("outage", {"Dockerfile": dockerfile})
        up = measure(framework, git, seconds, clients)
        cluster.master.kill()
        down = measure(framework, git, seconds, clients)
        during = framework.submit(git, "outage:during")
        cluster.master.start()
        framework.succeeded(during)
        framework.end(signal.SIGTERM)
    print(f"{'':8} {'n':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    for name, load in (("up", up), ("down", down)):
        every = [value for values in load.seconds.values() for value in values]
        print(_row(name, every))
        for kind, values in load.seconds.items():
            print(_row(f"  {kind}", values))
    p99 = [
        percentile([v for values in load.seconds.values() for v in values], 0.99)
        for load in (up, down)
    ]
    refused = len(up.refused) + len(down.refused)
    print(
        f"outage: seconds={seconds:g} p99_up_ms={p99[0] * 1000:.1f} p99_down_ms="
        f"{p99[1] * 1000:.1f} ratio={p99[1] / p99[0]:.2f} refused={refused}"
    )
    return 1 if refused else 0


def _row(name: str, values: list[float]) -> str:
    figures = (percentile(values, 0.5), percentile(values, 0.99), max(values))
    return f"{name:8} {len(values):6} " + " ".join(f"{value * 1000:8.1f}" for value in figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=4)
    asked = parser.parse_args()
    sys.exit(run(asked.seconds, asked.clients))
