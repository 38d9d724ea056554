"""Status updates that the agent has not acknowledged, in memory and in the sandbox.

The file outlives the executor's process: what that left unsaid, `executor.aftermath` says. It is
not synced, because only the power failing could take it from the page cache, and that ends the
container as well. It holds what updates hold, and never a TaskInfo, which has the credentials.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from base64 import b64encode
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

FILE_NAME = "outbox.json"

Status = dict[str, Any]

_TERMINAL = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"})


@dataclass(frozen=True)
class _Content:
    """`updates` by their uuid, in the order they were made.

    `unfinished`: by its id each task without a terminal update, with its last update's `data`.
    """

    updates: Mapping[str, Status] = field(default_factory=dict)
    unfinished: Mapping[str, str | None] = field(default_factory=dict)


class Outbox:
    """Thread-safe. Readers never wait for the disk; a full one costs the file, not the update."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._changing = threading.Lock()
        self._content = _read(path) if path is not None else _Content()

    def __len__(self) -> int:
        return len(self._content.updates)

    @property
    def unfinished(self) -> Mapping[str, str | None]:
        """Ids of the tasks that have no terminal update yet, with the `data` of their last one."""
        return self._content.unfinished

    def statuses(self) -> list[Status]:
        """Every update that is not acknowledged, oldest first."""
        return list(self._content.updates.values())

    def first(self, without: Container[str]) -> tuple[str, Status] | None:
        """The oldest update whose uuid is not in `without`, with its uuid."""
        for identity, status in self._content.updates.items():
            if identity not in without:
                return identity, status
        return None

    def launched(self, task_id: str) -> None:
        """Note that there is this task."""
        with self._changing:
            now = self._content
            self._save(_Content(now.updates, {**now.unfinished, task_id: None}))

    def add(self, status: Mapping[str, Any]) -> None:
        """Take over an update under a uuid of its own; it is in the file before it can be sent."""
        identity = uuid.uuid4()
        own = {**status, "uuid": b64encode(identity.bytes).decode(), "source": "SOURCE_EXECUTOR"}
        # A copy that is JSON, so that nobody changes what was taken over.
        own = json.loads(json.dumps(own))
        with self._changing:
            now = self._content
            unfinished = dict(now.unfinished)
            if own["state"] in _TERMINAL:
                unfinished.pop(own["task_id"]["value"], None)
            else:
                unfinished[own["task_id"]["value"]] = own.get("data")
            self._save(_Content({**now.updates, str(identity): own}, unfinished))

    def acknowledged(self, identity: str) -> None:
        """The agent has it; does nothing when that is known already."""
        with self._changing:
            now = self._content
            left = {key: status for key, status in now.updates.items() if key != identity}
            # At once for readers: were the file to keep it, the agent ignores a second one.
            self._content = _Content(left, now.unfinished)
            self._save(self._content)

    def _save(self, content: _Content) -> None:
        if self._path is not None:
            try:
                _write(self._path, content)
            except OSError as error:
                logger.warning("could not write %s: %s", self._path, error)
        self._content = content


def _write(path: Path, content: _Content) -> None:
    new = path.with_name(f"{path.name}.new")
    body = {"updates": content.updates, "unfinished": content.unfinished}
    new.write_text(json.dumps(body))
    new.replace(path)


def _read(path: Path) -> _Content:
    """What a process before this one left; nothing where there is no such file."""
    try:
        body = json.loads(path.read_bytes())
        return _Content(dict(body["updates"]), dict(body["unfinished"]))
    except FileNotFoundError:
        return _Content()
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("could not read %s: %s", path, error)
        return _Content()
