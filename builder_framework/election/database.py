"""Election by a PostgreSQL advisory lock, which a session of its own holds."""

from __future__ import annotations

import logging
import math
import threading

import psycopg

from builder_framework.store import engine

log = logging.getLogger(__name__)

_KEY = 0x6C6561646572
"""Key of the advisory lock: "leader" in ASCII. Locks belong to one database of the server."""
_POLL = 0.5
_CHECK = 1.0
# Whoever is elected and then stopped (a paused machine) asks no more: the server ends its session.
_SILENCE_SECONDS = 15
_SILENCE_SINCE = 140_000
"""First PostgreSQL version with `idle_session_timeout`."""


class DatabaseElection:
    """`Election` in the database that is to be written to."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError."""
        self._conninfo = engine.libpq(engine.parse(url))
        self._session: engine.PatientConnection | None = None
        self._elected = False
        self._resigned = threading.Event()

    def campaign(self, stopping: threading.Event) -> bool:
        told = False
        while not stopping.is_set():
            try:
                if self.attempt():
                    watch = threading.Thread(target=self._watch, name="election", daemon=True)
                    watch.start()
                    return True
            except psycopg.Error as error:
                self._close()
                if not told:
                    log.warning("the database holds no election: %s", engine.cause(error))
                told = True
            stopping.wait(_POLL)
        self._close()
        return False

    def attempt(self) -> bool:
        """Whether the lock could be had at once. Raises psycopg.Error."""
        if self._session is None:
            self._session = self._connect()
        row = self._session.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,)).fetchone()
        self._elected = bool(row and row[0])
        return self._elected

    def held(self) -> bool:
        return self._elected

    def resign(self) -> None:
        self._elected = False
        self._resigned.set()
        self._close()

    def _connect(self) -> engine.PatientConnection:
        return engine.PatientConnection.connect(
            self._conninfo, autocommit=True, **engine.server_options()
        )

    def _watch(self) -> None:
        """As long as the session lives the lock is ours; a slow answer is one, too."""
        session = self._session
        if session is None:
            return
        session.patience = math.inf
        try:
            if session.info.server_version >= _SILENCE_SINCE:
                session.execute(f"SET idle_session_timeout = '{_SILENCE_SECONDS}s'")
            while not self._resigned.wait(_CHECK):
                session.execute("SELECT 1")
        except psycopg.Error as error:
            if self._elected:
                log.error("the session that leads is lost: %s", engine.cause(error))  # noqa: TRY400
        self._elected = False

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
