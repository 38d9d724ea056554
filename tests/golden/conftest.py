"""One framework process for the golden suite, on the cluster of the tests."""

from tests.integration.conftest import _leaves_no_build_behind, framework, name

__all__ = ["_leaves_no_build_behind", "framework", "name"]
