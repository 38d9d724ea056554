"""The offer desk: every offer is used or given back, and asked for only while something waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from builder_framework import cluster as cl
from builder_framework import failpoints
from builder_framework.domain import avoid, offers, placing, refusals
from builder_framework.domain import events as ev
from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.holding import Holds
from builder_framework.domain.model import Attempt, Build, Placement
from builder_framework.domain.states import State
from builder_framework.domain.waiting import QueuedBuild
from builder_framework.instruments import Instruments
from builder_framework.ports import AgentView
from builder_framework.service import leftovers
from builder_framework.service.agents import REMEMBERED_SECONDS, Agents
from builder_framework.service.batch import Batch
from builder_framework.service.board import WaitingBoard
from builder_framework.service.dispatch import Dispatcher
from builder_framework.service.executors import Ending, Executors, Home
from builder_framework.service.hot import HotBuilds, described
from builder_framework.service.inputs import Happened, Input, LaunchUnsure
from builder_framework.service.leftovers import Leftovers
from builder_framework.service.policy import LoopPolicy
from builder_framework.service.warmth import Warmth

# Calls are not repeated when they fail, but a REVIVE that got lost would stop everything.
_REVIVE_AGAIN = 60.0

_LOOK_AFTER = 1.0

_MOST = 500
"""Placements of one turn: what comes in must not wait for a thousand rows to be written."""


@dataclass(frozen=True)
class _Plan:
    """The executor of a placement; `home`: where it takes others in, if it does."""

    id: str
    home: Home | None
    joins: bool


class OfferDesk:
    """Belongs to the loop and is used by its thread only, but for `agents` and `outlook`."""

    def __init__(
        self,
        cluster: cl.Cluster,
        dispatcher: Dispatcher,
        policy: LoopPolicy,
        post: Callable[[Input], None],
        instruments: Instruments,
    ) -> None:
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._policy = policy
        self._post = post
        self._instruments = instruments
        self.active = HotBuilds(policy.machine, self._describe)
        self.warmth = Warmth()
        self.executors = Executors(policy.executor_idle)
        self.table = AgentTable()
        self.board = WaitingBoard(self.table, self.active.waiting, self.outlook)
        self._agents = Agents(self.table)
        self._holds = Holds()
        self._matches: Sequence[placing.Match] = ()
        self._planned: dict[str, _Plan] = {}
        self._new_homes: dict[Home, str] = {}
        self._placed = 0
        self._unanswered = False
        self._more = False
        self._taking_part = False
        self._wished = False
        self._heard_at = 0.0
        self._failed_on: avoid.Record = {}
        self._short_of_room = False
        self._limited: frozenset[str] = frozenset()
        self._looked_after = 0.0
        self._leftovers = Leftovers(self.table, self.active.waiting, policy, self.outlook)

    # -- for any thread ------------------------------------------------------------------------

    def agents(self, running: Iterable[Build], now: float) -> tuple[AgentView, ...]:
        """What is known of agents. `running`: builds that have a task."""
        policy, record = self._policy.avoid, self._failed_on
        until = {each: avoid.avoided_until(record, each, now, policy) for each in record}
        needs = self.active.waiting.needs()
        return self._agents.views(
            running,
            self.executors.views(now),
            self.warmth.by_place(),
            {each: at for each, at in until.items() if at is not None},
            refusals.by_agent(self.table, needs, self.outlook(now)),
        )

    def outlook(self, now: float) -> refusals.Outlook:
        """What speaks against agents beside what they have to give."""
        return refusals.Outlook(
            now,
            self.executors.homes(now),
            avoid.avoided(self._failed_on, now, self._policy.avoid),
            self._holds.agents(),
            self._limited,
        )

    # -- what comes in -------------------------------------------------------------------------

    def receive(self, received: Sequence[offers.Offer], now: float) -> None:
        """Offers came in; the turn at hand answers them."""
        self._instruments.offers_seen.inc(len(received))
        self.table.offer(received, now)
        self._heard_at = now
        self._unanswered = True

    def rescinded(self, offer_id: str) -> None:
        """An offer is void, if it is not answered yet."""
        self.table.rescind(offer_id)

    def renew(self) -> None:
        """A subscription began or ended: all offers are void, what agents lacked says nothing.

        Whatever the master remembers of our wishes is said again.
        """
        self._count_declined(self.table.void(), "void")
        self._holds.clear()
        self._unanswered = self._more = False
        self._taking_part = True
        self._wished = True

    def wish(self) -> None:
        """A new build wants all offers, the refused ones too."""
        self._wished = True

    # -- placing -------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether offers are to be answered now."""
        return self._unanswered or self._more

    def look_after(self, now: float) -> None:
        """Let go of what is kept for nobody, and of agents that were not heard of for long."""
        if now - self._looked_after >= _LOOK_AFTER:
            self._looked_after = now
            self._end_executors(self.executors.surplus(now))
            self.table.forget(now - REMEMBERED_SECONDS)
            self._agents.forget(now - REMEMBERED_SECONDS)
            self._unanswered |= self._holds.expire(self.active.waiting, now)

    def place(self, batch: Batch, framework_id: str | None) -> None:
        """Match what waits with what is offered; what is not needed is given back at once."""
        self._matches = ()
        self._planned = {}
        self._new_homes = {}
        if framework_id is None:
            return
        self._unanswered = self._more = False
        waiting = self.active.waiting
        waiting.wake(batch.now)
        starts = self._policy.scheduling().starts
        failpoints.reach("T4.before", when=starts and waiting.awake())
        around = placing.Surroundings(
            now=batch.now,
            slots=self._policy.slots_per_agent,
            executors=self.executors.homes(batch.now),
            room=self._room(self._policy.running_limits()),
            avoided=avoid.avoided(self._failed_on, batch.now, self._policy.avoid),
            held=self._holds.agents(),
            warm=self._warm,
            most=_MOST if starts else 0,
        )
        turn = placing.Round(self.table, waiting, self.active.load, around, self._placed)
        result = turn.run()
        self._matches = result.matches
        self._placed += len(result.matches)
        self._more = result.more and starts
        self._short_of_room = result.full and waiting.awake()
        self._limited = result.limited
        failpoints.reach("T4.after", when=bool(result.matches))
        for found in result.matches:
            executor_id = self._executor_for(found, batch)
            batch.step(found.build_id, ev.Placed(_placement(found, executor_id, framework_id)))
        failpoints.reach("T5.before", when=bool(result.matches))
        self._give_up_rest(turn, around, starts=starts)

    def _give_up_rest(
        self, turn: placing.Round, around: placing.Surroundings, *, starts: bool
    ) -> None:
        """Everything but what is used, what is kept for a build, and what the next turn needs."""
        ids = {found.agent.first.agent_id for found in self._matches}
        used = {row for each in ids if (row := self.table.row_of(each)) is not None}
        with self.table.lock:
            self.table.left(turn.left())
        if not self._more and starts:
            self._holds.keep(self.table, self.active.waiting, self.active.load, around.now)
        held = {self.table.row_of(agent_id) for agent_id in self._holds.agents()}
        rest = [row for row in turn.rows.tolist() if row not in used]
        if starts:
            idle = self.executors.idle_by_agent()
            for agent_id, number in self._leftovers.room_to_make(rest, idle, around.now):
                self._end_executors(self.executors.make_room(agent_id, number))
        unused = [] if self._more else [row for row in rest if row not in held]
        self.table.answered(used)
        self._agents.answered(used, unused)
        if unused:
            agents = [self.table.agent(row) for row in unused]
            for reason, number in self._leftovers.reasons(unused, around.now, starts=starts):
                self._count_declined(number, reason)
            self.table.answered(unused)
            avoids = bool(around.avoided)
            self.decline(agents, self._leftovers.refuse_seconds(starts=starts, avoids=avoids))

    def _warm(self, build: QueuedBuild) -> str | None:
        known = self.active.get(build.build_id)
        return None if known is None else self.warmth.of(known)

    def _room(self, limits: Mapping[str, int]) -> dict[str, int]:
        load = self.active.load
        return {project: limit - load.of_project(project) for project, limit in limits.items()}

    def _describe(self, build: Build) -> QueuedBuild:
        return described(build, self._policy, self.warmth.of(build))

    def _executor_for(self, found: placing.Match, batch: Batch) -> str:
        """One that takes builds of this kind there, or a new one, which is named by its first."""
        build = batch.get(found.build_id)
        agent_id, kind = found.agent.first.agent_id, self._policy.kind(build)
        own = f"builder.{build.id}.{len(build.attempts) + 1}"
        home = (agent_id, kind) if kind is not None else None
        known = None
        if home is not None:
            known = self.executors.find(home, batch.now) or self._new_homes.get(home)
            self._new_homes.setdefault(home, known or own)
        self._planned[build.id] = _Plan(known or own, home, known is not None)
        return known or own

    def _end_executors(self, ending: Sequence[Ending]) -> None:
        for executor_id, agent_id in ending:
            self._dispatcher.call(partial(self._cluster.shutdown_executor, executor_id, agent_id))

    def learn(self, batch: Batch) -> None:
        """The turn is stored: remember which agents did well and which did not."""
        for build_id, build in batch.builds.items():
            before = batch.previous[build_id]
            ended = build.current
            if ended is not None and build.stop is not None and build.stop.kills > 1:
                self.executors.close(ended.placement.executor_id)  # it does not answer
            if ended is None or ended.live or _had_ended(before, ended):
                continue
            self.warmth.learn(build)
            self.executors.ended(ended, batch.now)
            if self._short_of_room:
                # That is ours alone to know of: no resources need have come free with it.
                self.wish()
            if build.state is State.SUCCEEDED:
                self._failed_on = avoid.forgive(self._failed_on, ended.placement.agent_id)
                self._agents.succeeded(ended.placement.agent_id)
            else:
                self._agents.failed(build, batch.now)
                self._failed_on = avoid.note(self._failed_on, ended, batch.now, self._policy.avoid)

    def give_back(self) -> None:
        """The turn could not be stored: what it matched is not launched."""
        matched = {match.agent.first.agent_id: match.agent for match in self._matches}
        if matched:
            agents = list(matched.values())
            self._count_declined(sum(len(agent.offers) for agent in agents), "not_stored")
            self.decline(agents)
        self._matches = ()

    def launch(self, batch: Batch) -> None:
        """The turn is stored: one ACCEPT per agent, with all its tasks."""
        by_agent: dict[str, list[placing.Match]] = defaultdict(list)
        matched, self._matches = self._matches, ()
        for found in matched:
            by_agent[found.agent.first.agent_id].append(found)
        avoids = bool(avoid.avoided(self._failed_on, batch.now, self._policy.avoid))
        refuse = self._leftovers.refuse_seconds(starts=True, avoids=avoids)
        refuse = 0.0 if self._more else refuse
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
        self,
        agents: Sequence[offers.AgentOffer],
        refuse: float = leftovers.REFUSE_SHORT,
        tries: int = 3,
    ) -> None:
        """In one call. An offer that is not given back is held until the subscription ends: try
        more than once; declining an offer that is gone already does no harm.
        """
        again = partial(self.decline, agents, refuse, tries - 1) if tries > 1 else None
        self._dispatcher.call(partial(self._cluster.decline, agents, refuse), unsure=again)

    def steer(self, now: float) -> None:
        """Take part in allocation only while something waits; a new wish clears old filters."""
        self.active.waiting.wake(now)
        wanted = self.active.waiting.awake() and self._policy.scheduling().starts
        overdue = now - self._heard_at > _REVIVE_AGAIN
        if wanted and (self._wished or not self._taking_part or overdue):
            self._heard_at = now
            self._dispatcher.call(self._cluster.revive)
        elif not wanted and self._taking_part:
            self._dispatcher.call(self._cluster.suppress)
        self._taking_part = wanted
        self._wished = False


def _had_ended(before: Build | None, attempt: Attempt) -> bool:
    """Whether it was over before: it changes once more when its log is complete."""
    known = None if before is None else before.current
    return known is not None and known.number == attempt.number and not known.live


def _placement(found: placing.Match, executor_id: str, framework_id: str) -> Placement:
    offer = found.agent.first
    return Placement(
        agent_id=offer.agent_id,
        hostname=offer.hostname,
        agent_url=offer.agent_url,
        slot=found.slot,
        executor_id=executor_id,
        framework_id=framework_id,
    )
