"""Fixtures that every suite may use: `cluster` is a dev cluster of the tests' own."""

from __future__ import annotations

import gc
import signal
import sys
import warnings

import pytest

pytest_plugins = ["devcluster.pytest_plugin"]


def pytest_configure() -> None:
    """Who is told to end takes servers and clusters down first, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Sockets that stock pymesos leaves open are closed here, not in a test that has none of them.

    pytest keeps the traceback of a failed test, and so its driver, until the next test begins.
    """
    if item.get_closest_marker("xfail") is None:
        return
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
