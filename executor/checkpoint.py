"""Lets a restarted agent take this executor over instead of ending it.

Mesos' Docker containerizer recovers an executor only when `pids/libprocess.pid` stands among the
agent's checkpoints and its address accepts connections (`_recover` in its docker.cpp). Agents write
that file for executors of the old protocol only; so this one writes it itself, where the framework
had the checkpoints mounted. See docs/adr/0008-agent-restarts.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

CHECKPOINTS = Path("/mnt/mesos/checkpoints")
"""Where the agent's `WORK_DIR/meta` is mounted; `mesos.translate` says the same."""

# The tail of a sandbox' path, which is the tail of its checkpoints' path too (slave/paths.hpp).
_RUN = re.compile(r"slaves/[^/]+/frameworks/[^/]+/executors/[^/]+/runs/[^/]+\Z")


def make_recoverable(
    env: Mapping[str, str] = os.environ, checkpoints: Path = CHECKPOINTS
) -> socket.socket | None:
    """Listen, and write the address where an agent looks for it. The listener, None without one.

    Nothing here may keep a build from running: what does not work is logged.
    """
    run = _RUN.search(env.get("MESOS_DIRECTORY", ""))
    if env.get("MESOS_CHECKPOINT") != "1" or run is None or not checkpoints.is_dir():
        return None
    pids = checkpoints / run.group() / "pids"
    try:
        pids.mkdir(parents=True, exist_ok=True)
        listener = socket.create_server((_own_address(env), 0))
        address, port = listener.getsockname()[:2]
        with contextlib.ExitStack() as unless_written:
            unless_written.callback(listener.close)
            new = pids / "libprocess.pid.new"
            new.write_text(f"executor(1)@{address}:{port}")
            new.replace(pids / "libprocess.pid")
            unless_written.pop_all()
    except OSError as error:
        logger.warning("an agent that restarts will not take this executor over: %s", error)
        return None
    threading.Thread(target=_accept, args=(listener,), name="recovery", daemon=True).start()
    return listener


def _own_address(env: Mapping[str, str]) -> str:
    """The IPv4 address under which the agent reaches this container."""
    agent = env.get("MESOS_SLAVE_PID", "").rpartition("@")[2].rpartition(":")[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: it only asks which address the way to the agent begins with.
        probe.connect((agent or "192.0.2.1", 9))
        address: str = probe.getsockname()[0]
    return address


def _accept(listener: socket.socket) -> None:
    """The agent only wants to see that somebody is there; everything else goes over HTTP."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.close()
