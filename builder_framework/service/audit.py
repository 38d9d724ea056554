"""Writes the audit trail: what came at the same time goes into one transaction."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from builder_framework.audit import Entry, Query
from builder_framework.errors import BuilderError

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that an answer waits for its entry. The request was done, whatever becomes of it."""

_AT_ONCE = 500


class Entries(Protocol):
    """See `store.audit.SqlAudit`."""

    def add(self, entries: Sequence[Entry]) -> None: ...

    def page(self, query: Query) -> tuple[list[Entry], int | None]: ...


@dataclass
class _Waiting:
    entry: Entry
    over: threading.Event = field(default_factory=threading.Event)


class AuditTrail:
    """`audit.Audit` of one process; it has a thread of its own from `start` on."""

    def __init__(self, entries: Entries, patience: float = PATIENCE) -> None:
        self._entries = entries
        self._patience = patience
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what was handed in, and end."""
        self._queue.put(None)
        self._thread.join(timeout=self._patience)

    @property
    def alive(self) -> bool:
        """Whether entries are being written; when not, this process must end."""
        return self._thread.is_alive()

    def record(self, entry: Entry) -> None:
        """See `audit.Audit`."""
        waiting = _Waiting(entry)
        self._queue.put(waiting)
        if not waiting.over.wait(self._patience):
            log.warning("an entry of the audit trail is late: %s", entry)

    def page(self, query: Query) -> tuple[list[Entry], int | None]:
        """See `audit.Audit`."""
        return self._entries.page(query)

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch, ended = [first], False
            while len(batch) < _AT_ONCE and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    ended = True
                    break
                batch.append(more)
            self._write(batch)
            if ended:
                return

    def _write(self, batch: Sequence[_Waiting]) -> None:
        entries = [each.entry for each in batch]
        try:
            self._entries.add(entries)
        except BuilderError as error:
            _tell(entries, error.message)
        except Exception:
            log.exception("entries of the audit trail were not stored")
            _tell(entries, "an unexpected error")
        finally:
            for each in batch:
                each.over.set()


def _tell(entries: Sequence[Entry], why: str) -> None:
    """What was done stays known, if only here."""
    log.error("the audit trail lacks %d entries: %s", len(entries), why)
    for entry in entries:
        log.error("not in the audit trail: %s", entry)
