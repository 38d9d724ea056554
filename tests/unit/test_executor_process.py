"""Children end with all they started, within the grace period, and their output is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from executor import process
from executor.cancel import CancelToken, Stop, Stopped

ENV = {"PATH": os.environ["PATH"]}


def run(
    script: str, token: CancelToken | None = None, errors: bytearray | None = None
) -> tuple[int, bytes]:
    out = bytearray()
    code = process.run(
        ["sh", "-c", script],
        token=token or CancelToken(),
        env=ENV,
        output=out.extend,
        errors=None if errors is None else errors.extend,
    )
    return code, bytes(out)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def gone(pid: int, within: float = 2.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_output_and_code() -> None:
    errors = bytearray()
    assert run("echo out; echo err >&2; exit 3", errors=errors) == (3, b"out\n")
    assert errors == b"err\n"
    assert run("echo out; echo err >&2") == (0, b"out\nerr\n")
    assert run("kill -9 $$")[0] == -9


def test_much_output_is_complete() -> None:
    assert run("head -c 3000000 /dev/zero")[1] == bytes(3_000_000)


def test_a_missing_program_is_an_error() -> None:
    """With or without the leash: some code or exception, but no success."""
    with contextlib.suppress(OSError):
        assert (
            process.run(["/nonexistent"], token=CancelToken(), env=ENV, output=bytearray().extend)
            != 0
        )


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_stop_ends_the_whole_group_in_time(tmp_path: Path, stubborn: bool) -> None:
    """TERM first; who ignores it, grandchildren included, is killed within the grace period."""
    pids = tmp_path / "pids"
    trap = "trap '' TERM;" if stubborn else ""
    token = CancelToken()
    timer = threading.Timer(0.3, token.cancel, (Stop.KILL, 3.0))
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        run(
            f"{trap} echo $$ >> {pids}; sh -c '{trap} echo $$ >> {pids}; sleep 60' & wait; wait",
            token,
        )
    assert time.monotonic() - began < 3.3
    timer.join()
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    assert all(map(gone, found))


def test_a_child_may_tidy_up_on_term(tmp_path: Path) -> None:
    token = CancelToken()
    timer = threading.Timer(0.3, token.cancel, (Stop.KILL, 6.0))
    timer.start()
    with pytest.raises(Stopped):
        run(f"trap 'echo tidy > {tmp_path}/tidy; exit 0' TERM; sleep 60 & wait", token)
    timer.join()
    assert (tmp_path / "tidy").read_text() == "tidy\n"


def test_nothing_is_started_after_a_stop(tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel(Stop.KILL)
    with pytest.raises(Stopped):
        run(f"touch {tmp_path}/started", token)
    assert not (tmp_path / "started").exists()


def test_the_deadline_stops_a_child() -> None:
    token = CancelToken()
    token.set_timeout(0.3)
    began = time.monotonic()
    with pytest.raises(Stopped):
        run("sleep 60", token)
    assert time.monotonic() - began < 3
    assert token.why is Stop.TIMEOUT


def test_what_stays_in_the_background_is_killed(tmp_path: Path) -> None:
    """A child that leaves a process behind, even one that holds the pipe, does not hang us."""
    began = time.monotonic()
    assert run(f"sleep 60 & echo $! > {tmp_path}/pid; echo done") == (0, b"done\n")
    assert time.monotonic() - began < process.DRAIN + 1
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs util-linux' setpriv")
def test_children_die_with_a_killed_executor(tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG: after kill -9 of the parent the child is gone, too."""
    script = (
        "import os; from executor import process; from executor.cancel import CancelToken; "
        "process.run(['sh', '-c', 'echo $$ > pid; exec sleep 60'], token=CancelToken(), "
        "env=dict(os.environ), output=len)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env) as parent:
        pid = tmp_path / "pid"
        until = time.monotonic() + 10
        while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < until:
            time.sleep(0.02)
        child = int(pid.read_text())
        assert is_alive(child)
        parent.kill()
    assert gone(child)


def test_the_first_stop_counts_and_the_shortest_grace() -> None:
    token = CancelToken()
    assert token.cancel(Stop.KILL, 9.0)
    assert not token.cancel(Stop.SHUTDOWN, 3.0)
    assert token.why is Stop.KILL
    assert token.patience == 1.0


def test_waiting_ends_with_a_stop() -> None:
    token = CancelToken()
    timer = threading.Timer(0.1, token.cancel, (Stop.KILL, 1.0))
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        token.wait(60)
    timer.join()
    assert time.monotonic() - began < 5
