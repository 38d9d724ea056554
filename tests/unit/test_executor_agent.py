"""The executor against a small agent: tasks come, end with a result, and then it ends itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import (
    VERSION,
    BuildSpec,
    LeaseAnswer,
    Outcome,
    Phase,
    Reason,
    Report,
    decode_lease_request,
    decode_report,
    encode_lease,
    encode_spec,
    log_file_name,
    result_file_name,
)
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from executor import task as task_module
from executor.agent import BuildExecutor, Settings
from executor.cancel import Stop, Stopped
from executor.driver import ExecutorDriver
from executor.lease import LeaseDesk
from executor.task import Task
from tests.unit.executor_agent import FakeAgent
from tests.unit.waiting import until

SPEC = BuildSpec(
    build_id="b",
    attempt=1,
    source=Source(GitSource("https://host.example/x.git", password=Secret("canary-s3cret"))),
    images=("app:1",),
    timeout=60.0,
)

RELEASE = threading.Event()
"""Lets the stuck builds go at the end of a test."""


@dataclass
class FakePipeline:
    """Builds until told otherwise; `stuck` ones ignore even that."""

    spec: BuildSpec
    space: Any
    log: Any
    token: Any
    engines: Any
    progress: Callable[[Report], None]
    desk: LeaseDesk

    running: Any = None
    out_of_memory: Any = None

    def run(self) -> Report:
        self.progress(Report(phase=Phase.CLONING))
        self.log.line("a line with canary-s3cret")
        self.space.secret_file("password", "canary-s3cret")
        mode = self.spec.build_id
        if mode == "quick":
            return Report(phase=Phase.PUSHING, outcome=Outcome.SUCCEEDED, digest="sha256:1")
        if mode == "broken":
            raise RuntimeError("a defect")
        if mode == "stuck":
            RELEASE.wait(20)
            return Report(outcome=Outcome.SUCCEEDED)
        if mode == "leased":
            lease = self.desk.acquire("sha256:1", None, 5.0, self.token, self.log.line)
            return Report(outcome=Outcome.SUCCEEDED, message=f"{lease.seconds:g}")
        try:
            self.token.wait(30)
        except Stopped:
            return Report(outcome=Outcome.KILLED, message="killed while CLONING")
        return Report(outcome=Outcome.FAILED, reason=Reason.BUILD_FAILED)


def data(mode: str) -> bytes:
    return encode_spec(BuildSpec(mode, SPEC.attempt, SPEC.source, SPEC.images, SPEC.timeout))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        for name, value in {
            "MESOS_AGENT_ENDPOINT": running.endpoint,
            "MESOS_SLAVE_PID": f"slave(1)@{running.endpoint}",
            "MESOS_FRAMEWORK_ID": "f",
            "MESOS_EXECUTOR_ID": "e",
            "MESOS_CHECKPOINT": "1",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "3secs",
            "MESOS_SANDBOX": str(tmp_path / "sandbox"),
            "TMPDIR": str(tmp_path / "tmp"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.tempdir", None)
        (tmp_path / "sandbox").mkdir()
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(task_module, "Pipeline", FakePipeline)
        RELEASE.clear()
        yield running
        RELEASE.set()
        until(lambda: not any(t.name.startswith("task ") for t in threading.enumerate()))
        for stream in running.streams:
            stream.put(None)
        running.shutdown()


class Running:
    """An executor in a thread."""

    def __init__(self, agent: FakeAgent, idle: float = 0.0) -> None:
        settings = Settings.from_environment()
        self.sandbox = settings.sandbox
        self.executor = BuildExecutor(Settings(settings.sandbox, idle))
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        until(lambda: agent.streams)

    def _run(self) -> None:
        self.code = self.executor.run()

    def join(self, seconds: float = 10.0) -> int | None:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the executor did not end"
        return self.code

    def result(self, task_id: str) -> Report:
        return decode_report((self.sandbox / result_file_name(task_id)).read_bytes())


def test_a_task_from_launch_to_exit(agent: FakeAgent, tmp_path: Path) -> None:
    """Result and log are there before the last update is; then the executor ends by itself."""
    seen: list[bool] = []
    original = agent.take_update

    def take(call: dict[str, Any]) -> int:
        if call["update"]["status"]["state"] == "TASK_FINISHED":
            seen.append((tmp_path / "sandbox" / result_file_name("b.1")).exists())
            seen.append((tmp_path / "sandbox" / log_file_name("b.1")).exists())
        return original(call)

    agent.take_update = take  # type: ignore[method-assign]
    running = Running(agent)
    agent.launch("b.1", data("quick"))
    assert running.join() == 0
    assert agent.states() == ["TASK_RUNNING", "TASK_FINISHED"]
    assert seen == [True, True]
    assert running.result("b.1").digest == "sha256:1"
    assert (running.sandbox / log_file_name("b.1")).read_text() == "a line with ***\n"
    assert not list((tmp_path / "tmp").iterdir())


def test_the_end_waits_for_the_acknowledgement(agent: FakeAgent) -> None:
    agent.acknowledge = False
    running = Running(agent)
    agent.launch("b.1", data("quick"))
    until(lambda: len(agent.updates) == 2)
    time.sleep(0.5)
    assert running.thread.is_alive()
    for update in agent.updates:
        agent.acknowledge_update(update)
    assert running.join() == 0


def test_several_tasks_at_once_and_one_after_the_other(agent: FakeAgent) -> None:
    running = Running(agent, idle=0.7)
    for number in range(3):
        agent.launch(f"b{number}.1", data("quick"))
    until(lambda: agent.states().count("TASK_FINISHED") == 3)
    time.sleep(0.2)
    agent.launch("late.1", data("quick"))
    assert running.join() == 0
    assert agent.states().count("TASK_FINISHED") == 4


def test_a_kill_ends_one_task(agent: FakeAgent) -> None:
    running = Running(agent)
    agent.launch("a.1", data("slow"))
    agent.launch("b.1", data("slow"))
    until(lambda: len(agent.updates) == 2)
    agent.send(kill={"task_id": {"value": "a.1"}})
    agent.send(kill={"task_id": {"value": "a.1"}})
    agent.send(kill={"task_id": {"value": "unknown"}})
    until(lambda: "TASK_KILLED" in agent.states())
    assert agent.states()[2:] == ["TASK_KILLING", "TASK_KILLED"]
    assert running.thread.is_alive()
    agent.send(kill={"task_id": {"value": "b.1"}})
    assert running.join() == 0
    assert running.result("a.1").outcome is Outcome.KILLED


def test_a_stuck_task_is_over_all_the_same(agent: FakeAgent) -> None:
    """Its end is reported within the grace period, once, and it dies with the container."""
    running = Running(agent)
    agent.launch("b.1", data("stuck"))
    until(lambda: agent.updates)
    began = time.monotonic()
    policy = {"grace_period": {"nanoseconds": 2_000_000_000}}
    agent.send(kill={"task_id": {"value": "b.1"}, "kill_policy": policy})
    until(lambda: "TASK_KILLED" in agent.states())
    assert time.monotonic() - began < 2
    assert running.result("b.1").outcome is Outcome.KILLED
    agent.streams[-1].put({"type": "SHUTDOWN"})
    assert running.join() == 0
    assert agent.states().count("TASK_KILLED") == 1


def test_after_a_stuck_task_it_takes_no_more_and_ends(agent: FakeAgent) -> None:
    """Only the container's end ends what is stuck; another executor takes what comes."""
    running = Running(agent, idle=60.0)
    agent.launch("a.1", data("slow"))
    agent.launch("b.1", data("stuck"))
    until(lambda: len(agent.updates) == 2)
    policy = {"grace_period": {"nanoseconds": 1_000_000_000}}
    agent.send(kill={"task_id": {"value": "b.1"}, "kill_policy": policy})
    until(lambda: "TASK_KILLED" in agent.states())
    agent.launch("c.1", data("quick"))
    until(lambda: "TASK_FAILED" in agent.states())
    refused = running.result("c.1")
    assert (refused.reason, refused.transient) == (Reason.LAUNCH_FAILED, True)
    assert running.thread.is_alive(), "another build runs"
    agent.send(kill={"task_id": {"value": "a.1"}})
    assert running.join() == 0


def test_shutdown_ends_everything_in_time(agent: FakeAgent) -> None:
    running = Running(agent)
    for number in range(2):
        agent.launch(f"b{number}.1", data("slow"))
    until(lambda: len(agent.updates) == 2)
    began = time.monotonic()
    agent.streams[-1].put({"type": "SHUTDOWN"})
    assert running.join() == 0
    assert time.monotonic() - began < 3
    assert agent.states()[2:] == ["TASK_KILLED", "TASK_KILLED"]


def test_shutdown_without_a_task(agent: FakeAgent) -> None:
    running = Running(agent)
    agent.streams[-1].put({"type": "SHUTDOWN"})
    assert running.join() == 0
    assert not agent.updates


def test_a_lost_agent_ends_the_builds(agent: FakeAgent) -> None:
    """They would be built again elsewhere, and must not push meanwhile."""
    running = Running(agent)
    agent.launch("b.1", data("slow"))
    until(lambda: agent.updates)
    agent.subscribe_status = lambda: 400
    agent.drop_connection()
    assert running.join() == 1
    assert running.result("b.1").outcome is Outcome.KILLED
    assert agent.states() == ["TASK_RUNNING"]


def test_a_restarted_agent_loses_nothing(agent: FakeAgent) -> None:
    running = Running(agent)
    agent.launch("b.1", data("slow"))
    until(lambda: agent.updates)
    agent.subscribe_status = lambda: 503
    agent.drop_connection()
    until(lambda: len(agent.subscriptions) > 2)
    running.executor.kill("b.1", 2.0)
    until((running.sandbox / result_file_name("b.1")).exists)
    agent.subscribe_status = lambda: 200
    assert running.join() == 0
    assert agent.states()[-2:] == ["TASK_KILLING", "TASK_KILLED"]


@pytest.mark.parametrize(
    "spec",
    [b"", b"{}", b"\xff", data("x").replace(f'"version":{VERSION}'.encode(), b'"version":99')],
)
def test_a_spec_that_is_none(agent: FakeAgent, spec: bytes) -> None:
    running = Running(agent)
    agent.launch("b.1", spec)
    assert running.join() == 0
    assert agent.states() == ["TASK_FAILED"]
    assert running.result("b.1").reason is Reason.INVALID_SPEC


def test_a_defect_ends_the_task_not_the_executor(agent: FakeAgent) -> None:
    running = Running(agent)
    agent.launch("b.1", data("broken"))
    assert running.join() == 0
    assert agent.states() == ["TASK_RUNNING", "TASK_FAILED"]
    assert running.result("b.1").reason is Reason.EXECUTOR_ERROR


def test_an_answer_reaches_its_task(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(
        ExecutorDriver, "sendFrameworkMessage", lambda _driver, data: asked.append(data)
    )
    running = Running(agent)
    for task_id in ("a.1", "b.1"):
        agent.launch(task_id, data("leased"))
    until(lambda: len(asked) >= 2)
    requests = {r.task_id: r for r in map(decode_lease_request, asked)}
    for junk in (b"", b"{}", encode_lease(LeaseAnswer("unknown", "n", granted=True))):
        running.executor.framework_message(junk)
    for seconds, task_id in ((20, "a.1"), (30, "b.1")):
        answer = LeaseAnswer(task_id, requests[task_id].nonce, granted=True, seconds=seconds)
        running.executor.framework_message(encode_lease(answer))
    assert running.join() == 0
    assert [running.result(task_id).message for task_id in ("a.1", "b.1")] == ["20", "30"]


def test_a_task_that_never_started_has_ended(tmp_path: Path) -> None:
    sent: list[Any] = []
    task = Task("b.1", b"", tmp_path, None, sent.append, sent.append, print, print)  # type: ignore[arg-type]
    assert task.join(0)
    task.stop(Stop.KILL, 2.0)
    assert not sent


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ({}, Settings(Path())),
        ({"MESOS_DIRECTORY": "/d"}, Settings(Path("/d"))),
        ({"MESOS_DIRECTORY": "/d", "MESOS_SANDBOX": "/s"}, Settings(Path("/s"))),
        ({"BUILDER_EXECUTOR_IDLE": "30"}, Settings(Path(), 30.0)),
        ({"BUILDER_EXECUTOR_IDLE": "2mins"}, Settings(Path(), 120.0)),
        ({"BUILDER_EXECUTOR_IDLE": "-1"}, Settings(Path(), 0.0)),
        ({"BUILDER_EXECUTOR_IDLE": "soon"}, Settings(Path(), 0.0)),
    ],
)
def test_settings(env: dict[str, str], settings: Settings) -> None:
    assert Settings.from_environment(env) == settings


def start_init(work: str, aftermath: str = "0") -> subprocess.Popen[bytes]:
    """`init.run` in a process that, as process 1 does, gets the orphans below it."""
    script = (
        "import ctypes, os, signal, subprocess, sys, time; from executor import init; "
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "  # PR_SET_CHILD_SUBREAPER
        f"sys.exit(init.run(lambda: {work}, lambda how: {aftermath}))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", script], env=env)


def test_process_one_returns_the_code() -> None:
    assert start_init("7").wait(20) == 7
    assert start_init("os.kill(os.getpid(), 9)").wait(20) == 128 + 9
    assert start_init("1 / 0").wait(20) == 70


@pytest.mark.parametrize(
    ("work", "code", "heard"),
    [
        ("os.kill(os.getpid(), 9)", 128 + 9, "was killed by SIGKILL"),
        ("1 / 0", 70, "failed by a defect"),
        ("1", 1, None),
        ("0", 0, None),
    ],
)
def test_process_one_outlives_an_executor_that_died(
    tmp_path: Path, work: str, code: int, heard: str | None
) -> None:
    """Its exit code stays; one that ended by itself has said what there was to say."""
    written = tmp_path / "how"
    note = f"open({str(written)!r}, 'w').write(how)"
    assert start_init(work, note).wait(20) == code
    assert (written.read_text() if written.exists() else None) == heard


def test_process_one_reaps_orphans(tmp_path: Path) -> None:
    """A Python that waits for its own children only leaves them as zombies."""
    started = tmp_path / "pid"
    orphan = f"subprocess.run(['sh', '-c', 'sleep 0.1 & echo $! > {started}'])"
    with start_init(f"({orphan}, time.sleep(20))[0] and 0") as running:
        until(lambda: started.exists() and started.read_text().strip(), 20)
        until(lambda: not Path(f"/proc/{started.read_text().strip()}").exists())
        running.terminate()
        # The work has no handler of its own, so the signal that was passed on ended it.
        assert running.wait(20) == 128 + 15
