"""An executor that died: its builds get the end they had, or are told what happened, once."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder_framework.protocol import (
    Outcome,
    Phase,
    Reason,
    Report,
    decode_report,
    encode_report,
    log_file_name,
    result_file_name,
)
from executor import aftermath
from executor.agent import ACK_WAIT
from executor.outbox import FILE_NAME, Outbox
from executor.reporter import Reporter
from tests.unit.executor_agent import FakeAgent
from tests.unit.waiting import until

HOW = "was killed by SIGKILL"


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESOS_SANDBOX", str(tmp_path))
    monkeypatch.setattr(aftermath, "setup_logging", lambda: None)
    monkeypatch.setattr(aftermath, "OOM_COUNTERS", ())
    return tmp_path


@pytest.fixture
def agent(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
        running.close()


def last_report(status: dict[str, Any]) -> Report:
    return decode_report(base64.b64decode(status["data"]))


def test_a_build_that_had_not_ended_ends_with_what_happened(
    agent: FakeAgent, sandbox: Path
) -> None:
    outbox = Outbox(sandbox / FILE_NAME)
    outbox.launched("b.1")
    Reporter("b.1", outbox.add).progress(Report(phase=Phase.BUILDING))
    log = sandbox / log_file_name("b.1")
    log.write_text("cloning\n")
    assert aftermath.main("token", HOW) == 0
    assert agent.states() == ["TASK_RUNNING", "TASK_FAILED"]
    assert agent.authorizations == {"Bearer token"}
    report = last_report(agent.updates[1])
    assert (report.reason, report.transient) == (Reason.EXECUTOR_LOST, True)
    assert report.phase is Phase.BUILDING
    assert report.message == "the executor was killed by SIGKILL while BUILDING"
    assert decode_report((sandbox / result_file_name("b.1")).read_bytes()) == report
    assert log.read_text() == f"cloning\n{report.message}\n"


def test_a_build_that_had_ended_keeps_its_end(agent: FakeAgent, sandbox: Path) -> None:
    """Its result was written; the update was not handed over any more."""
    Outbox(sandbox / FILE_NAME).launched("b.1")
    end = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1")
    (sandbox / result_file_name("b.1")).write_bytes(encode_report(end))
    assert aftermath.main(None, HOW) == 0
    assert agent.states() == ["TASK_FINISHED"]
    assert last_report(agent.updates[0]).digest == "sha256:1"


def test_updates_that_were_left_are_delivered_as_they_are(agent: FakeAgent, sandbox: Path) -> None:
    outbox = Outbox(sandbox / FILE_NAME)
    outbox.launched("b.1")
    for state in ("TASK_RUNNING", "TASK_FINISHED"):
        outbox.add({"task_id": {"value": "b.1"}, "state": state})
    left = outbox.statuses()
    assert aftermath.main(None, HOW) == 0
    assert agent.updates == left


def test_an_executor_that_owed_nothing_says_nothing(agent: FakeAgent) -> None:
    assert aftermath.main(None, HOW) == 0
    assert agent.subscriptions == []


def test_it_waits_for_an_agent_that_is_away(agent: FakeAgent, sandbox: Path) -> None:
    Outbox(sandbox / FILE_NAME).launched("b.1")
    agent.subscribe_status = lambda: 503
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(aftermath.main(None, HOW)))
    thread.start()
    until(lambda: len(agent.subscriptions) > 2)
    agent.subscribe_status = lambda: 200
    thread.join(10)
    assert codes == [0]
    assert agent.states() == ["TASK_FAILED"]


def test_an_agent_that_knows_the_executor_no_more_is_not_waited_for(
    agent: FakeAgent, sandbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Outbox(sandbox / FILE_NAME).launched("b.1")
    agent.subscribe_status = lambda: 400
    began = time.monotonic()
    with caplog.at_level(logging.ERROR):
        assert aftermath.main(None, HOW) == 1
    assert time.monotonic() - began < ACK_WAIT
    assert "updates are left that nobody takes" in caplog.text
    assert len(Outbox(sandbox / FILE_NAME)) == 1


@pytest.mark.parametrize(
    ("how", "counter", "reason"),
    [
        ("was killed by SIGKILL", "low 0\noom_kill 1\n", Reason.OUT_OF_MEMORY),
        ("was killed by SIGKILL", "under_oom 0\noom_kill 0\n", Reason.EXECUTOR_LOST),
        ("was killed by SIGKILL", "nonsense", Reason.EXECUTOR_LOST),
        ("was killed by SIGSEGV", "oom_kill 1\n", Reason.EXECUTOR_LOST),
        ("failed by a defect", "oom_kill 1\n", Reason.EXECUTOR_LOST),
    ],
)
def test_a_lack_of_memory_is_told_from_other_deaths(
    tmp_path: Path, how: str, counter: str, reason: Reason
) -> None:
    """X5: repeating a build that needs more memory than it may have helps nobody."""
    file = tmp_path / "memory.events"
    file.write_text(counter)
    report = aftermath.verdict(how, Phase.BUILDING, (tmp_path / "missing", file))
    assert report.reason is reason
    assert report.transient is (reason is Reason.EXECUTOR_LOST)
