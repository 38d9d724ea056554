"""Builds that fail, each for its own reason: what the API says of them, for programs and people.

All are asked for at once, and each test looks at one of them.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from devcluster import Cluster
from devcluster.samples import PRIVATE, PUBLIC
from tests.integration.harness import Framework, Json, describe, exists, until

pytestmark = pytest.mark.integration

PATIENCE = 150.0
WRONG = "wrong-canary-5pQ2"
TOO_LONG = 20.0
"""Seconds of a `timeout`: in them, a busy machine gets as far as the phase that hangs."""


@dataclass(frozen=True)
class Failing:
    """A build and how it must end. `fields`: of the request; `says`: parts of its message."""

    url: str
    reason: str
    phase: str
    says: tuple[str, ...] = ()
    fields: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """What the cases are made of. `silent`: an address that takes connections and says nothing."""

    cluster: Cluster
    silent: str
    prefix: str = field(default_factory=lambda: f"f-{uuid.uuid4().hex[:8]}")

    @property
    def registry(self) -> str:
        return self.cluster.registry.address

    @property
    def public(self) -> str:
        return self.cluster.git.clone_url(PUBLIC)

    def repository(self, *lines: str, head: str = "") -> str:
        """One with this after a FROM."""
        first = [head] if head else []
        begin = [*first, f"FROM {self.cluster.base_image}", f"ENV TEST={self.prefix}"]
        return self.of("\n".join([*begin, *lines, ""]))

    def of(self, dockerfile: str) -> str:
        """One with this Dockerfile."""
        name = f"{self.prefix}-{uuid.uuid4().hex[:6]}"
        return self.cluster.git.create_repository(name, {"Dockerfile": dockerfile})


def step(site: Site) -> Failing:
    url = site.repository("RUN true", "RUN echo the last words; exit 7")
    return Failing(url, "step_failed", "BUILDING", ("exit code: 7",))


def no_dockerfile_at_all(site: Site) -> Failing:
    return Failing(site.of("THIS IS NO DOCKERFILE\n"), "dockerfile_invalid", "BUILDING")


def dockerfile_elsewhere(site: Site) -> Failing:
    where = {"dockerfile": "elsewhere/Dockerfile"}
    said = ("elsewhere/Dockerfile",)
    return Failing(site.public, "dockerfile_invalid", "BUILDING", said, where)


def unknown_target(site: Site) -> Failing:
    fields = {"target": "no-such-stage"}
    return Failing(site.public, "dockerfile_invalid", "BUILDING", ("no-such-stage",), fields)


def unknown_context(site: Site) -> Failing:
    fields = {"context": "no/such"}
    return Failing(site.public, "context_invalid", "BUILDING", ("no/such",), fields)


def unknown_base_image(site: Site) -> Failing:
    image = f"{site.registry}/no-such-image:1"
    return Failing(site.of(f"FROM {image}\n"), "base_image_failed", "BUILDING", (image,))


def unknown_syntax(site: Site) -> Failing:
    """A `# syntax=` is obeyed: the frontend is asked for where it says."""
    image = f"{site.registry}/no-such-frontend:1"
    url = site.repository("RUN true", head=f"# syntax={image}")
    return Failing(url, "base_image_failed", "BUILDING", (image,))


def unknown_ref(site: Site) -> Failing:
    fields = {"source": {"ref": "no-such-branch"}}
    return Failing(site.public, "git_ref_not_found", "CLONING", ("no-such-branch",), fields)


def unknown_repository(site: Site) -> Failing:
    url = site.cluster.git.clone_url("no-such-repository")
    return Failing(url, "git_repository_not_found", "CLONING")


def unknown_git_server(site: Site) -> Failing:
    url = f"http://{site.cluster.address}:9/app.git"
    return Failing(url, "git_unreachable", "CLONING", fields={"max_attempts": 1})


def git_password(site: Site) -> Failing:
    source = {"username": site.cluster.git.username, "password": WRONG}
    url = site.cluster.git.clone_url(PRIVATE)
    return Failing(url, "git_auth_failed", "CLONING", fields={"source": source})


def registry_password(site: Site) -> Failing:
    auth = {"username": site.cluster.registry.username, "password": WRONG}
    url = site.of("FROM scratch\nCOPY Dockerfile /\n")
    return Failing(url, "push_denied", "PUSHING", fields={"registry_auth": auth})


def unknown_authority(site: Site) -> Failing:
    second = site.cluster.second_registry
    fields = {
        "images": [f"{second.address}/{site.prefix}:1"],
        "registry_auth": {"username": second.username, "password": second.password},
        "max_attempts": 1,
    }
    url = site.of("FROM scratch\nCOPY Dockerfile /\n")
    return Failing(url, "push_failed", "PUSHING", ("certificate",), fields)


def out_of_memory(site: Site) -> Failing:
    fields = {"resources": {"cpus": 0.5, "mem": 384}, "max_attempts": 1}
    return Failing(
        site.repository("RUN tail /dev/zero"), "out_of_memory", "BUILDING", fields=fields
    )


def too_long_while_cloning(site: Site) -> Failing:
    url = site.cluster.git.clone_url(PUBLIC, pause=100)
    return Failing(url, "timeout", "CLONING", ("CLONING", "5 s"), {"timeout": 5})


def too_long_while_building(site: Site) -> Failing:
    url = site.repository("RUN sleep 100")
    return Failing(url, "timeout", "BUILDING", ("BUILDING",), {"timeout": TOO_LONG})


def too_long_while_pushing(site: Site) -> Failing:
    url = site.of("FROM scratch\nCOPY Dockerfile /\n")
    fields = {"images": [f"{site.silent}/{site.prefix}:1"], "timeout": TOO_LONG}
    return Failing(url, "timeout", "PUSHING", ("PUSHING",), fields)


CASES: dict[str, Callable[[Site], Failing]] = {
    made.__name__: made
    for made in (
        # The longest first.
        too_long_while_building,
        too_long_while_pushing,
        too_long_while_cloning,
        unknown_git_server,
        out_of_memory,
        step,
        no_dockerfile_at_all,
        dockerfile_elsewhere,
        unknown_target,
        unknown_context,
        unknown_base_image,
        unknown_syntax,
        unknown_ref,
        unknown_repository,
        git_password,
        registry_password,
        unknown_authority,
    )
}


@pytest.fixture(scope="module")
def silent(cluster: Cluster) -> Iterator[str]:
    with socket.create_server((cluster.address, 0), backlog=64) as listening:
        yield f"{cluster.address}:{listening.getsockname()[1]}"


Failures = dict[str, tuple[Failing, Json, str]]


@pytest.fixture(scope="module")
def failures(framework: Framework, cluster: Cluster, silent: str) -> Failures:
    """By case: what was expected, the build that is over, and its log."""
    site = Site(cluster, silent)
    asked = {name: make(site) for name, make in CASES.items()}
    ids = {
        name: framework.submit(
            case.url,
            f"{site.prefix}/{name}:1",
            # Four on an agent at a time.
            **{"resources": {"cpus": 0.9, "mem": 512}, **case.fields},
        )
        for name, case in asked.items()
    }
    for build_id in ids.values():
        framework.wait_end(build_id, PATIENCE)
    until(
        lambda: all(framework.get(build_id)["log"]["complete"] for build_id in ids.values()),
        "a log is not complete",
    )
    return {
        name: (case, framework.get(ids[name]), framework.log(ids[name]))
        for name, case in asked.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_told_with_its_reason(failures: Failures, cluster: Cluster, case: str) -> None:
    expected, build, log = failures[case]
    ended = (build["state"], build["reason"], build["phase"])
    assert ended == ("FAILED", expected.reason, expected.phase), f"{describe(build)}\n{log[-3000:]}"
    assert [part for part in expected.says if part not in build["message"]] == []
    # Nothing of it is published, and people find the end of the log beside it.
    registry, _, image = build["images"][0].partition("/")
    if registry == cluster.registry.address:
        assert not exists(cluster, *image.split(":"))
    assert build["result"]["digest"] is None
    assert build["message"] in build["log"]["tail"]


def test_a_failing_step_is_told_with_line_code_and_last_words(failures: Failures) -> None:
    _, build, log = failures["step"]
    failed: dict[str, Any] = build["result"]["failed_step"]
    assert (failed["line"], failed["exit_code"]) == (4, 7)
    assert "echo the last words" in failed["name"]
    assert "the last words" in build["log"]["tail"]
    assert "the last words" in log
    assert build["result"]["commit"]


def test_a_wrong_password_is_not_shown(failures: Failures) -> None:
    for case in ("git_password", "registry_password"):
        _, build, log = failures[case]
        assert WRONG not in log + json.dumps(build)
