"""The scheduler's calls that we use, in the words of Mesos' v1 API."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from builder_framework import codec, failpoints
from builder_framework.addresses import Address
from builder_framework.errors import CallError, NotSubscribedError
from builder_framework.mesos.connection import Connection
from builder_framework.mesos.stream import SCHEDULER_PATH

CALL_TIMEOUT = 10.0
"""Seconds for the answer to a call."""

_EXCERPT = 200


def basic(principal: str | None, secret: str | None) -> str | None:
    """The Authorization header of basic auth, in UTF-8; None without credentials."""
    if principal is None or secret is None:
        return None
    return "Basic " + base64.b64encode(f"{principal}:{secret}".encode()).decode()


@dataclass(frozen=True)
class Session:
    """Where calls go: to the very process that the stream comes from, under its stream's id."""

    peer: Address
    name: str
    stream_id: str


class Calls:
    """Each raises NotSubscribedError when certainly not sent, CallError when nobody knows."""

    framework_id: str | None
    _session: Session | None
    _tls: ssl.SSLContext | None
    _authorization: str | None

    def _headers(self, **more: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **more}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        return headers

    def _send(self, body: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """POST one call on a connection of its own, holding no lock.

        Raises NotSubscribedError when it was certainly not sent, CallError when nobody knows.
        The messages never hold the call: it may carry secrets.
        """
        session = self._session
        kind = body.get("type", "call")
        if session is None:
            raise NotSubscribedError(f"{kind} was not sent: not subscribed to a master")
        headers = self._headers(**{"Mesos-Stream-Id": session.stream_id})
        connection = Connection(session.peer, self._tls, name=session.name)
        with contextlib.closing(connection):
            try:
                connection.open()
            except OSError as error:
                raise NotSubscribedError(f"{kind} was not sent: {error}") from error
            try:
                data = codec.encode(body)
                connection.request("POST", SCHEDULER_PATH, headers, data, CALL_TIMEOUT)
                failpoints.reach("T6.after", when=kind == "ACCEPT")
                response = connection.answer()
                failpoints.reach("T7.before", when=kind == "ACCEPT")
                answer = response.read(_EXCERPT).decode("utf-8", "replace").strip()
            except (OSError, HTTPException) as error:
                raise CallError(f"{kind} got no answer: {error!r}") from error
        if response.status != HTTPStatus.ACCEPTED:
            raise CallError(f"{kind} was refused with {response.status}: {answer}")
        return {}

    def _call(self, kind: str, **content: Any) -> None:
        if self.framework_id is None:
            raise NotSubscribedError(f"{kind} was not sent: not registered yet")
        self._send({"type": kind, "framework_id": {"value": self.framework_id}, **content})

    def accept(
        self, offer_ids: Sequence[str], tasks: Sequence[Mapping[str, Any]], refuse_seconds: float
    ) -> None:
        """Launch `tasks` (TaskInfos) on the agent of these offers."""
        operation = {"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}
        self._call(
            "ACCEPT",
            accept={
                "offer_ids": [{"value": offer_id} for offer_id in offer_ids],
                "operations": [operation],
                "filters": {"refuse_seconds": refuse_seconds},
            },
        )

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        """Give offers back for at least `refuse_seconds`."""
        self._call(
            "DECLINE",
            decline={
                "offer_ids": [{"value": offer_id} for offer_id in offer_ids],
                "filters": {"refuse_seconds": refuse_seconds},
            },
        )

    def revive(self) -> None:
        """Remove every filter and take part in allocation again."""
        self._call("REVIVE")

    def suppress(self) -> None:
        """Take no part in allocation until `revive`."""
        self._call("SUPPRESS")

    def kill(self, task_id: str, agent_id: str | None, grace_period: float) -> None:
        """With the agent's id: after a master failover the master may not know the task yet."""
        kill: dict[str, Any] = {
            "task_id": {"value": task_id},
            "kill_policy": {"grace_period": {"nanoseconds": int(grace_period * 1e9)}},
        }
        if agent_id:
            kill["agent_id"] = {"value": agent_id}
        self._call("KILL", kill=kill)

    def shutdown_executor(self, executor_id: str, agent_id: str) -> None:
        """Have the agent destroy an executor with all its tasks."""
        self._call(
            "SHUTDOWN",
            shutdown={"executor_id": {"value": executor_id}, "agent_id": {"value": agent_id}},
        )

    def message(self, executor_id: str, agent_id: str, data: bytes) -> None:
        """Say something to an executor; nobody promises that it arrives."""
        self._call(
            "MESSAGE",
            message={
                "agent_id": {"value": agent_id},
                "executor_id": {"value": executor_id},
                "data": base64.b64encode(data).decode(),
            },
        )

    def acknowledge(self, acknowledgement: Mapping[str, Any]) -> None:
        """`acknowledgement` holds agent_id, task_id and uuid."""
        self._call("ACKNOWLEDGE", acknowledge=dict(acknowledgement))

    def reconcile(self, tasks: Sequence[tuple[str, str]]) -> None:
        """(task id, agent id)s, or nothing for all.

        Without an agent id the master says nothing as long as any agent is still to re-register.
        """
        self._call(
            "RECONCILE",
            reconcile={
                "tasks": [
                    {"task_id": {"value": task}, "agent_id": {"value": agent}}
                    for task, agent in tasks
                ]
            },
        )
