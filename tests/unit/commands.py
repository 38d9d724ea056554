"""What tests of the `builder` command share."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

from tests.unit.builds_double import MemoryBuilds

GIT = ("--git", "https://git.example.org/app.git", "--image", "registry.example.org/app:1")

Run = Callable[..., Result]


def only_build(builds: MemoryBuilds) -> str:
    (build_id,) = builds.builds
    return build_id
