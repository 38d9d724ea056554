"""What every election promises. A new kind is one more subclass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder_framework.election.base import Election
from builder_framework.election.database import DatabaseElection
from builder_framework.election.file import FILE, FileElection
from devcluster.postgres import Postgres
from tests.unit.waiting import until

NEVER = threading.Event()

_CANDIDATE = """
import sys, threading, time
from pathlib import Path
from builder_framework.election.database import DatabaseElection
from builder_framework.election.file import FileElection
kinds = {"database": DatabaseElection, "file": lambda place: FileElection(Path(place))}
kinds[sys.argv[1]](sys.argv[2]).campaign(threading.Event())
print("elected", flush=True)
time.sleep(600)
"""


class ElectionContract:
    """The promises of `Election`."""

    kind: str

    @pytest.fixture
    def place(self) -> str:
        """Where this kind is held."""
        raise NotImplementedError

    def open(self, place: str) -> Election:
        raise NotImplementedError

    @pytest.fixture
    def candidate(self, place: str) -> Iterator[Callable[[], Election]]:
        made: list[Election] = []

        def make() -> Election:
            made.append(self.open(place))
            return made[-1]

        yield make
        for election in made:
            election.resign()

    def test_one_is_elected_and_the_next_when_it_resigns(
        self, candidate: Callable[[], Election]
    ) -> None:
        first, second = candidate(), candidate()
        assert not first.held()
        assert first.campaign(NEVER)
        thread = threading.Thread(target=second.campaign, args=(NEVER,))
        thread.start()
        thread.join(1.0)
        assert (first.held(), second.held()) == (True, False)
        first.resign()
        thread.join()
        assert (first.held(), second.held()) == (False, True)

    def test_a_candidate_can_be_told_to_stop(self, candidate: Callable[[], Election]) -> None:
        first, second = candidate(), candidate()
        first.campaign(NEVER)
        stopping = threading.Event()
        threading.Timer(0.3, stopping.set).start()
        assert not second.campaign(stopping)
        assert not second.held()

    def test_a_killed_process_leads_no_longer(
        self, candidate: Callable[[], Election], place: str
    ) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", _CANDIDATE, self.kind, place], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "elected\n"
            stopping = threading.Event()
            threading.Timer(1.0, stopping.set).start()
            assert not candidate().campaign(stopping)
            os.kill(process.pid, signal.SIGKILL)
        assert candidate().campaign(NEVER)


class TestFile(ElectionContract):
    """A lock on a file."""

    kind = "file"

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path)

    def open(self, place: str) -> Election:
        return FileElection(Path(place))

    @pytest.mark.parametrize("put_back", [False, True])
    def test_who_holds_a_deleted_file_holds_nothing(
        self, candidate: Callable[[], Election], place: str, put_back: bool
    ) -> None:
        first, second = candidate(), candidate()
        first.campaign(NEVER)
        Path(place, FILE).unlink()
        if put_back:
            second.campaign(NEVER)
        assert (first.held(), second.held()) == (False, put_back)

    def test_a_directory_that_is_not_there_is_waited_for(self, tmp_path: Path) -> None:
        later = tmp_path / "later"
        election = FileElection(later)
        threading.Timer(0.5, later.mkdir).start()
        assert election.campaign(NEVER)
        election.resign()


class TestDatabase(ElectionContract):
    """An advisory lock of PostgreSQL."""

    kind = "database"

    @pytest.fixture
    def place(self, postgres_url: str) -> str:
        return postgres_url

    def open(self, place: str) -> Election:
        return DatabaseElection(place)

    def test_a_lost_session_is_noticed(
        self, candidate: Callable[[], Election], postgres: Postgres
    ) -> None:
        first, second = candidate(), candidate()
        first.campaign(NEVER)
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
        assert second.campaign(NEVER)
        until(lambda: not first.held())
        assert second.held()

    def test_a_process_that_is_stopped_for_long_leads_no_longer(
        self, candidate: Callable[[], Election], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("builder_framework.election.database._SILENCE_SECONDS", 1)
        monkeypatch.setattr("builder_framework.election.database._CHECK", 3.0)
        first, second = candidate(), candidate()
        first.campaign(NEVER)
        assert second.campaign(NEVER)
        until(lambda: not first.held())

    def test_a_server_that_is_away_is_waited_for(
        self, candidate: Callable[[], Election], postgres: Postgres
    ) -> None:
        election = candidate()
        postgres.stop()
        starter = threading.Timer(1.0, postgres.start)
        starter.start()
        assert election.campaign(NEVER)
        starter.join()

    def test_a_server_that_is_slow_costs_nobody_the_lead(
        self, candidate: Callable[[], Election], postgres: Postgres
    ) -> None:
        election = candidate()
        election.campaign(NEVER)
        postgres.pause()
        time.sleep(3.0)
        postgres.resume()
        time.sleep(1.5)
        assert election.held()
