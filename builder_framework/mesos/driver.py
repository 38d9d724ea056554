"""pymesos' scheduler driver with its dangerous edges fenced.

What stock pymesos 0.3.15 does and this class does not: send TEARDOWN when its thread ends; die of
an exception in a callback; re-subscribe thousands of times per second against a master that says
503; hold its lock, with a time-out of 24 h, during calls; drop calls silently when disconnected;
kill and reconcile without agent ids; ask for GPU agents; miss a half-open stream for ever.
"""

from __future__ import annotations

import base64
import logging
import random
import signal
import threading
import time
import types
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any, Protocol

_sigint = signal.getsignal(signal.SIGINT)
import pymesos.process  # noqa: E402
from pymesos import MesosSchedulerDriver  # noqa: E402

from builder_framework import codec, failpoints  # noqa: E402
from builder_framework.errors import CallError, NotSubscribedError  # noqa: E402

# pymesos takes SIGINT's handler at import, adds a second log handler, and interrupts the main
# thread when its own ends. All three are the application's business: `failure` tells.
signal.signal(signal.SIGINT, _sigint)
logging.getLogger("pymesos").handlers.clear()
# Its warnings tell of waits that this driver replaces by its own.
logging.getLogger("pymesos").setLevel(logging.ERROR)
pymesos.process.thread = types.SimpleNamespace(interrupt_main=lambda: None)

log = logging.getLogger(__name__)

CALL_TIMEOUT = 10.0
_SCHEDULER_PATH = "/api/v1/scheduler"
_FIRST_BACKOFF = 0.25
_LONGEST_BACKOFF = 15.0
# Mesos' default (master/constants.hpp, DEFAULT_HEARTBEAT_INTERVAL); SUBSCRIBED tells the real one.
_HEARTBEAT_INTERVAL = 15.0
_MISSED_HEARTBEATS = 5
_SUBSCRIBE_TIMEOUT = 30.0


class Listener(Protocol):
    """Whoever hears from the driver: pymesos' Scheduler callbacks, and this one."""

    def broken(self, message: str) -> None:
        """The driver can never subscribe again without somebody's help."""
        ...


class SchedulerDriver(MesosSchedulerDriver):  # type: ignore[misc]
    """Subscribes, keeps subscribed, and sends calls that either arrive or raise."""

    def __init__(
        self,
        scheduler: Listener,
        framework: Mapping[str, Any],
        master: str,
        *,
        framework_id: str | None = None,
        principal: str | None = None,
        secret: str | None = None,
    ) -> None:
        info = dict(framework)
        if framework_id is not None:
            info["id"] = {"value": framework_id}
        # pymesos counts its connect deadline from here; the process watchdog replaces it.
        forever = 10**9
        super().__init__(
            scheduler,
            info,
            master,
            use_addict=True,
            implicit_acknowledgements=False,
            principal=principal,
            secret=secret,
            failover=True,
            timeout=forever,
        )
        self.failure: str | None = None
        self._failures = 0
        self._heartbeat_interval = _HEARTBEAT_INTERVAL
        self._last_event = time.monotonic()
        self._stopping = threading.Event()

    # -- health --------------------------------------------------------------------------------

    @property
    def subscribed(self) -> bool:
        """Whether events are coming in: subscribed, and not silent for too long."""
        return bool(self.connected) and not self.silent

    @property
    def silent(self) -> bool:
        """Whether the stream missed its heartbeats, or no subscription came about in time."""
        limit = _SUBSCRIBE_TIMEOUT
        if self.connected:
            limit = self._heartbeat_interval * _MISSED_HEARTBEATS + 5.0
        return time.monotonic() - self._last_event > limit

    def reconnect(self) -> None:
        """Drop a connection that looks alive but is not, and subscribe anew."""
        master = self.master
        if master is None:
            return
        self._last_event = time.monotonic()
        self.change_master(None)
        deadline = time.monotonic() + 5.0
        while self.master is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        self.change_master(master)

    def stop(self, failover: bool = True) -> None:  # noqa: ARG002 (never a teardown)
        """End the connection; the master keeps our tasks for the failover timeout."""
        self._stopping.set()
        super().stop(failover=True)

    # -- pymesos' inner life, where it is unsafe -----------------------------------------------

    @property
    def framework(self) -> dict[str, Any]:
        # The base class adds GPU_RESOURCES and a failover timeout of 100 s.
        return dict(self._framework)

    def _get_version(self, _master: str | None) -> None:
        # A blocking request on the I/O thread, for nothing we need.
        return None

    def _shutdown(self) -> None:
        # The base class tears the framework down here, killing every build.
        return None

    def change_master(self, master: str | None) -> None:
        # Not the scheduler driver's: that one asks for the version and closes its connection.
        pymesos.process.Process.change_master(self, master)

    def process_event(self, event: Mapping[str, Any]) -> None:
        self._last_event = time.monotonic()
        try:
            super().process_event(event)
        except Exception:
            # The event counts as not received: updates stay unacknowledged and come again.
            log.exception("event %s was not processed", event.get("type"))

    def on_subscribed(self, info: Mapping[str, Any]) -> None:
        self._failures = 0
        self._heartbeat_interval = float(
            info.get("heartbeat_interval_seconds", _HEARTBEAT_INTERVAL)
        )
        super().on_subscribed(info)

    def on_error(self, event: Mapping[str, Any]) -> None:
        self.failure = str(event.get("message", "the master sent an error without a message"))
        log.error("the master ended our subscription: %s", self.failure)
        self.stop()
        self.sched.broken(self.failure)

    def on_close(self) -> None:
        # The base class clears it only after this returns: calls would go to a dead stream.
        self._stream_id = None
        self.sched.disconnected(self)
        if self._new_master != self._master or self._stopping.is_set():
            return
        limit = min(_FIRST_BACKOFF * 2.0 ** min(self._failures, 10), _LONGEST_BACKOFF)
        self._failures += 1
        # Jitter keeps several frameworks from knocking in step.
        wait = random.uniform(limit / 2, limit)  # noqa: S311
        log.warning("not subscribed to %s; next try in %.1f s", self._master, wait)
        self._stopping.wait(wait)

    def _backoff(self, _retries: int) -> float:
        # on_close has waited already.
        return 0.0

    # -- calls ---------------------------------------------------------------------------------

    def _send(self, body: Any, path: str = _SCHEDULER_PATH, *_: Any, **__: Any) -> dict[str, Any]:
        """POST one call on a connection of its own.

        Raises NotSubscribedError when it was certainly not sent, CallError when nobody knows.
        The messages never hold the call: it may carry secrets.
        """
        stream_id, master = self.stream_id, self.master
        kind = body.get("type", "call")
        if stream_id is None or master is None:
            raise NotSubscribedError(f"{kind} was not sent: not subscribed to a master")
        headers = {"Content-Type": "application/json", "Mesos-Stream-Id": stream_id}
        if self._basic_credential:
            headers["Authorization"] = self._basic_credential
        host, _, port = master.rpartition(":")
        connection = HTTPConnection(host.strip("[]"), int(port), timeout=CALL_TIMEOUT)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise NotSubscribedError(f"{kind} was not sent: {error}") from error
            try:
                connection.request("POST", path, body=codec.encode(body), headers=headers)
                failpoints.reach("T6.after", when=kind == "ACCEPT")
                response = connection.getresponse()
                failpoints.reach("T7.before", when=kind == "ACCEPT")
                answer = response.read(4096).decode("utf-8", "replace")
            except (OSError, HTTPException) as error:
                raise CallError(f"{kind} got no answer: {error!r}") from error
        finally:
            connection.close()
        if response.status != 202:
            raise CallError(f"{kind} was refused with {response.status}: {answer[:200]}")
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
