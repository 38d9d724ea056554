"""What a restarted agent looks for before it takes an executor over is there, and is true."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from executor.checkpoint import make_recoverable

RUN = "slaves/S0/frameworks/F0/executors/builder.x.1/runs/c0ffee"
ENV = {
    "MESOS_CHECKPOINT": "1",
    "MESOS_DIRECTORY": f"/var/lib/slaves/of/mesos/{RUN}",
    "MESOS_SLAVE_PID": "slave(1)@127.0.0.1:5051",
}


def test_the_written_address_accepts_connections_again_and_again(tmp_path: Path) -> None:
    """The agent gives up an executor whose address refuses."""
    listener = make_recoverable(ENV, tmp_path)
    assert listener is not None
    text = (tmp_path / RUN / "pids" / "libprocess.pid").read_text()
    name, _, address = text.partition("@")
    host, _, port = address.rpartition(":")
    assert name == "executor(1)"
    for _ in range(3):
        with socket.create_connection((host, int(port)), timeout=5):
            pass
    listener.close()


@pytest.mark.parametrize(
    "change",
    [
        {"MESOS_CHECKPOINT": "0"},
        {"MESOS_DIRECTORY": ""},
        {"MESOS_DIRECTORY": "/mnt/mesos/sandbox"},
        {"MESOS_DIRECTORY": f"/srv/{RUN}/../../elsewhere"},
    ],
)
def test_nothing_is_written_where_it_makes_no_sense(tmp_path: Path, change: dict[str, str]) -> None:
    assert make_recoverable(ENV | change, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_build_runs_though_the_checkpoints_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "slaves").write_text("a file where a directory should be")
    assert make_recoverable(ENV, tmp_path) is None
    assert make_recoverable(ENV, tmp_path / "not mounted") is None
