"""Fixtures that every suite may use: `cluster` is a dev cluster of the tests' own."""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import sys
import threading
import time
import warnings
import weakref
from typing import Any

import pytest

pytest_plugins = ["devcluster.pytest_plugin"]


def pytest_configure() -> None:
    """Who is told to end takes servers and clusters down first, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


_LAST_WORDS = 20.0
"""Seconds that the threads of a stock driver have to end once their sockets are closed."""


class _Sockets:
    """Every socket that is opened after `begin` and before `end`, and every thread."""

    def __init__(self) -> None:
        self._kept = socket.socket
        self._threads: set[threading.Thread] = set()
        self._opened: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def begin(self) -> None:
        """Remember what is opened from now on: what fixtures have opened is theirs."""
        opened = self._opened

        class Socket(self._kept):  # type: ignore[name-defined, misc]
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                opened.add(self)

        self._threads = set(threading.enumerate())
        socket.socket = Socket  # type: ignore[misc]

    def end(self) -> None:
        """A driver whose thread goes on would open the next one: wait for it, for a while."""
        try:
            self._close()
            until = time.monotonic() + _LAST_WORDS
            for thread in set(threading.enumerate()) - self._threads:
                thread.join(max(0.0, until - time.monotonic()))
        finally:
            socket.socket = self._kept  # type: ignore[misc]
        self._close()

    def _close(self) -> None:
        for each in list(self._opened):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes who reads from it
            each.close()


_SOCKETS = pytest.StashKey[_Sockets]()


def _is_of_stock(item: pytest.Item) -> bool:
    return item.get_closest_marker("xfail") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Remembers what stock pymesos opens."""
    if _is_of_stock(item):
        item.stash[_SOCKETS] = _Sockets()
        item.stash[_SOCKETS].begin()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Sockets that stock pymesos leaves open are closed here, not in a test that has none of them.

    pytest keeps the traceback of a failed test, and so its driver, until the next test begins.
    """
    if not _is_of_stock(item) or _SOCKETS not in item.stash:
        return
    item.stash[_SOCKETS].end()
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


_LONGEST = ("test_failpoints", "test_agent_restarts", "test_hygiene", "test_restarts")
"""Files that take minutes. Begun last, one of them would keep a cluster busy when all is over."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, after whatever else has its say about the order."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)
