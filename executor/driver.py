"""pymesos' executor driver, on a connection of our own, so that no update is lost or doubled.

What pymesos 0.3.15 does and this does not: see `ExecutorDriver`. addict ends in `executor.agent`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

_SIGINT = signal.getsignal(signal.SIGINT)
from pymesos import Executor, MesosExecutorDriver  # noqa: E402

from executor import TOKEN_VARIABLE  # noqa: E402
from executor.connection import Agent, Refused, Subscription  # noqa: E402
from executor.environment import AgentEnvironment  # noqa: E402
from executor.outbox import Outbox  # noqa: E402

if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, _SIGINT)  # pymesos takes it at import

logger = logging.getLogger(__name__)

CALL_TIMEOUT = 10.0
"""Seconds for a call to the agent, which is on the same machine."""

FIRST_BACKOFF = 0.05
"""Seconds until the second attempt to subscribe; then twice as long, up to the environment's."""

STABLE = 2.0
"""Seconds after which a connection was one; an agent that says SHUTDOWN and hangs up is not."""


class Listener(Protocol):
    """What an executor hears beyond pymesos' Executor."""

    def kill(self, task_id: str, grace: float | None) -> None:
        """A KILL, with the seconds of its kill policy."""
        ...

    def framework_message(self, data: bytes) -> None:
        """What the framework sent this executor; it may get lost on its way, or come twice."""
        ...

    def stop_all(self) -> None:
        """A SHUTDOWN, or the agent is gone and there is no checkpointing. Must not block."""
        ...

    def driver_ended(self, why: str) -> None:
        """No event will come any more and no update will leave. Must not block."""
        ...


def now() -> float:
    """Seconds that no change of the clock moves and in which a suspended machine counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ExecutorDriver(MesosExecutorDriver):  # type: ignore[misc]
    """Subscribes to the agent, delivers every status update until it is acknowledged.

    - The path is that of MESOS_SLAVE_PID: several agents may live behind one address.
    - Updates are copied, get their own uuid, and wait in an outbox, which a file of the sandbox
      mirrors; one thread sends them in order, again after every subscription, until the agent has
      acknowledged them.
    - A lost agent is looked for every 0.05 to 0.5 s, for MESOS_RECOVERY_TIMEOUT at most.
    - An exception in a callback is logged; the end of the I/O thread is told to the listener.
    - The authentication token is used, and is no longer in the environment.
    """

    _started: bool
    _wakeup_fds: tuple[int, int] | None

    def __init__(
        self,
        executor: Executor,
        listener: Listener,
        token: str | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """Raises BadEnvironmentError. Without `outbox`, updates are kept in memory only."""
        env = AgentEnvironment.read(os.environ)
        self.listener = listener
        token = token if token is not None else os.environ.pop(TOKEN_VARIABLE, None)
        # pymesos asserts on a duration that it does not know.
        os.environ.pop("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", None)
        super().__init__(executor, use_addict=True)
        self.grace_shutdown_period = env.grace
        self.checkpoint = env.checkpoint
        self.outbox = outbox if outbox is not None else Outbox()
        self._env = env
        self._agent = Agent(env, token)
        self._seen: set[str] = set()
        self._sent: set[str] = set()
        self._work = threading.Condition()
        self._stopped = threading.Event()
        self._subscription: Subscription | None = None
        self._subscribed = False
        self._subscriptions = 0

    # --- the life of the connection -------------------------------------------------------

    def start(self) -> None:
        """Begin; callbacks come in a thread of the driver's."""
        threading.Thread(target=self._deliver, name="outbox", daemon=True).start()
        super().start()

    def stop(self) -> None:
        """End without a word to the agent: what it has to know, updates have told it."""
        self._stopped.set()
        super().stop()
        with self._work:
            self._work.notify_all()
            subscription = self._subscription
        if subscription is not None:
            subscription.interrupt()

    def abort(self) -> None:
        """As `stop`."""
        self.stop()

    @property
    def connected(self) -> bool:
        """Whether the agent has said SUBSCRIBED on the current connection."""
        return self._subscribed

    def _run(self) -> None:
        why = "stopped"
        try:
            why = self._stay_subscribed()
        except Exception as error:
            logger.exception("the driver's thread failed")
            why = f"the driver failed: {error}"
        finally:
            self._stopped.set()
            self._disconnect()
            with self._lock:
                self._started = False
                fds: Sequence[int] = self._wakeup_fds or ()
                self._wakeup_fds = None
            for fd in fds:
                os.close(fd)
            if why != "stopped":
                logger.error("no more contact with the agent: %s", why)
            self.listener.driver_ended(why)

    def _stay_subscribed(self) -> str:
        """Subscribe again and again; returns why that came to an end."""
        backoff, lost, said = FIRST_BACKOFF, now(), ""
        while not self._stopped.is_set():
            began = now()
            try:
                for event in self._events():
                    said = ""
                    self.process_event(event)
                    if self._stopped.is_set():
                        return "stopped"
            except Refused as error:
                return str(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                text = str(error) or type(error).__name__
                # Once, not twice a second for as long as the agent is away.
                logger.log(logging.DEBUG if text == said else logging.INFO, "agent: %s", text)
                said = text
            if self._disconnect():
                # Not since its last event: a build may hear nothing for half an hour.
                lost = now()
                if not self.checkpoint:
                    return "the agent is gone and does not recover executors (no checkpointing)"
            if now() - lost > self._env.recovery_timeout:
                return f"the agent did not come back within {self._env.recovery_timeout:.0f} s"
            if now() - began > STABLE:
                backoff = FIRST_BACKOFF
            self._stopped.wait(backoff * random.uniform(0.7, 1.0))  # noqa: S311
            backoff = min(self._env.max_backoff, backoff * 2)
        return "stopped"

    def _events(self) -> Iterator[dict[str, Any]]:
        subscription = Subscription(self._agent, CALL_TIMEOUT)
        with self._work:
            self._subscription = subscription
        if not self._stopped.is_set():
            with contextlib.closing(subscription.events(self.subscribe_call())) as events:
                yield from events

    def _disconnect(self) -> bool:
        with self._work:
            was, self._subscribed, self._subscription = self._subscribed, False, None
        if was:
            try:
                self.executor.disconnected(self)
            except Exception:
                logger.exception("a callback failed at the loss of the agent")
        return was

    # --- events ---------------------------------------------------------------------------

    def process_event(self, event: dict[str, Any]) -> None:
        """Hand one event on. A defect in a callback costs this event, not the connection."""
        try:
            self.on_event(event)
        except Exception:
            logger.exception("a callback failed at the event %s", event.get("type"))

    def on_subscribed(self, info: Mapping[str, Any]) -> None:
        """The agent knows us; everything in the outbox is sent (again)."""
        with self._work:
            self._subscribed = True
            self._subscriptions += 1
            self._sent.clear()
            self._work.notify_all()
        super().on_subscribed(info)

    def on_launch(self, event: Mapping[str, Any]) -> None:
        """A task, unless it is known: an agent may say LAUNCH twice."""
        task_id = event["task"]["task_id"]["value"]
        if task_id in self._seen:
            logger.warning("ignored a second LAUNCH of %s", task_id)
            return
        self._seen.add(task_id)
        self.outbox.launched(task_id)
        super().on_launch(event)

    def on_launch_group(self, event: Mapping[str, Any]) -> None:
        """Task groups are for the default executor; here they are single tasks."""
        for task in event["task_group"]["tasks"]:
            self.on_launch({"task": task})

    def on_kill(self, event: Mapping[str, Any]) -> None:
        """KILL with its kill policy, which pymesos drops."""
        period = event.get("kill_policy", {}).get("grace_period", {}).get("nanoseconds")
        grace = None if period is None else period / 1e9
        self.listener.kill(event["task_id"]["value"], grace)

    def on_acknowledged(self, event: Mapping[str, Any]) -> None:
        """An update has reached the agent's disk, and so has the fact that its task exists."""
        identity = str(uuid.UUID(bytes=base64.b64decode(event["uuid"])))
        self.outbox.acknowledged(identity)
        with self._work:
            self._sent.discard(identity)
            self.tasks.pop(event["task_id"]["value"], None)
            self._work.notify_all()

    def on_shutdown(self) -> None:
        """SHUTDOWN: the builds end first, their updates leave, then the executor does."""
        self.listener.stop_all()

    def on_message(self, event: Mapping[str, Any]) -> None:
        """MESSAGE, whose data pymesos leaves in base64."""
        self.listener.framework_message(base64.b64decode(event["data"]))

    # --- calls ----------------------------------------------------------------------------

    def subscribe_call(self) -> dict[str, Any]:
        """SUBSCRIBE with what the agent may not know."""
        with self._work:
            tasks = list(self.tasks.values())
        updates = [{"status": status} for status in self.outbox.statuses()]
        body = {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}
        return {**self._identity("SUBSCRIBE"), "subscribe": body}

    def sendStatusUpdate(self, status: Mapping[str, Any]) -> None:  # noqa: N802  (pymesos' name)
        """Take over a TaskStatus; it is delivered as soon and as often as needed.

        Never blocks on the network, never raises for want of an agent.
        """
        self.outbox.add({"timestamp": time.time(), **status})
        with self._work:
            self._work.notify_all()

    def sendFrameworkMessage(self, data: bytes) -> None:  # noqa: N802  (pymesos' name)
        """Send bytes to the framework. Best effort: an agent that took them may still lose them.

        Raises OSError, http.client.HTTPException or Refused when they were not taken, within about
        CALL_TIMEOUT.
        """
        message = {"data": base64.b64encode(data).decode()}
        self._send({**self._identity("MESSAGE"), "message": message})

    def wait_drained(self, seconds: float) -> bool:
        """Wait until every update is acknowledged; False if one is left after `seconds`."""
        with self._work:
            return (
                self._work.wait_for(lambda: not self.outbox or self._stopped.is_set(), seconds)
                and not self.outbox
            )

    def _deliver(self) -> None:
        """The outbox' thread: one update after the other, in the order they were made."""
        backoff = 0.05
        while not self._stopped.is_set():
            with self._work:
                pending = self.outbox.first(self._sent) if self._subscribed else None
                subscription = self._subscriptions
                if pending is None:
                    if not self._stopped.is_set():
                        self._work.wait()
                    continue
            identity, status = pending
            try:
                self._send({**self._identity("UPDATE"), "update": {"status": status}})
                with self._work:
                    if subscription == self._subscriptions:
                        self._sent.add(identity)
                backoff = 0.05
            except (OSError, http.client.HTTPException, Refused) as error:
                logger.warning("an update was not taken: %s", str(error) or type(error).__name__)
                self._stopped.wait(backoff)
                backoff = min(1.0, backoff * 2)

    def _identity(self, kind: str) -> dict[str, Any]:
        return {"type": kind, "executor_id": self.executor_id, "framework_id": self.framework_id}

    def _send(self, body: Mapping[str, Any], *_: object, **__: object) -> dict[str, Any]:
        """POST a call on a connection of its own. Raises unless the agent accepted it."""
        self._agent.call(body, CALL_TIMEOUT)
        return {}
