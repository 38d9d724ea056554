"""The serial loop: everything that happens to builds goes through here, in one order.

A turn takes all inputs that are there, applies them to copies, stores the result in one
transaction, and only then answers callers, acknowledges updates and carries out effects.
When the store does not take it, nothing happened: callers get an error, updates stay
unacknowledged and come again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from builder_framework import cluster as cl
from builder_framework import failpoints
from builder_framework.domain import effects as fx
from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.model import Build, parse_task_id
from builder_framework.domain.notices import Announce, no_notices
from builder_framework.errors import (
    BuilderError,
    InvalidValueError,
    LeadershipLostError,
    NotFoundError,
    SealError,
    StaleWriteError,
    StoreUnavailableError,
)
from builder_framework.instruments import Instruments
from builder_framework.mesos import status
from builder_framework.mesos.reconcile import Reconciliation
from builder_framework.ports import AgentView
from builder_framework.protocol import decode_lease_request
from builder_framework.service.acceptance import Acceptance
from builder_framework.service.attendance import Attendance
from builder_framework.service.batch import Batch
from builder_framework.service.desk import OfferDesk
from builder_framework.service.dispatch import Dispatcher
from builder_framework.service.effects import Effects
from builder_framework.service.inputs import (
    Accepted,
    Attended,
    Cancel,
    Happened,
    Input,
    LaunchUnsure,
    OwnInput,
    Submit,
)
from builder_framework.service.outage import OutageLog
from builder_framework.service.policy import LoopPolicy
from builder_framework.service.story import tell
from builder_framework.store.base import Store

log = logging.getLogger(__name__)

_TICK = 0.25
_MAX_BATCH = 500
_RETRY_SUBSCRIBED = 1.0


@dataclass(frozen=True)
class Hooks:
    """What the loop sets in motion elsewhere."""

    changed: Callable[[str], None]
    follow_log: Callable[[str], None]
    fetch_result: Callable[[str, Build], None]
    fatal: Callable[[str], None]
    announce: Announce = no_notices
    instruments: Instruments = field(default_factory=Instruments)


class Loop:
    """Owner of every build that is not over. Its methods run on its own thread, except `post`."""

    def __init__(
        self,
        store: Store,
        cluster: cl.Cluster,
        dispatcher: Dispatcher,
        policy: LoopPolicy,
        hooks: Hooks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._policy = policy
        self._hooks = hooks
        self._clock = clock
        self._inbox: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._outage = OutageLog("changes of builds")
        self._reconciliation = Reconciliation()
        self._desk = OfferDesk(cluster, dispatcher, policy, self.post, hooks.instruments)
        self._effects = Effects(cluster, dispatcher, hooks.follow_log)
        self.active = self._desk.active
        self.board = self._desk.board
        self._attendance = Attendance(clock())
        self._acceptance = Acceptance(
            self.active, self._attendance, policy.dedupe_window, self._desk.wish
        )
        self.subscribed = False
        self.framework_id: str | None = None

    # -- from other threads --------------------------------------------------------------------

    def start(self, unfinished: list[Build], ended: Iterable[Build] = ()) -> None:
        """Take over the builds that are not over and begin. `ended`: the newest last."""
        known = list(ended)
        self._desk.warmth.recall(known)
        for build in unfinished:
            self.active.put(build, self._clock())
        self._desk.executors.recall([*known, *unfinished], self._clock())
        self._thread.start()

    def stop(self) -> None:
        """Finish the turn at hand and end."""
        self._inbox.put(None)
        self._thread.join(timeout=15)

    @property
    def alive(self) -> bool:
        """Whether inputs are being taken."""
        return self._thread.is_alive()

    def executors(self) -> tuple[int, int]:
        """How many executors that live on have builds now, and how many wait for some."""
        return self._desk.executors.count()

    @property
    def waiting(self) -> int:
        """Inputs that were handed in and are still to be taken."""
        return self._inbox.qsize()

    def post(self, item: Input) -> None:
        """Hand in an input; never blocks."""
        self._inbox.put(item)

    def agents(self) -> tuple[AgentView, ...]:
        """What is known of agents."""
        return self._desk.agents(list(self.active.on_agent().values()), self._clock())

    # -- the loop ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                items = self._take()
                if None in items:
                    return
                self._timed_turn([item for item in items if item is not None])
        except Exception as error:
            log.exception("the loop ends")
            self._hooks.fatal(f"the loop ended: {error}")

    def _take(self) -> list[Input | None]:
        try:
            items = [self._inbox.get(timeout=0.0 if self._desk.busy else _TICK)]
        except queue.Empty:
            return []
        while len(items) < _MAX_BATCH and not self._inbox.empty():
            items.append(self._inbox.get())
        return items

    def _timed_turn(self, items: list[Input]) -> None:
        began = time.monotonic()
        self._turn(items)
        if items:
            self._hooks.instruments.turns.observe(time.monotonic() - began)

    def _turn(self, items: list[Input]) -> None:
        """Take in what came, then place what waits then on what is offered: two transactions, so
        that a decision looks at what is true already.
        """
        batch = self._batch()
        for item in items:
            self._handle(item, batch)
        self._fire_timers(batch)
        self._attendance.end_forsaken(batch)
        if self._store_and_commit(batch, items):
            self._desk.look_after(batch.now)
            if self._desk.busy:
                placements = self._batch()
                self._desk.place(placements, self.framework_id)
                self._store_and_commit(placements, [])
        if self.subscribed:
            self._desk.steer(batch.now)
            for tasks in self._reconciliation.due(batch.now):
                failpoints.reach("T19.before", when=bool(tasks))
                self._dispatcher.call(partial(self._cluster.reconcile, tasks))

    def _batch(self) -> Batch:
        announce = self._hooks.announce
        return Batch(self.active, self._store, self._clock(), self._policy.machine, announce)

    def _store_and_commit(self, batch: Batch, items: list[Input]) -> bool:
        """Whether it is true now."""
        try:
            batch.store()
        except StoreUnavailableError as error:
            self._outage.met(error)
            self._give_up(batch, items, error)
            return False
        except (StaleWriteError, LeadershipLostError) as error:
            # Somebody else writes to our builds: there must be only one of us.
            self._give_up(batch, items, error)
            self._hooks.fatal(str(error))
            return False
        if batch.changes_anything:
            self._outage.over()
        self._commit(batch)
        return True

    def _handle(self, item: Input, batch: Batch) -> None:
        """One faulty input must not take the others with it."""
        try:
            if isinstance(item, cl.ClusterInput):
                self._hear(item, batch)
            else:
                self._do(item, batch)
        except BuilderError as error:
            self._refuse(item, error)
            if isinstance(item, Accepted) and isinstance(error, SealError):
                # A follower has a key that this process lacks: the build stays for one that has it.
                self._hooks.fatal(error.message)
        except Exception:
            log.exception("%s was not taken in", type(item).__name__)
            self._refuse(item, BuilderError("an unexpected error; the log tells more"))

    def _do(self, item: OwnInput, batch: Batch) -> None:
        match item:
            case Submit():
                self._acceptance.submit(item, batch)
            case Cancel():
                self._acceptance.cancel(item, batch)
            case Happened():
                build = batch.step(item.build_id, item.event)
                if item.reply is not None:
                    batch.replies.append((item.reply, build))
            case Attended():
                self._attendance.seen(item.build_id, batch.now)
            case LaunchUnsure():
                self._on_launch_unsure(item, batch)
            case Accepted():
                self._acceptance.take_over(item, batch)

    def _hear(self, item: cl.ClusterInput, batch: Batch) -> None:
        match item:
            case cl.StatusUpdate():
                self._on_status(item, batch)
            case cl.ExecutorMessage():
                self._on_message(item, batch)
            case cl.OffersReceived():
                self._desk.receive(item.offers, batch.now)
            case cl.OfferRescinded():
                self._desk.rescinded(item.offer_id)
            case cl.ExecutorLost():
                self._desk.executors.lost(item.executor_id)
            case cl.Subscribed():
                self._on_subscribed(item, batch)
            case cl.Disconnected():
                self._on_disconnected()

    def _refuse(self, item: Input, error: BuilderError) -> None:
        if isinstance(item, (Submit, Cancel, Happened)) and item.reply is not None:
            item.reply.error = error
            item.reply.resolve()
            return
        log.error("%s was not taken in: %s", type(item).__name__, error)
        if isinstance(item, cl.Subscribed):
            # The subscription stands, whatever the store says now.
            again = threading.Timer(_RETRY_SUBSCRIBED, self.post, [item])
            again.daemon = True
            again.start()

    def _give_up(self, batch: Batch, items: list[Input], error: BuilderError) -> None:
        """Nothing happened; nobody waits in vain, and no offer or clock is forgotten."""
        for build_id in batch.rung:
            self.active.wind(build_id)
        for item in items:
            if isinstance(item, (Submit, Cancel, Happened)):
                self._refuse(item, error)
            elif isinstance(item, Accepted):
                item.taken.set()
        self._desk.give_back()
        # What the master said without asking for an acknowledgement is not said again.
        if self.subscribed:
            self._reconciliation.begin(self._tasks(), batch.now)

    def _commit(self, batch: Batch) -> None:
        """It is stored: now it is true, and may be told and acted upon."""
        for build_id, build in batch.builds.items():
            failpoints.reach("T3.before", when=batch.previous[build_id] is None)
            self.active.put(build, batch.now)
            tell(batch.previous[build_id], build)
            failpoints.reach("T3.after", when=batch.previous[build_id] is None)
        for reply, build in batch.replies:
            # As it is at the end of the turn; nothing is read here, where nothing may fail.
            reply.build = batch.builds.get(build.id, build)
            reply.resolve()
        for update in batch.acknowledge:
            self._dispatcher.call(partial(self._cluster.acknowledge, update))
        self._desk.learn(batch)
        self._desk.launch(batch)
        for effect in batch.effects:
            self._effects.carry_out(effect)
        for then in batch.afterwards:
            then()
        for build_id in batch.rung:
            self.active.wind(build_id)
        for build_id in batch.builds:
            self._hooks.changed(build_id)

    # -- inputs --------------------------------------------------------------------------------

    def _on_subscribed(self, item: cl.Subscribed, batch: Batch) -> None:
        if item.framework_id != self._store.framework_id():
            # Before anything is launched under it: without the id, tasks would be orphans.
            failpoints.reach("T17.before")
            self._store.save_framework_id(item.framework_id)
            failpoints.reach("T17.after")
        self.framework_id = item.framework_id
        self.subscribed = True
        self._desk.renew()
        self._reconciliation.begin(self._tasks(), batch.now)

    def _tasks(self) -> list[tuple[str, str]]:
        """(task id, agent id) of every attempt that may have a task."""
        return [
            (build.current.task_id, build.current.placement.agent_id)
            for build in self.active.on_agent().values()
            if build.current is not None
        ]

    def _on_disconnected(self) -> None:
        self.subscribed = False
        self._desk.renew()
        self._reconciliation.end()

    def _on_status(self, update: cl.StatusUpdate, batch: Batch) -> None:
        try:
            build_id, attempt = parse_task_id(update.task_id)
            build = batch.get(build_id)
        except (InvalidValueError, NotFoundError):
            self._on_orphan(update, batch)
            return
        self._reconciliation.heard_of(update.task_id)
        failpoints.reach("T19.after", when=update.reason == status.RECONCILIATION)
        current = build.current
        if status.needs_result(update) and not build.terminal and current is not None:
            if current.number == attempt:
                batch.afterwards.append(lambda: self._hooks.fetch_result(build_id, build))
        else:
            batch.step(build_id, status.interpret(update, attempt))
        if update.uuid is not None:
            batch.acknowledge.append(update)

    def _on_message(self, message: cl.ExecutorMessage, batch: Batch) -> None:
        """An executor asks whether its attempt may publish."""
        asked = decode_lease_request(message.data)
        build_id, number = parse_task_id(asked.task_id)
        build = batch.get(build_id)
        places = {a.number: a.placement for a in build.attempts}
        if number not in places or places[number].executor_id != message.executor_id:
            log.warning("executor %s speaks for task %s", message.executor_id, asked.task_id)
            return
        batch.step(build_id, ev.LeaseRequested(number, asked.nonce, asked.digest, asked.replaces))

    def _on_orphan(self, update: cl.StatusUpdate, batch: Batch) -> None:
        """A task under our framework id that the store never heard of must not go on."""
        meaning = status.STATES.get(update.state)
        if meaning in (status.Meaning.SEEN, status.Meaning.RUNNING):
            log.warning("task %s is not ours to run: killing it", update.task_id)
            batch.effects.append(fx.Kill(update.task_id, update.agent_id or ""))
        if update.uuid is not None:
            batch.acknowledge.append(update)

    def _on_launch_unsure(self, item: LaunchUnsure, batch: Batch) -> None:
        """Ask for the tasks; and were the offers not used, they would stay out for ever."""
        tasks = [(x.attempt.task_id, x.attempt.placement.agent_id) for x in item.launches]
        self._reconciliation.ask(tasks, batch.now)
        self._desk.decline([item.agent])

    def _fire_timers(self, batch: Batch) -> None:
        for build_id in self.active.due(batch.now):
            # What was heard in this turn may have stopped the clock.
            timer = machine.next_timer(batch.get(build_id), self._policy.machine)
            if timer is not None and timer[0] <= batch.now:
                batch.step(build_id, timer[1])
            batch.rung.append(build_id)
