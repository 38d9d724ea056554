"""The offer desk: every offer is used or given back, and asked for only while something waits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from builder_framework import cluster as cl
from builder_framework import failpoints
from builder_framework.domain import avoid, machine, offers
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build, Placement, Resources
from builder_framework.domain.scheduling import Scheduling
from builder_framework.domain.states import State
from builder_framework.instruments import Instruments
from builder_framework.service.batch import Batch
from builder_framework.service.board import WaitingBoard, to_match
from builder_framework.service.dispatch import Dispatcher
from builder_framework.service.executors import Ending, Executors, Home
from builder_framework.service.inputs import Happened, Input, LaunchUnsure
from builder_framework.service.warmth import Warmth

# Offers come again as soon as REVIVE is sent; until then nobody needs them.
_REFUSE_IDLE = 3600.0
# An agent whose free resources grew is offered at once whatever the filter says; this is only
# for what did not change.
_REFUSE_UNFIT = 30.0
# Builds keep away from an agent for less than that (`domain.avoid`).
_REFUSE_AVOIDED = 10.0
_REFUSE_SHORT = 1.0
# Calls are not repeated when they fail, but a REVIVE that got lost would stop everything.
_REVIVE_AGAIN = 60.0

_RESOURCES = frozenset(
    {
        offers.RefusalReason.CPUS.value,
        offers.RefusalReason.MEM.value,
        offers.RefusalReason.DISK.value,
    }
)

_OURS = frozenset({offers.RefusalReason.SLOTS.value, offers.RefusalReason.PROJECT.value})


@dataclass(frozen=True)
class LoopPolicy:
    """`executor_resources`: what the executor itself takes on top of a build's resources.

    `cache_patience`: seconds that a build waits for the agent with its cache. `executor_idle`:
    seconds that an executor waits for another build. `kind`: builds of the same one may share an
    executor; None: the build has its own. `dedupe_window`: seconds for which a finished build does
    for others who ask for the same. `running_limits`: how many builds of a project may run at once.
    `scheduling`: whether builds are started.
    """

    machine: machine.MachinePolicy = field(default_factory=machine.MachinePolicy)
    executor_resources: Resources = field(default_factory=lambda: Resources(0.1, 128.0, 0.0))
    slots_per_agent: int = 8
    avoid: avoid.AvoidPolicy = field(default_factory=avoid.AvoidPolicy)
    cache_patience: float = 5.0
    executor_idle: float = 0.0
    dedupe_window: float = 86400.0
    kind: Callable[[Build], str | None] = lambda _: None
    running_limits: Callable[[], Mapping[str, int]] = dict
    scheduling: Callable[[], Scheduling] = Scheduling


@dataclass(frozen=True)
class _Plan:
    """The executor of a placement; `home`: where it takes others in, if it does."""

    id: str
    home: Home | None
    joins: bool


class OfferDesk:
    """Belongs to the loop and is used by its thread only."""

    def __init__(
        self,
        cluster: cl.Cluster,
        dispatcher: Dispatcher,
        policy: LoopPolicy,
        board: WaitingBoard,
        post: Callable[[Input], None],
        instruments: Instruments,
    ) -> None:
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._policy = policy
        self._board = board
        self._post = post
        self._instruments = instruments
        self._offers: dict[str, offers.Offer] = {}
        self._matches: Sequence[offers.Match] = ()
        self._taking_part = False
        self._wished = False
        self._heard_at = 0.0
        self._failed_on: avoid.Record = {}
        self._short_of_room = False
        self._planned: dict[str, _Plan] = {}
        self.warmth = Warmth()
        self.executors = Executors(policy.executor_idle)

    def receive(self, received: Sequence[offers.Offer], now: float) -> None:
        """Offers came in; the turn at hand answers them."""
        self._instruments.offers_seen.inc(len(received))
        self._offers.update({offer.id: offer for offer in received})
        self._heard_at = now

    def renew(self) -> None:
        """A subscription began or ended: all offers are void, what agents lacked says nothing.

        Whatever the master remembers of our wishes is said again.
        """
        self._count_declined(len(self._offers), "void")
        self._offers.clear()
        self._board.clear()
        self._taking_part = True
        self._wished = True

    def wish(self) -> None:
        """A new build wants all offers, the refused ones too."""
        self._wished = True

    def place(self, batch: Batch, framework_id: str | None) -> None:
        """Match what waits with what is offered; the rest is given back at once."""
        self._matches = ()
        self._planned = {}
        if not self._offers or framework_id is None:
            return
        starts = self._policy.scheduling().starts
        waiting = self._queue(batch) if starts else []
        failpoints.reach("T4.before", when=bool(waiting))
        result = offers.match(
            waiting,
            list(self._offers.values()),
            now=batch.now,
            slots_in_use=_slots_in_use(batch),
            slots_per_agent=self._policy.slots_per_agent,
            executors=self.executors.homes(batch.now),
            room=_room(batch, self._policy.running_limits()),
        )
        self._offers.clear()
        self._matches = result.matches
        failpoints.reach("T4.after", when=bool(result.matches))
        for found in result.matches:
            executor_id = self._executor_for(found, batch)
            batch.step(found.build_id, ev.Placed(_placement(found, executor_id, framework_id)))
        failpoints.reach("T5.before", when=bool(result.matches))
        self._board.refused(result.refusals, batch.now)
        reasons = {why for refused in result.refusals.values() for why in refused.values()}
        self._short_of_room = not _OURS.isdisjoint(reasons)
        refuse = _REFUSE_UNFIT if result.refusals else _REFUSE_IDLE
        if offers.RefusalReason.AVOIDED.value in reasons:
            refuse = _REFUSE_AVOIDED
        if offers.RefusalReason.COLDER.value in reasons:
            refuse = _REFUSE_SHORT
        for agent in result.unused:
            why = _why(agent, waiting, result.refusals)
            self._count_declined(len(agent.offers), why)
            self._make_room(agent, waiting, result.refusals, batch.now)
            self.decline(agent, refuse)

    def _executor_for(self, found: offers.Match, batch: Batch) -> str:
        """One that takes builds of this kind there, or a new one, which is named by its first."""
        build = batch.get(found.build_id)
        agent_id, kind = found.agent.first.agent_id, self._policy.kind(build)
        own = f"builder.{build.id}.{len(build.attempts) + 1}"
        known = None
        if kind is not None:
            planned = (p.id for p in self._planned.values() if p.home == (agent_id, kind))
            known = self.executors.find((agent_id, kind), batch.now) or next(planned, None)
        self._planned[build.id] = _Plan(
            known or own, (agent_id, kind) if kind is not None else None, known is not None
        )
        return known or own

    def _make_room(
        self,
        agent: offers.AgentOffer,
        waiting: Sequence[offers.QueuedBuild],
        refusals: Mapping[str, Mapping[str, str]],
        now: float,
    ) -> None:
        """What waits for resources goes before executors that only wait for builds."""
        agent_id = agent.first.agent_id
        idle = self.executors.idle_on(agent_id)
        if not idle:
            return
        for build in waiting:
            if refusals.get(build.build_id, {}).get(agent_id) in _RESOURCES:
                overhead = self._policy.executor_resources
                number = offers.idle_to_end(build, agent, idle, overhead, now)
                if number:
                    self._end_executors(self.executors.make_room(agent_id, number))
                    return

    def _end_executors(self, ending: Sequence[Ending]) -> None:
        for executor_id, agent_id in ending:
            self._dispatcher.call(partial(self._cluster.shutdown_executor, executor_id, agent_id))

    def _queue(self, batch: Batch) -> list[offers.QueuedBuild]:
        policy, overhead = self._policy.avoid, self._policy.executor_resources
        everybody = avoid.avoided(self._failed_on, batch.now, policy)
        return [
            to_match(
                build,
                overhead,
                avoid.avoided_by(build, everybody, batch.now, policy),
                self.warmth.of(build),
                self._policy.cache_patience,
                self._policy.kind(build),
            )
            for build in batch.queue()
        ]

    def learn(self, batch: Batch) -> None:
        """The turn is stored: remember which agents did well and which did not."""
        for build_id, build in batch.builds.items():
            before = batch.previous[build_id]
            ended = build.current
            if ended is not None and build.stop is not None and build.stop.kills > 1:
                self.executors.close(ended.placement.executor_id)  # it does not answer
            if ended is None or ended.live or (before is not None and before.current == ended):
                continue
            self.warmth.learn(build)
            self.executors.ended(ended, batch.now)
            if self._short_of_room:
                # That is ours alone to know of: no resources need have come free with it.
                self.wish()
            if build.state is State.SUCCEEDED:
                self._failed_on = avoid.forgive(self._failed_on, ended.placement.agent_id)
            else:
                self._failed_on = avoid.note(self._failed_on, ended, batch.now, self._policy.avoid)

    def give_back(self) -> None:
        """The turn could not be stored: what it matched is not launched."""
        for agent in {match.agent.first.agent_id: match.agent for match in self._matches}.values():
            self._count_declined(len(agent.offers), "not_stored")
            self.decline(agent)
        self._matches = ()

    def launch(self, batch: Batch) -> None:
        """The turn is stored: one ACCEPT per agent, with all its tasks."""
        by_agent: dict[str, list[offers.Match]] = defaultdict(list)
        for found in self._matches:
            by_agent[found.agent.first.agent_id].append(found)
        refuse = _REFUSE_UNFIT if _waits(batch) else _REFUSE_IDLE
        failpoints.reach("T5.after", when=bool(by_agent))
        for matches in by_agent.values():
            launches = tuple(self._launch_of(batch.builds[found.build_id]) for found in matches)
            agent = matches[0].agent
            self._instruments.offers_used.inc(len(agent.offers))
            self._dispatcher.call(
                partial(self._cluster.launch, agent, launches, refuse),
                not_sent=partial(self._not_launched, launches),
                unsure=partial(self._post, LaunchUnsure(agent, launches)),
            )

    def _launch_of(self, build: Build) -> cl.Launch:
        plan, attempt = self._planned[build.id], build.attempts[-1]
        if plan.home is not None:
            self.executors.placed(plan.id, plan.home, attempt.task_id)
        return cl.Launch(build, attempt, plan.joins)

    def _not_launched(self, launches: Sequence[cl.Launch]) -> None:
        for launch in launches:
            message = "the launch was not sent: the subscription ended"
            event = ev.TaskMissing(launch.attempt.number, message)
            self._post(Happened(launch.build.id, event))

    def _count_declined(self, offers: int, reason: str) -> None:
        if offers:
            self._instruments.offers_declined.labels(reason).inc(offers)

    def decline(
        self, agent: offers.AgentOffer, refuse: float = _REFUSE_SHORT, tries: int = 3
    ) -> None:
        """An offer that is not given back is held until the subscription ends: try more than once.

        Declining an offer that is gone already does no harm.
        """
        again = partial(self.decline, agent, refuse, tries - 1) if tries > 1 else None
        self._dispatcher.call(partial(self._cluster.decline, [agent], refuse), unsure=again)

    def steer(self, batch: Batch) -> None:
        """Take part in allocation only while something waits; a new wish clears old filters."""
        self._end_executors(self.executors.surplus(batch.now))
        wanted = _waits(batch) and self._policy.scheduling().starts
        overdue = batch.now - self._heard_at > _REVIVE_AGAIN
        if wanted and (self._wished or not self._taking_part or overdue):
            self._heard_at = batch.now
            self._dispatcher.call(self._cluster.revive)
        elif not wanted and self._taking_part:
            self._dispatcher.call(self._cluster.suppress)
        self._taking_part = wanted
        self._wished = False


def _why(
    agent: offers.AgentOffer,
    waiting: Sequence[offers.QueuedBuild],
    refusals: Mapping[str, Mapping[str, str]],
) -> str:
    """In one word without an attribute's name: what the first build lacked that was left over."""
    if not waiting:
        return "idle"
    told = (refusals.get(build.build_id, {}).get(agent.first.agent_id) for build in waiting)
    return next((why.partition(":")[0] for why in told if why is not None), "not_needed")


def _waits(batch: Batch) -> bool:
    return next(batch.queue(), None) is not None


def _placement(found: offers.Match, executor_id: str, framework_id: str) -> Placement:
    offer = found.agent.first
    return Placement(
        agent_id=offer.agent_id,
        hostname=offer.hostname,
        agent_url=offer.agent_url,
        slot=found.slot,
        executor_id=executor_id,
        framework_id=framework_id,
    )


def _room(batch: Batch, limits: Mapping[str, int]) -> Mapping[str, int]:
    running = Counter(build.request.project for build in batch.on_agent())
    return {project: limit - running[project] for project, limit in limits.items()}


def _slots_in_use(batch: Batch) -> Mapping[str, frozenset[int]]:
    used: dict[str, set[int]] = defaultdict(set)
    for build in batch.on_agent():
        if build.current is not None:
            used[build.current.placement.agent_id].add(build.current.placement.slot)
    return {agent_id: frozenset(slots) for agent_id, slots in used.items()}
