"""A framework process on the tests' cluster, and eyes on the registry it pushes to."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from devcluster import Cluster
from tests.sealing import TEST_KEY

Json = dict[str, Any]
TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}
USER, PASSWORD = "tester", "a test password: ü"
DATABASE = "BUILDER_DATABASE_URL"
PATIENCE = 90.0


@dataclass
class Framework:
    """`builder serve` as its own process; tests may end and start it as they like."""

    cluster: Cluster
    data_dir: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.cluster.address}:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "framework.log"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BUILDER_")}
        # Processes on one PostgreSQL need one key; with SQLite each data directory has its own.
        shared = {"BUILDER_SECRET_KEY": TEST_KEY.hex()} if DATABASE in self.settings else {}
        return {
            **kept,
            **shared,
            "BUILDER_MESOS_MASTER": self.cluster.master.address,
            "BUILDER_HTTP_HOST": self.cluster.address,
            "BUILDER_HTTP_PORT": str(self.port),
            "BUILDER_USERNAME": USER,
            "BUILDER_PASSWORD": PASSWORD,
            "BUILDER_DATA_DIR": str(self.data_dir),
            "BUILDER_EXECUTOR_IMAGE": self.cluster.executor_image,
            "BUILDER_INSECURE_REGISTRIES": self.cluster.registry.address,
            "BUILDER_GIT_PROTOCOLS": "https,ssh,http",
            "BUILDER_BEHIND_TLS_PROXY": "true",
            "BUILDER_KILL_GRACE_PERIOD": "5",
            "BUILDER_UPLOAD_URL": self.url,
            # Containers and what they leave are looked at build by build.
            "BUILDER_EXECUTOR_IDLE": "0",
            **self.settings,
        }

    def client_environment(self) -> dict[str, str]:
        """What a person's shell has, for the command line client."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BUILDER_")}
        return {
            **kept,
            "BUILDER_URL": self.url,
            "BUILDER_USERNAME": USER,
            "BUILDER_PASSWORD": PASSWORD,
            "BUILDER_REGISTRY_PASSWORD": self.cluster.registry.password,
            "NO_COLOR": "1",
        }

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it is subscribed."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start it; returns at once."""
        # Another one that answers there would be taken for this one.
        assert not self.is_taken(), f"port {self.port} is somebody else's"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "builder_framework"],
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_taken(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((self.cluster.address, self.port)) == 0

    def wait_ready(self) -> None:
        until(self.is_ready, lambda: f"the framework is not ready: {self.tail()}")

    def is_ready(self) -> bool:
        """Whether it leads: whoever follows is ready, too, but builds nothing."""
        return self.readiness().get("mesos") == "subscribed"

    def readiness(self) -> dict[str, str]:
        """What `/readyz` says of each part; nothing when it does not answer with 200."""
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"{self.url}/readyz", timeout=5)
            if answer.status_code == 200:
                checks: dict[str, str] = answer.json()["checks"]
                return checks
        return {}

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log_file.read_text()[-2000:] if self.log_file.exists() else ""

    def end(self, number: signal.Signals) -> int:
        """Send the signal and wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self.process = None
        return code

    # -- what people do ------------------------------------------------------------------------

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("auth", (USER.encode(), PASSWORD.encode()))
        options.setdefault("timeout", 30)
        return requests.request(method, f"{self.url}{path}", **options)  # noqa: S113 (set above)

    def body(self, git: str, image: str, **fields: Any) -> Json:
        """A request body with what nearly every build of these tests has."""
        source = {"url": git, **fields.pop("source", {})}
        registry = self.cluster.registry
        return {
            "source": {"git": source},
            "images": [f"{registry.address}/{image}"],
            "registry_auth": {"username": registry.username, "password": registry.password},
            "resources": {"cpus": 0.5, "mem": 512},
            **fields,
        }

    def submit(self, git: str, image: str, **fields: Any) -> str:
        """Submit a build that must be accepted; its id."""
        answer = self.call("POST", "/api/v1/builds", json=self.body(git, image, **fields))
        assert answer.status_code == 202, answer.text
        build_id: str = answer.json()["id"]
        return build_id

    def get(self, build_id: str) -> Json:
        answer = self.call("GET", f"/api/v1/builds/{build_id}")
        assert answer.status_code == 200, answer.text
        build: Json = answer.json()
        return build

    def cancel(self, build_id: str) -> Json:
        answer = self.call("POST", f"/api/v1/builds/{build_id}/cancel")
        assert answer.status_code == 202, answer.text
        build: Json = answer.json()
        return build

    def log(self, build_id: str) -> str:
        """The whole log as it is now."""
        text, offset = "", 0
        while True:
            answer = self.call("GET", f"/api/v1/builds/{build_id}/log?offset={offset}")
            assert answer.status_code == 200, answer.text
            following = int(answer.headers["X-Log-Next-Offset"])
            if following == offset:
                return text
            text, offset = text + answer.content.decode(), following

    def wait_for(
        self,
        build_id: str,
        condition: Callable[[Json], bool],
        what: str,
        patience: float = PATIENCE,
    ) -> Json:
        """Poll until the build is as wanted; fails at once when it is over and is not."""
        deadline = time.monotonic() + patience
        while True:
            build = self.get(build_id)
            if condition(build):
                return build
            if build["state"] in TERMINAL or time.monotonic() > deadline:
                raise AssertionError(f"not {what}: {describe(build)}\n{self.log(build_id)[-3000:]}")
            time.sleep(0.1)

    def wait_phase(self, build_id: str, phase: str) -> Json:
        return self.wait_for(build_id, lambda b: b["phase"] == phase, phase)

    def wait_end(self, build_id: str, patience: float = PATIENCE) -> Json:
        return self.wait_for(build_id, lambda b: b["state"] in TERMINAL, "over", patience)

    def wait_state(self, build_id: str, state: str, patience: float = PATIENCE) -> Json:
        return self.wait_for(build_id, lambda b: b["state"] == state, state, patience)

    def succeeded(self, build_id: str) -> Json:
        build = self.wait_end(build_id)
        assert build["state"] == "SUCCEEDED", f"{describe(build)}\n{self.log(build_id)[-3000:]}"
        return build

    def failed(self, build_id: str, reason: str) -> Json:
        build = self.wait_end(build_id)
        assert (build["state"], build["reason"]) == ("FAILED", reason), describe(build)
        return build


def describe(build: Json) -> str:
    return json.dumps({k: build[k] for k in ("state", "phase", "reason", "message", "attempts")})


def master_info(address: str) -> bytes:
    """A MasterInfo as masters write it into ZooKeeper."""
    ip, _, port = address.rpartition(":")
    where = {"hostname": "m.example", "ip": ip, "port": int(port)}
    return json.dumps({"address": where, "hostname": "m.example", "port": int(port)}).encode()


def until(
    condition: Callable[[], bool], complaint: str | Callable[[], str], patience: float = 60.0
) -> None:
    """Wait for `condition`, or fail with `complaint`, which may look at things as they are then."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint if isinstance(complaint, str) else complaint())
        time.sleep(0.1)


# -- the registry, as a client of it sees it ---------------------------------------------------

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass(frozen=True)
class Image:
    """A pushed image: its digest, its manifest and config, and the files its layers add up to.

    `index`: what the digest is of, if not of the manifest; `attestations`: the statements in it.
    """

    digest: str
    manifest: Json
    config: Json
    files: dict[str, bytes]
    index: Json = field(default_factory=dict)
    attestations: list[Json] = field(default_factory=list)


def pull(cluster: Cluster, name: str, reference: str) -> Image:
    """Fetch `name:reference` (a tag or digest) from the cluster's registry, all of it.

    Of an index the first image, and the attestations.
    """
    base = f"http://{cluster.registry.address}/v2/{name}"
    auth = (cluster.registry.username, cluster.registry.password)

    def fetch(path: str) -> bytes:
        answer = requests.get(
            f"{base}/{path}", auth=auth, headers={"Accept": _MANIFESTS}, timeout=30
        )
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.content

    raw = fetch(f"manifests/{reference}")
    manifest, index, attestations = json.loads(raw), {}, []
    if "manifests" in manifest:
        index = manifest
        manifests = [json.loads(fetch(f"manifests/{m['digest']}")) for m in index["manifests"]]
        manifest = manifests[0]
        attestations = [
            json.loads(fetch(f"blobs/{layer['digest']}"))
            for each in manifests
            for layer in each["layers"]
            if layer["mediaType"] == "application/vnd.in-toto+json"
        ]
    files: dict[str, bytes] = {}
    for layer in manifest["layers"]:
        _apply(fetch(f"blobs/{layer['digest']}"), files)
    config: Json = json.loads(fetch(f"blobs/{manifest['config']['digest']}"))
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return Image(digest, manifest, config, files, index, attestations)


def _apply(layer: bytes, files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as archive:
        for member in archive:
            path = Path(member.name)
            if path.name.startswith(".wh."):
                files.pop(str(path.with_name(path.name[4:])), None)
            # Not through symbolic links: the base image has 400 of them to one program.
            elif (member.isfile() or member.islnk()) and (content := archive.extractfile(member)):
                files[member.name.removeprefix("./")] = content.read()


def exists(cluster: Cluster, name: str, tag: str) -> bool:
    """Whether the registry has this tag."""
    answer = requests.head(
        f"http://{cluster.registry.address}/v2/{name}/manifests/{tag}",
        auth=(cluster.registry.username, cluster.registry.password),
        headers={"Accept": _MANIFESTS},
        timeout=30,
    )
    return answer.status_code == 200


@contextlib.contextmanager
def paused(part: Any) -> Iterator[None]:
    """Freeze a part of the cluster (SIGSTOP) for as long as the block takes."""
    part.pause()
    try:
        yield
    finally:
        part.resume()
