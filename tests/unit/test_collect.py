"""Logs and results come from agents that may be slow, gone, or have nothing to say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.cluster import OffersReceived, StatusUpdate
from builder_framework.domain.model import Attempt
from builder_framework.domain.states import State
from builder_framework.errors import SandboxError
from builder_framework.mesos.sandbox import SandboxNotFoundError
from builder_framework.ports import BuildView
from builder_framework.protocol import (
    Outcome,
    Phase,
    Reason,
    Report,
    encode_report,
    log_file_name,
    result_file_name,
)
from builder_framework.service import collect
from builder_framework.service.logs import LogStore
from tests.unit.recording import Bench, offer
from tests.unit.test_service import launched, news, state
from tests.unit.waiting import until


class ScriptedSandboxes:
    """`files`: what agents have, a piece of 7 bytes at a time. `error`: instead of all."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.error: SandboxError | None = None

    def read(self, _attempt: Attempt, file_name: str, offset: int) -> bytes:
        if self.error is not None:
            raise self.error
        if file_name not in self.files:
            raise SandboxNotFoundError(f"{file_name} is not in the sandbox")
        return self.files[file_name][offset : offset + 7]


@pytest.fixture
def sandboxes() -> ScriptedSandboxes:
    return ScriptedSandboxes()


@pytest.fixture
def bench(
    tmp_path: Path, sandboxes: ScriptedSandboxes, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    monkeypatch.setattr(collect, "_POLL", 0.02)
    monkeypatch.setattr(collect, "_IDLE_POLL", 0.05)
    monkeypatch.setattr(collect, "_POLL_AFTER_ERROR", 0.05)
    monkeypatch.setattr(collect, "_PATIENCE", 0.5)
    monkeypatch.setattr(collect, "_PATIENCE_IF_REPEATED", 0.2)
    monkeypatch.setattr(collect, "_RESULT_PATIENCE", 1.5)
    made = Bench(tmp_path, sandboxes=sandboxes)
    yield made
    made.close()


def log_of(view: BuildView) -> str:
    return log_file_name(f"{view.build.id}.1")


def text(bench: Bench, view: BuildView) -> bytes:
    return bench.service.read_log(view.build.id, 0, 10_000)


def runs(bench: Bench) -> BuildView:
    view = launched(bench)
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.CLONING)))
    until(lambda: state(bench, view) is State.RUNNING)
    return view


def ends(bench: Bench, view: BuildView) -> None:
    failed = Report(outcome=Outcome.FAILED, reason=Reason.STEP_FAILED, message="no")
    bench.service.post(news(view, "TASK_FAILED", failed))
    until(lambda: state(bench, view) is State.FAILED)


def complete(bench: Bench, view: BuildView) -> bool:
    return bench.service.get(view.build.id).log_complete


def test_the_log_is_followed_as_it_grows_and_to_its_very_end(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:
    view = runs(bench)
    sandboxes.files[log_of(view)] = b"one line\n"
    until(lambda: text(bench, view) == b"one line\n")
    assert not complete(bench, view)
    sandboxes.files[log_of(view)] += b"another line\n"
    until(lambda: text(bench, view) == b"one line\nanother line\n")
    ends(bench, view)
    until(lambda: complete(bench, view))


def test_what_was_written_just_before_the_end_is_not_lost(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:
    """The executor closes its log before it says that it ended: all of it is there by then."""
    view = runs(bench)
    sandboxes.files[log_of(view)] = b"x" * 500
    ends(bench, view)
    until(lambda: complete(bench, view))
    assert text(bench, view) == b"x" * 500


def test_a_log_goes_on_at_the_same_byte_after_a_restart(
    bench: Bench, sandboxes: ScriptedSandboxes, tmp_path: Path
) -> None:
    view = runs(bench)
    sandboxes.files[log_of(view)] = b"before the restart\n"
    until(lambda: text(bench, view) == b"before the restart\n")
    bench.service.stop()
    again = Bench(tmp_path, sandboxes=sandboxes)
    sandboxes.files[log_of(view)] += b"after it\n"
    until(lambda: text(again, view) == b"before the restart\nafter it\n")
    again.close()


def test_an_agent_that_does_not_answer_for_a_while_is_waited_for(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:
    view = runs(bench)
    sandboxes.error = SandboxError("the agent does not answer")
    ends(bench, view)
    sandboxes.files[log_of(view)] = b"late, but whole\n"
    sandboxes.error = None
    until(lambda: complete(bench, view))
    assert text(bench, view) == b"late, but whole\n"


@pytest.mark.parametrize(
    "error", [SandboxError("the agent does not answer"), SandboxNotFoundError("no such file")]
)
def test_a_log_that_cannot_be_had_is_complete_as_it_is(
    bench: Bench, sandboxes: ScriptedSandboxes, error: SandboxError
) -> None:
    """Whoever follows it must not wait for ever."""
    view = runs(bench)
    sandboxes.error = error
    ends(bench, view)
    until(lambda: complete(bench, view))
    assert text(bench, view) == b""


def test_a_build_that_never_ran_has_a_complete_and_empty_log(bench: Bench) -> None:
    view = launched(bench)
    refusal = StatusUpdate(
        f"{view.build.id}.1", "a1", "TASK_ERROR", reason="REASON_TASK_INVALID", uuid="u"
    )
    bench.service.post(refusal)
    until(lambda: state(bench, view) is State.FAILED)
    until(lambda: complete(bench, view))


def reconciled(view: BuildView, mesos_state: str) -> StatusUpdate:
    return StatusUpdate(f"{view.build.id}.1", "a1", mesos_state, reason="REASON_RECONCILIATION")


def test_a_result_that_no_update_brings_is_read_from_the_sandbox(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:
    """Reconciliation says FINISHED without data; the file has the digest."""
    view = runs(bench)
    report = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1", commit="c0ffee")
    sandboxes.files[result_file_name(f"{view.build.id}.1")] = encode_report(report)
    bench.service.post(reconciled(view, "TASK_FINISHED"))
    until(lambda: state(bench, view) is State.SUCCEEDED)
    result = bench.service.get(view.build.id).build.result
    assert (result.digest, result.commit) == ("sha256:1", "c0ffee")


@pytest.mark.parametrize("content", [None, b"", b"{broken", b'{"version": 99}'])
def test_a_result_that_is_nowhere_is_lost_and_no_success(
    bench: Bench, sandboxes: ScriptedSandboxes, content: bytes | None
) -> None:
    view = runs(bench)
    if content is not None:
        sandboxes.files[result_file_name(f"{view.build.id}.1")] = content
    bench.service.post(reconciled(view, "TASK_FINISHED"))
    until(lambda: state(bench, view) is State.QUEUED)
    first = bench.service.get(view.build.id).build.attempts[0]
    assert first.reason is Reason.RESULT_LOST


def test_a_second_attempts_log_follows_the_first_ones(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:
    view = launched(bench)
    bench.service.post(reconciled(view, "TASK_GONE"))
    until(lambda: state(bench, view) is State.QUEUED)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: state(bench, view) is State.STAGING)
    second = log_file_name(f"{view.build.id}.2")
    sandboxes.files[second] = b"the second attempt\n"
    progress = Report(phase=Phase.CLONING)
    bench.service.post(news(view, "TASK_RUNNING", progress, attempt=2))
    header = b"\n== Attempt 2 on a1\n"
    until(lambda: text(bench, view) == header + b"the second attempt\n")
    offsets = [a.log_offset for a in bench.service.get(view.build.id).build.attempts]
    assert offsets == [0, len(header)]


def test_the_line_between_two_attempts_is_written_once(
    bench: Bench, sandboxes: ScriptedSandboxes, tmp_path: Path
) -> None:
    """The framework was killed after it wrote the line, before it stored where the log begins."""
    view = launched(bench)
    bench.service.post(reconciled(view, "TASK_GONE"))
    until(lambda: state(bench, view) is State.QUEUED)
    header = b"\n== Attempt 2 on a1\n"
    LogStore(tmp_path / "logs").append(view.build.id, header)
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: state(bench, view) is State.STAGING)
    sandboxes.files[log_file_name(f"{view.build.id}.2")] = b"the second attempt\n"
    bench.service.post(news(view, "TASK_RUNNING", Report(phase=Phase.CLONING), attempt=2))
    until(lambda: text(bench, view) == header + b"the second attempt\n")


def test_the_end_of_a_failed_attempts_log_comes_before_the_next_ones(
    bench: Bench, sandboxes: ScriptedSandboxes
) -> None:

    view = runs(bench)
    first, second = (log_file_name(f"{view.build.id}.{number}") for number in (1, 2))
    sandboxes.files[first] = b"cloning\n"
    until(lambda: text(bench, view) == b"cloning\n")
    sandboxes.files[first] += b"the registry answers 503\n"
    transient = Report(outcome=Outcome.FAILED, reason=Reason.PUSH_FAILED, transient=True)
    bench.service.post(news(view, "TASK_FAILED", transient))
    until(lambda: state(bench, view) is State.QUEUED)
    bench.ahead = 30.0
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: state(bench, view) is State.STAGING)
    sandboxes.files[second] = b"once more\n"
    progress = Report(phase=Phase.CLONING)
    bench.service.post(news(view, "TASK_RUNNING", progress, attempt=2))
    expected = b"cloning\nthe registry answers 503\n\n== Attempt 2 on a1\nonce more\n"
    until(lambda: text(bench, view) == expected)
