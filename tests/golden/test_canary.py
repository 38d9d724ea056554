"""Twenty secrets through every input of a request, and where they are looked for afterwards."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder_framework.redact import spellings
from devcluster import Cluster
from tests.integration.harness import Framework, pull, until
from tests.integration.test_hygiene import files_with
from tests.integration.test_secrets import endpoints, processes, sandboxes
from tests.unit.receivers import Receiver, answers

pytestmark = pytest.mark.integration

PORT = 8192
NAMES = tuple(f"secret{number}" for number in range(10))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver(answers("204 No Content"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def told(
    cluster: Cluster, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Framework]:
    """A framework whose builds may have webhooks of their own."""
    running = Framework(
        cluster,
        tmp_path_factory.mktemp("canary"),
        PORT,
        {
            "BUILDER_FRAMEWORK_NAME": "canary",
            "BUILDER_WEBHOOK_HOSTS": f"http://127.0.0.1:{receiver.port}",
            "BUILDER_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "BUILDER_WEBHOOK_SECRET": f"whsec_{base64.b64encode(b'canary' * 5).decode()}",
        },
    )
    running.start()
    yield running
    running.end(signal.SIGTERM)


def private_key(folder: Path) -> str:
    """A key of its own; the lines of its body are what must not show."""
    path = folder / secrets.token_hex(4)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.read_text()


class Canaries:
    """What goes into the request, by the input that it goes through."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        def word() -> str:
            return f"canary-{secrets.token_hex(8)}"

        self.of = {
            "git.password": cluster.git.password,
            "registry_auth.password": cluster.registry.password,
            "git.logins.password": word(),
            "git.logins.ssh_key": private_key(folder),
            "registries.pull": word(),
            "registries.push": word(),
            "ssh.default": private_key(folder),
            "ssh.other": private_key(folder),
            "webhooks.0": word(),
            "webhooks.1": word(),
            **{f"secrets.{name}": word() for name in NAMES},
        }

    def needles(self) -> dict[str, set[str]]:
        """Every spelling of each. Of a key the lines between its marks, which all keys have."""
        return {
            name: {
                form
                for line in text.splitlines()
                if "-----" not in line
                for form in spellings(line)
                if len(form) > 5
            }
            for name, text in self.of.items()
        }

    def body(self, cluster: Cluster, receiver: Receiver) -> dict[str, Any]:
        of = self.of
        base = f"http://127.0.0.1:{receiver.port}"
        return {
            "source": {
                "username": cluster.git.username,
                "password": of["git.password"],
                "logins": [
                    {"host": "a.example", "username": "u", "password": of["git.logins.password"]},
                    {"host": "b.example", "ssh_key": of["git.logins.ssh_key"]},
                ],
            },
            "registries": [
                {
                    "registry": f"{use}.example",
                    "username": "u",
                    "password": of[f"registries.{use}"],
                    "use": use,
                }
                for use in ("pull", "push")
            ],
            "secrets": {name: of[f"secrets.{name}"] for name in NAMES},
            "ssh": {"default": of["ssh.default"], "other": of["ssh.other"]},
            "webhooks": [f"{base}/{of['webhooks.0']}", f"{base}/x/{of['webhooks.1']}"],
            "provenance": "max",
        }


def test_twenty_secrets_show_nowhere(
    told: Framework, cluster: Cluster, receiver: Receiver, name: str, tmp_path: Path
) -> None:
    """The steps use them, and print them; a hostile neighbour looks into everything."""
    canaries = Canaries(cluster, tmp_path)
    assert len(canaries.of) == 20
    mounts = " ".join(f"--mount=type=secret,id={secret}" for secret in NAMES)
    snoop = "env; cat /proc/1/environ /proc/*/cmdline; cat /run/secrets/*"
    dockerfile = (
        f"FROM {cluster.base_image}\nENV TEST={name}\nCOPY . /src\n"
        f"RUN {mounts} --mount=type=ssh ({snoop}) 2>&1; echo snooped; sleep 6\n"
    )
    url = cluster.git.create_repository(name, {"Dockerfile": dockerfile}, private=True)
    build_id = told.submit(url, f"{name}:1", **canaries.body(cluster, receiver))
    until(lambda: "snooped" in told.log(build_id), "the build does not run")
    places = {**endpoints(cluster), **processes()}
    ids = cluster.engine.docker("ps", "--quiet", "--all").split()
    places["docker inspect"] = cluster.engine.docker("inspect", *ids)
    told.succeeded(build_id)
    until(lambda: told.get(build_id)["log"]["complete"], "the log is not complete")
    image = pull(cluster, name, "1")
    places |= {
        "log": told.log(build_id),
        "build": json.dumps(told.get(build_id)),
        "list": told.call("GET", "/api/v1/builds").text,
        "deliveries": told.call("GET", f"/api/v1/builds/{build_id}/deliveries").text,
        "framework's log": told.log_file.read_text(),
        "webhooks": repr([request.body for request in receiver.requests]),
        "manifests": json.dumps([image.manifest, image.index, image.attestations]),
        "config and history": json.dumps(image.config),
        "layers": repr(image.files),
        **{
            str(path): path.read_bytes().decode(errors="replace")
            for path in told.data_dir.rglob("builder.db*")
        },
    }
    places |= sandboxes(cluster, build_id)
    shown = {
        (secret, place)
        for secret, forms in canaries.needles().items()
        for place, text in places.items()
        if any(form in text for form in forms)
    }
    assert shown == set()
    assert len(receiver.requests) >= 2
    # The executor clears up behind itself.
    until(lambda: not cluster.engine.docker("ps", "--quiet").strip(), "the executor is still there")
    for secret, text in canaries.of.items():
        lines = [line for line in text.splitlines() if "-----" not in line]
        assert files_with(cluster, lines[-1]) == [], secret


def test_the_needles_are_found_where_they_are(cluster: Cluster, tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    canaries = Canaries(cluster, tmp_path)
    for secret, forms in canaries.needles().items():
        login = base64.b64encode(f"user:{canaries.of[secret]}".encode()).decode()
        assert any(form in canaries.of[secret] for form in forms)
        assert any(form in login for form in forms)
