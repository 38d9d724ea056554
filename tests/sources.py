"""Sources of builds, as tests look at them."""

from __future__ import annotations

from builder_framework.recipe import GitSource, Source


def git_of(source: Source) -> GitSource:
    """The repository that a test gave."""
    assert source.git is not None
    return source.git
