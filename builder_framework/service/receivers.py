"""How each receiver of a message is spoken to, and how its answer is understood."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from builder_framework.domain import commit_status
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.reach import Reach
from builder_framework.domain.targets import FORGES, Kind, Target
from builder_framework.redact import Secret
from builder_framework.service.post import Answer

_NO_USE = frozenset({400, 404, 422})
"""Of a forge: it does not know the commit, or refuses the status. It will do so again."""

_SAID_BEFORE = b"Cannot transition status"
"""GitLab answers 400 to a status that the commit has already (app/models/ci: the state machine)."""


@dataclass(frozen=True)
class Receiver:
    """`headers` for it alone; whether messages are `signed`; which addresses it may have."""

    headers: Mapping[str, str] = field(default_factory=dict)
    signed: bool = True
    reach: Reach | None = None
    kind: Kind = Kind.WEBHOOK

    def judge(self, answer: Answer) -> tuple[str | None, bool]:
        """What is wrong, if anything, and whether another try would come to the same."""
        if self.kind not in FORGES or answer.status not in _NO_USE:
            return answer.error, False
        if self.kind is Kind.GITLAB and _SAID_BEFORE in answer.body:
            return None, False
        return answer.error, True


class Receivers:
    """The operator's URLs and targets, and all others, which may only have `reach`."""

    def __init__(
        self,
        urls: Collection[Secret] = (),
        targets: Collection[Target] = (),
        reach: Reach | None = None,
    ) -> None:
        """`urls`: the operator's, who may have any address; so may his targets."""
        self._urls = frozenset(url.reveal() for url in urls)
        self._targets = {target.name: target for target in targets}
        self._reach = reach

    def target(self, delivery: Delivery) -> Target | None:
        """The one that it goes to; None for plain webhooks, and when there is none any more."""
        return self._targets.get(delivery.target) if delivery.target is not None else None

    def of(self, delivery: Delivery) -> Receiver | None:
        """Who gets it; None when it goes to a target that is not there any more."""
        if delivery.target is None:
            own = delivery.url.reveal() in self._urls
            return Receiver(reach=None if own else self._reach)
        target = self.target(delivery)
        if target is None:
            return None
        headers = commit_status.token_header(target) if target.kind in FORGES else {}
        return Receiver(headers, signed=target.kind is Kind.WEBHOOK, kind=target.kind)
