"""What an executor owes its agent survives its process, in order, and holds no secret."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from executor.outbox import Outbox


def update(state: str, task_id: str = "b.1") -> dict[str, Any]:
    return {"task_id": {"value": task_id}, "state": state}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.json"


def test_another_process_finds_what_this_one_left(path: Path) -> None:
    outbox = Outbox(path)
    outbox.launched("b.1")
    outbox.launched("b.2")
    for state in ("TASK_RUNNING", "TASK_FINISHED"):
        outbox.add(update(state))
    found = Outbox(path)
    assert found.statuses() == outbox.statuses()
    assert [status["state"] for status in found.statuses()] == ["TASK_RUNNING", "TASK_FINISHED"]
    assert found.unfinished == {"b.2": None}


def test_an_unfinished_task_is_known_with_its_last_data(path: Path) -> None:
    """Also after its acknowledgement: what it did when its executor died is asked for later."""
    outbox = Outbox(path)
    outbox.launched("b.1")
    outbox.add({**update("TASK_RUNNING"), "data": "QQ=="})
    first = outbox.first(())
    assert first is not None
    outbox.acknowledged(first[0])
    assert Outbox(path).unfinished == {"b.1": "QQ=="}


def test_what_is_acknowledged_is_in_neither(path: Path) -> None:
    outbox = Outbox(path)
    outbox.add(update("TASK_RUNNING"))
    outbox.add(update("TASK_FAILED"))
    first = outbox.first(())
    assert first is not None
    outbox.acknowledged(first[0])
    outbox.acknowledged(first[0])
    assert [status["state"] for status in outbox.statuses()] == ["TASK_FAILED"]
    assert Outbox(path).statuses() == outbox.statuses()


def test_the_oldest_that_was_not_sent_comes_first() -> None:
    outbox = Outbox()
    assert outbox.first(()) is None
    for state in ("TASK_RUNNING", "TASK_FINISHED"):
        outbox.add(update(state))
    first = outbox.first(())
    assert first is not None
    assert first[1]["state"] == "TASK_RUNNING"
    second = outbox.first({first[0]})
    assert second is not None
    assert second[1]["state"] == "TASK_FINISHED"
    assert outbox.first({first[0], second[0]}) is None
    assert len(outbox) == 2


def test_what_was_taken_over_cannot_be_changed_from_outside() -> None:
    outbox = Outbox()
    status = update("TASK_RUNNING")
    outbox.add(status)
    status["task_id"]["value"] = "other"
    assert outbox.statuses()[0]["task_id"] == {"value": "b.1"}
    assert "uuid" not in status


def test_one_dict_taken_over_twice_is_two_updates() -> None:
    """X3: the agent ignores an update whose uuid it has seen."""
    outbox = Outbox()
    status = update("TASK_RUNNING")
    outbox.add(status)
    outbox.add(status)
    taken = outbox.statuses()
    assert len({item["uuid"] for item in taken}) == 2
    assert all(len(base64.b64decode(item["uuid"])) == 16 for item in taken)
    assert {item["source"] for item in taken} == {"SOURCE_EXECUTOR"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"updates": 1, "unfinished": []}', b"\xff"]
)
def test_a_file_that_is_none_is_an_empty_outbox(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert not Outbox(path)
    assert str(path) in caplog.text


def test_a_file_that_cannot_be_written_costs_no_update(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path / "missing" / "outbox.json")
    with caplog.at_level(logging.WARNING):
        outbox.launched("b.1")
        outbox.add(update("TASK_FINISHED"))
    assert len(outbox) == 1
    assert "missing" in caplog.text


def test_the_file_is_whole_at_any_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves the content from before."""
    outbox = Outbox(path)
    outbox.add(update("TASK_RUNNING"))
    before = path.read_bytes()

    def die(where: Path, text: str) -> int:
        where.write_bytes(text[:9].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", die)
    with pytest.raises(KeyboardInterrupt):
        outbox.add(update("TASK_FINISHED"))
    assert path.read_bytes() == before
    assert json.loads(before)["updates"]
