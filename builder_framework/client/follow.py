"""Follows a build: prints its log as it comes, and holds on through broken connections.

The server may restart meanwhile; the log goes on at the byte where it stopped.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from builder_framework import answers
from builder_framework.client.errors import ApiError, ConnectionFailedError
from builder_framework.client.sse import ServerEvent

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 10.0
GIVE_UP_SECONDS = 300.0
"""Without any event from the server. Marathon needs up to minutes to restart a framework."""


class Streams(Protocol):
    """What following needs of a client."""

    def stream(self, build_id: str, offset: int, *, attend: bool = False) -> Iterator[ServerEvent]:
        """See `Client.stream`."""
        ...


@dataclass
class Follower:
    """One build being followed. `offset`: the byte of the log where it goes on.

    `write` gets the log's text, `note` gets what should be told beside it. `state` is the last
    `state` event; they are noted, too, unless `tell` gets them.
    """

    client: Streams
    build_id: str
    write: Callable[[str], object]
    note: Callable[[str], object]
    offset: int = 0
    attend: bool = False
    give_up_after: float = GIVE_UP_SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    state: dict[str, Any] = field(default_factory=dict)
    tell: Callable[[answers.StateEvent], object] | None = None

    def run(self) -> answers.EndEvent:
        """Until the build is over: the data of the `end` event.

        Raises ApiError for what trying again does not help, ConnectionFailedError after
        `give_up_after` seconds without the server.
        """
        silent_since: float | None = None
        tries = 0
        while True:
            try:
                events = self.client.stream(self.build_id, self.offset, attend=self.attend)
                for event in events:
                    if event.name in ("log", "state", "end"):
                        if tries:
                            self.note("connected again")
                        silent_since, tries = None, 0
                    if (end := self._take(event)) is not None:
                        return end
                why = "the server ended the connection"
            except ConnectionFailedError as error:
                why = error.message
            except ApiError as error:
                if not error.temporary:
                    raise
                why = error.message
            now = self.clock()
            if silent_since is None:
                silent_since = now
                self.note(f"{why}; trying again for up to {self.give_up_after:g} s")
            if now - silent_since >= self.give_up_after:
                raise ConnectionFailedError(f"{why}; gave up after {self.give_up_after:g} s")
            self.sleep(self._wait(tries))
            tries += 1

    def _wait(self, tries: int) -> float:
        """Doubling, bounded, with jitter so that many followers do not come back at once."""
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  (not for secrecy)

    def _take(self, event: ServerEvent) -> answers.EndEvent | None:
        """Act on one event; the data of `end`, else None."""
        if event.name not in ("log", "state", "end", "problem"):
            return None  # a later server may have more to say
        data = _data(event)
        if event.name == "log":
            self.write(str(data.get("text", "")))
            if event.id is not None and event.id.isdecimal():
                self.offset = int(event.id)
        elif event.name == "state":
            self._tell_state(data)
        elif event.name == "problem":
            raise ConnectionFailedError(str(data.get("detail")))
        else:
            return cast(answers.EndEvent, data)
        return None

    def _tell_state(self, data: dict[str, Any]) -> None:
        if data == self.state:  # said again by the server after a reconnection
            return
        self.state = data
        if self.tell is not None:
            self.tell(cast(answers.StateEvent, data))
            return
        words = [str(data.get("state"))]
        if data.get("phase"):
            words.append(str(data["phase"]))
        if data.get("position"):
            words.append(f"position {data['position']}")
        message = f": {data['message']}" if data.get("message") else ""
        self.note(f"{' '.join(words)}{message}")


def _data(event: ServerEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ConnectionFailedError("the server sent an event that is none of ours")
    return data
