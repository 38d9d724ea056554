"""Newer builds that make older ones of their group superfluous."""

from __future__ import annotations

import pytest

from tests.golden.conftest import Golden
from tests.integration.harness import exists, until

pytestmark = pytest.mark.integration

NOWHERE = [["rack", "EQUALS", "nowhere"]]


def test_a_newer_build_ends_older_ones_that_wait_and_run(golden: Golden) -> None:
    """Each build says how far it goes; another group is left alone."""
    framework, name = golden.framework, golden.name
    url = golden.create("ARG SECONDS=0", "RUN echo it runs; sleep $SECONDS; echo $SECONDS > /s")
    running = framework.submit(url, f"{name}:1", supersede="running", build_args={"SECONDS": "100"})
    other = framework.submit(
        url, f"{name}:3", supersede="queued", group="other", constraints=NOWHERE
    )
    until(lambda: "it runs" in framework.log(running), "the step does not run")
    waiting = framework.submit(url, f"{name}:2", supersede="queued", constraints=NOWHERE)
    second = framework.submit(url, f"{name}:4", supersede="queued", constraints=NOWHERE)
    assert framework.get(second)["supersedes"] == [waiting]
    assert framework.get(running)["state"] == "RUNNING"
    image = golden.make(url, "5", supersede="running")
    assert sorted(golden.build["supersedes"]) == sorted([running, second])
    for older, newer in (
        (waiting, second),
        (running, golden.build["id"]),
        (second, golden.build["id"]),
    ):
        build = framework.wait_end(older)
        assert (build["state"], build["reason"]) == ("CANCELLED", "superseded")
        assert newer in build["message"]
    assert image.files["s"] == b"0\n"
    assert not exists(golden.cluster, name, "1")
    assert framework.get(other)["state"] == "QUEUED"
