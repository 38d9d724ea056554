"""An agent that has cloned a repository fetches only what is new; a broken copy heals itself."""

from __future__ import annotations

import os
import re

from tests.golden.conftest import Golden
from tests.integration.harness import Json

MOVED = re.compile(r"(\d+) KiB of (\d+) KiB came from the server")


def moved(golden: Golden, build: Json) -> tuple[int, int]:
    """KiB that came, of how many."""
    new, total = MOVED.findall(golden.framework.log(build["id"]))[-1]
    return int(new), int(total)


def test_only_what_is_new_is_cloned_again(golden: Golden) -> None:
    """On the agent that built it, by builds one after the other and at once."""
    framework, git = golden.framework, golden.cluster.git
    large = {"large": os.urandom(8 * 1024 * 1024)}
    dockerfile = f"FROM {golden.cluster.base_image}\nENV TEST={golden.name}\nCOPY . /all\n"
    url = git.create_repository(golden.name, {"Dockerfile": dockerfile, **large})
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    first = framework.succeeded(framework.submit(url, f"{golden.name}:1", **rack))
    new, total = moved(golden, first)
    assert new == total > 8000
    git.commit(golden.name, {"small": "new"})
    again = [framework.submit(url, f"{golden.name}:{n}", **rack) for n in (2, 3)]
    for build_id in again:
        build = framework.succeeded(build_id)
        assert moved(golden, build)[0] < 100
    # The cache volume, as root on the agent sees it.
    objects = "/var/lib/builder/*/git/*/objects.git/objects"
    truncate = f"find {objects} -type f -size +1M -exec truncate --size=1000 {{}} +"
    golden.cluster.engine.docker("exec", _executor(golden), "sh", "-c", truncate)
    git.commit(golden.name, {"small": "newer"})
    build = framework.succeeded(framework.submit(url, f"{golden.name}:4", **rack))
    assert "without the mirror" in framework.log(build["id"])


def _executor(golden: Golden) -> str:
    """The container of an executor that idles on the agent."""
    words = ("ps", "--quiet", "--filter", "label=builder.executor")
    found: str = golden.cluster.engine.docker(*words).split()[0]
    return found
