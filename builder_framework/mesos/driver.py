"""pymesos' scheduler driver with its dangerous edges fenced, on an I/O loop of our own.

What stock pymesos 0.3.15 does and this class does not is listed in docs/pymesos.md, with the test
of each.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import ssl
import threading
import time
import types
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Protocol

_sigint = signal.getsignal(signal.SIGINT)
import pymesos.process  # noqa: E402
from pymesos import MesosSchedulerDriver  # noqa: E402

from builder_framework import addresses, codec  # noqa: E402
from builder_framework.addresses import Address, ZooKeeperAddress  # noqa: E402
from builder_framework.errors import BuilderError  # noqa: E402
from builder_framework.mesos import masters  # noqa: E402
from builder_framework.mesos.calls import Calls, Session, basic  # noqa: E402
from builder_framework.mesos.connection import Connection  # noqa: E402
from builder_framework.mesos.detector import MasterDetector  # noqa: E402
from builder_framework.mesos.masters import Masters  # noqa: E402
from builder_framework.mesos.stream import Redirected, Refused, Subscription  # noqa: E402

# pymesos takes SIGINT's handler at import, adds a second log handler, and interrupts the main
# thread when its own ends. All three are the application's business: `failure` tells.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, _sigint)
logging.getLogger("pymesos").handlers.clear()
pymesos.process.thread = types.SimpleNamespace(interrupt_main=lambda: None)

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 15.0
"""Mesos' default (master/constants.hpp); SUBSCRIBED tells the real one."""

MISSED_HEARTBEATS = 5
HEARTBEAT_GRACE = 5.0

NOT_ALLOWED_BACKOFF = 60.0
"""Seconds between tries with credentials that the master does not take: somebody has to act."""

STABLE = 10.0
"""Seconds after which a subscription was one; ended earlier, it counts as a failure."""

# After SUBSCRIBED, which has to be the first.
_EVENTS = frozenset(
    {
        "OFFERS",
        "INVERSE_OFFERS",
        "RESCIND",
        "RESCIND_INVERSE_OFFER",
        "UPDATE",
        "MESSAGE",
        "FAILURE",
        "ERROR",
        "HEARTBEAT",
    }
)


class Listener(Protocol):
    """Whoever hears from the driver: pymesos' Scheduler callbacks, and this one."""

    def broken(self, message: str) -> None:
        """The driver can never subscribe again without somebody's help."""
        ...


class SchedulerDriver(Calls, MesosSchedulerDriver):  # type: ignore[misc]
    """Subscribes, keeps subscribed, and sends calls that either arrive or raise.

    It runs on greenlets (the application patches for gevent) as well as on threads. `aborted` turns
    True when its thread has ended, for whatever reason; `failure` says so where somebody must help.
    `subscriptions`: how many there were.
    """

    detector: MasterDetector | None
    framework_id: str | None
    _master: str | None
    _started: bool

    def __init__(
        self,
        scheduler: Listener,
        framework: Mapping[str, Any],
        master: str,
        *,
        framework_id: str | None = None,
        principal: str | None = None,
        secret: str | None = None,
        tls: ssl.SSLContext | None = None,
        may_subscribe: Callable[[], None] | None = None,
    ) -> None:
        """`master`: see `addresses.parse`. `tls`: for the master; None speaks plain HTTP.

        `may_subscribe` is asked before every SUBSCRIBE; a BuilderError that is not recoverable ends
        the driver, a recoverable one has it asked again later.
        """
        info = dict(framework)
        if framework_id is not None:
            info["id"] = {"value": framework_id}
        # Credentials are ours: pymesos takes ASCII only.
        super().__init__(
            scheduler, info, master, use_addict=True, implicit_acknowledgements=False, failover=True
        )
        self.failure: str | None = None
        self._authorization = basic(principal, secret)
        self._tls = tls
        self._may_subscribe = may_subscribe
        source = addresses.parse(master)
        self._source = source if isinstance(source, ZooKeeperAddress) else None
        self._masters = Masters(() if isinstance(source, ZooKeeperAddress) else source)
        self._subscription: Connection | None = None
        self._session = None
        self._patience = 0.0
        self._last_event = 0.0
        self._subscribed_at = 0.0
        self._failures = 0
        self.subscriptions = 0
        self._stopping = threading.Event()
        self._woken = threading.Event()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; callbacks come on a thread of the driver's."""
        with self._lock:
            if self._started:
                return
            self._started = True
        if self._source is not None:
            self.detector = MasterDetector(
                self._source, self._masters_leader, by_name=self._tls is not None
            )
            self.detector.start()
        self._io_thread = threading.Thread(target=self._run, name="mesos-driver", daemon=True)
        self._io_thread.start()

    def stop(self, failover: bool = True) -> None:  # noqa: ARG002 (never a teardown)
        """End the connection at once; the master keeps our tasks for the failover timeout."""
        self._stopping.set()
        with self._lock:
            self._started = False
            detector, self.detector = self.detector, None
        self._wake()
        if detector is not None:
            detector.stop()

    def abort(self) -> None:
        """As `stop`."""
        self.stop()

    def change_master(self, master: str | None) -> None:
        """`host:port` leads from now on, even if it did before; None: nobody is known."""
        self._masters_leader(Address.parse(master) if master is not None else None)

    def _masters_leader(self, leader: Address | None) -> None:
        self._masters.leads(leader)
        self._wake()

    def _wake(self) -> None:
        """End whatever the loop waits for: an answer, the next event, the next try."""
        self._woken.set()
        with self._lock:
            subscription = self._subscription
        if subscription is not None:
            subscription.interrupt()

    # -- health --------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str | None:
        """The current subscription's; None without one."""
        session = self._session
        return session.stream_id if session is not None else None

    @property
    def subscribed(self) -> bool:
        """Whether events are coming in: subscribed, and not silent for too long."""
        return bool(self.connected) and time.monotonic() - self._last_event <= self._patience

    @property
    def silence(self) -> float | None:
        """Seconds since the last event of any subscription; None before the first."""
        return time.monotonic() - self._last_event if self.subscriptions else None

    @property
    def framework(self) -> dict[str, Any]:
        """As it was given: the base class adds GPU_RESOURCES and 100 s of failover."""
        return dict(self._framework)

    # -- the loop ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception:
            # The watchdog sees `aborted` and ends the process.
            log.exception("the driver's thread failed")
        finally:
            self._disconnect()
            with self._lock:
                self._started = False

    def _turn(self) -> bool:
        """One try to subscribe, the subscription, and the wait after it; False at the end."""
        self._woken.clear()
        if self._stopping.is_set():
            return False
        master = self._masters.next()
        if master is None:
            log.info("waiting until a leading master is known")
            self._woken.wait()
            return True
        wait = self._attempt(master)
        if wait > 0:
            self._woken.wait(wait)
        return True

    def _attempt(self, master: Address) -> float:
        """One subscription from beginning to end; the seconds to wait before the next."""
        longer = 0.0
        why = "told to subscribe anew"
        try:
            if self._may_subscribe is not None:
                self._may_subscribe()
            self._subscribe(master)
        except BuilderError as error:
            if not error.recoverable:
                self._give_up(error.message)
                return 0.0
            why = error.message
        except Redirected as answer:
            why = str(answer)
            if self._masters.redirected(answer.to):
                log.info("%s: %s", master, why)
                return 0.0
        except Refused as answer:
            why = str(answer)
            longer = self._refused(master, answer)
        except (OSError, HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            if self._session is None and not self._woken.is_set():
                self._masters.failed()
        self._failures = 1 if self._disconnect() else self._failures + 1
        if self._woken.is_set():
            return 0.0
        wait = longer or masters.backoff(self._failures)
        log.warning("not subscribed to %s: %s; next try in %.1f s", master, why, wait)
        return wait

    def _refused(self, master: Address, answer: Refused) -> float:
        """Seconds to wait at least. Whatever the answer, it may be another one later."""
        self._masters.failed()
        if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
            log.error("the master %s does not take us: %s", master, str(answer))
        denied = answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        return NOT_ALLOWED_BACKOFF if denied else 0.0

    def _subscribe(self, master: Address) -> None:
        """Returns when woken; raises when the subscription could not be had, or has ended."""
        with contextlib.closing(Connection(master, self._tls)) as connection:
            self._master = str(master)
            with self._lock:
                self._subscription = connection
            try:
                if not self._woken.is_set():
                    self._listen(master, connection)
            finally:
                with self._lock:
                    self._subscription = None

    def _listen(self, master: Address, connection: Connection) -> None:
        subscription = Subscription(connection)
        for event in subscription.events(self._subscribe_call(), self._headers()):
            if self._session is None and event.get("type") == "SUBSCRIBED":
                self._begin(event, Session(connection.peer, master.host, subscription.stream_id))
                subscription.patience = self._patience
            else:
                self.process_event(event)
            if self._stopping.is_set():
                return

    def _subscribe_call(self) -> bytes:
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": self.framework}}
        if self.framework_id is not None:
            call["framework_id"] = self._framework["id"]
        return codec.encode(call)

    def _begin(self, event: Mapping[str, Any], session: Session) -> None:
        """SUBSCRIBED. Without its framework id, or with nobody told, there is no subscription."""
        try:
            info = event["subscribed"]
            identity = str(info["framework_id"]["value"])
            interval = float(info.get("heartbeat_interval_seconds", HEARTBEAT_INTERVAL))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("it says SUBSCRIBED without a framework id") from None
        known, self.framework_id = self.framework_id is not None, identity
        self._patience = interval * MISSED_HEARTBEATS + HEARTBEAT_GRACE
        self._last_event = self._subscribed_at = time.monotonic()
        self._session = session
        self.subscriptions += 1
        self._masters.subscribed()
        master = self._dict_cls(hostname=session.name, port=session.peer.port)
        try:
            if known:
                self.sched.reregistered(self, master)
            else:
                self.sched.registered(self, self._dict_cls(value=identity), master)
        except Exception:
            log.exception("the callback for the subscription failed")
            raise ConnectionError("nobody here knows that we are subscribed") from None

    def _disconnect(self) -> bool:
        """Calls fail from now on; whether there was a subscription that lasted."""
        session, self._session = self._session, None
        if session is None:
            return False
        try:
            self.sched.disconnected(self)
        except Exception:
            log.exception("the callback for the end of a subscription failed")
        return time.monotonic() - self._subscribed_at > STABLE

    def _give_up(self, why: str) -> None:
        """For good: what comes next is decided by whoever started this process."""
        self.failure = why
        log.error("the driver ends: %s", why)
        self.stop()
        self.sched.broken(why)

    # -- events --------------------------------------------------------------------------------

    def process_event(self, event: Mapping[str, Any]) -> None:
        """Hand one event on. What Mesos adds in the future is ignored."""
        self._last_event = time.monotonic()
        kind = event.get("type")
        if kind not in _EVENTS:
            log.debug("event %s is ignored", kind)
            return
        try:
            super().process_event(event)
        except Exception:
            # The event counts as not received: updates stay unacknowledged and come again.
            log.exception("event %s was not processed", kind)

    def on_error(self, event: Mapping[str, Any]) -> None:
        """Our id is dead, or another scheduler has it: subscribing again helps nobody."""
        self._give_up(str(event.get("message", "the master sent an error without a message")))

    def on_failure(self, failure: Mapping[str, Any]) -> None:
        """An agent or an executor is lost; each field is optional, unlike in the base class."""
        agent_id = self._dict_cls(failure.get("agent_id", {}))
        if "executor_id" in failure:
            executor_id = self._dict_cls(failure["executor_id"])
            self.sched.executorLost(self, executor_id, agent_id, failure.get("status"))
        else:
            self.sched.slaveLost(self, agent_id)
