"""A build that goes into an app, with a real framework process that is killed in between.

Marathon is a server that speaks its API (`tests/unit/marathon.py`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, until
from tests.unit.marathon import Marathon, serving

pytestmark = pytest.mark.integration

APP, OLD = "/shop/web", "registry.example.org/shop/web:1"


@pytest.fixture
def marathon() -> Iterator[Marathon]:
    with serving(Marathon(takes=None, login=("ops", "of-marathon"))) as running:
        running.has(APP, OLD)
        yield running


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path, marathon: Marathon) -> Iterator[Framework]:
    login = tmp_path / "login"
    login.write_text("ops:of-marathon\n")
    settings = {
        "BUILDER_MARATHON_URL": marathon.url,
        "BUILDER_MARATHON_LOGIN_FILE": str(login),
        "BUILDER_MARATHON_APPS": "/shop",
    }
    running = Framework(cluster, tmp_path / "data", PORT + 9, settings)
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def test_a_framework_that_is_killed_in_the_middle_takes_it_up_again(
    own: Framework, cluster: Cluster, marathon: Marathon, name: str
) -> None:
    own.start()
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\n"
    repository = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    build_id = own.submit(repository, f"{name}:1", deploy={"marathon": {"app": APP}})
    digest = own.succeeded(build_id)["result"]["digest"]
    until(lambda: marathon.deployments != {}, "Marathon was not told")
    own.end(signal.SIGKILL)
    marathon.deployments.clear()  # over, while nobody looked
    own.start()
    until(
        lambda: (own.get(build_id)["deployment"] or {}).get("state") == "SUCCEEDED",
        "the deployment was not taken up",
    )
    deployment = own.get(build_id)["deployment"]
    image = f"{cluster.registry.address}/{name}@{digest}"
    assert (deployment["image"], deployment["previous"]) == (image, OLD)
    assert deployment["finished_at"] > deployment["started_at"]
    assert marathon.image(APP) == image
    assert len(marathon.puts(APP)) == 1
    assert "of-marathon" not in own.log_file.read_text()
