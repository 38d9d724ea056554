"""What a stored change sets in motion: calls to the master, and the way of a log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from builder_framework import cluster as cl
from builder_framework.domain import effects as fx
from builder_framework.protocol import LeaseAnswer, encode_lease
from builder_framework.service.dispatch import Dispatcher


class Effects:
    """Carries out the machine's effects, once what led to them is stored. Never blocks."""

    def __init__(
        self, cluster: cl.Cluster, dispatcher: Dispatcher, follow_log: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._follow_log = follow_log

    def carry_out(self, effect: fx.Effect) -> None:
        """Hand the effect to whoever does it."""
        match effect:
            case fx.Launch():
                # Sent by the offer desk, together with the agent's other tasks.
                pass
            case fx.Kill(task_id, agent_id):
                self._dispatcher.call(partial(self._cluster.kill, task_id, agent_id or None))
            case fx.ShutdownExecutor(executor_id, agent_id):
                self._dispatcher.call(
                    partial(self._cluster.shutdown_executor, executor_id, agent_id)
                )
            case fx.CollectLog(build_id):
                self._follow_log(build_id)
            case fx.AnswerLease():
                self._answer(effect)

    def _answer(self, effect: fx.AnswerLease) -> None:
        answer = LeaseAnswer(
            effect.task_id,
            effect.nonce,
            granted=effect.granted,
            seconds=effect.seconds,
            message=effect.message,
        )
        data = encode_lease(answer)
        self._dispatcher.call(
            partial(self._cluster.message, effect.executor_id, effect.agent_id, data)
        )
