"""One subscription: a POST whose endless answer is a stream of events (RecordIO)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from builder_framework.addresses import Address
from builder_framework.mesos.connection import Connection
from builder_framework.mesos.masters import redirection
from builder_framework.recordio import RecordReader

SCHEDULER_PATH = "/api/v1/scheduler"

SUBSCRIBE_TIMEOUT = 15.0
"""Seconds for the answer to SUBSCRIBE, and again for the first event."""

_READ = 64 * 1024
_EXCERPT = 300


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """The master has answered SUBSCRIBE with something else than a stream."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"it answers {status} to SUBSCRIBE: {text}")
        self.status = status


class Redirected(Exception):  # noqa: N818  (an answer, not a fault)
    """Another master leads: `to`, where it was named."""

    def __init__(self, to: Address | None) -> None:
        super().__init__(f"it does not lead, {to or 'and names nobody who'} does")
        self.to = to


class Subscription:
    """Raises OSError or http.client.HTTPException when the connection fails, in whatever way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.patience = SUBSCRIBE_TIMEOUT
        self.stream_id = ""

    def events(self, call: bytes, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Send `call` (SUBSCRIBE) and yield events until the stream ends.

        No event for `patience` seconds ends it too. Raises Refused, Redirected, and ValueError when
        what comes is no stream of events.
        """
        connection = self._connection
        connection.open()
        connection.request("POST", SCHEDULER_PATH, headers, call, SUBSCRIBE_TIMEOUT)
        response = connection.answer()
        if response.status == HTTPStatus.TEMPORARY_REDIRECT:
            raise Redirected(redirection(response.getheader("Location")))
        if response.status != HTTPStatus.OK:
            text = response.read(_EXCERPT).decode("utf-8", "replace").strip()
            raise Refused(response.status, text or response.reason)
        self.stream_id = response.getheader("Mesos-Stream-Id") or ""
        if not self.stream_id:
            raise ValueError("what answers there is no Mesos master (no Mesos-Stream-Id)")
        reader = RecordReader()
        connection.expect_within(self.patience)
        while data := response.read1(_READ):
            for record in reader.feed(data):
                yield _event(record)
                connection.expect_within(self.patience)
        raise ConnectionError("the master closed the stream")


def _event(record: bytes) -> dict[str, Any]:
    """Text that is not UTF-8 (a task's message may be anything) must not cost the event."""
    try:
        event = json.loads(record.decode("utf-8", "replace"), strict=False)
    except RecursionError:
        raise ValueError("an event is nested too deeply") from None
    if not isinstance(event, dict):
        raise ValueError("a record is no event")  # noqa: TRY004  (of the stream, not of ours)
    return event
