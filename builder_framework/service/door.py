"""`ports.Builds` of a process, whatever its part is at the moment: follower first, then leader."""

from __future__ import annotations

from builder_framework.domain.model import BuildRequest
from builder_framework.ports import (
    AgentsView,
    Builds,
    BuildView,
    DeliveryView,
    Idempotency,
    ListQuery,
    Page,
    QueuePage,
    Readiness,
    Watch,
)


class Door:
    """Hands every call to whoever answers now. Nobody ever follows again after leading."""

    def __init__(self, builds: Builds) -> None:
        self.builds = builds

    def submit(
        self, request: BuildRequest, owner: str, idempotency: Idempotency | None = None
    ) -> tuple[BuildView, bool]:
        return self.builds.submit(request, owner, idempotency)

    def replayed(self, owner: str, idempotency: Idempotency) -> BuildView | None:
        return self.builds.replayed(owner, idempotency)

    def get(self, build_id: str) -> BuildView:
        return self.builds.get(build_id)

    def list(self, query: ListQuery) -> Page:
        return self.builds.list(query)

    def queue(self, limit: int, visible: tuple[str, ...] | None = None) -> QueuePage:
        return self.builds.queue(limit, visible)

    def agents(self) -> AgentsView:
        return self.builds.agents()

    def cancel(self, build_id: str, by: str) -> BuildView:
        return self.builds.cancel(build_id, by)

    def attend(self, build_id: str) -> None:
        self.builds.attend(build_id)

    def read_log(self, build_id: str, offset: int, limit: int) -> bytes:
        return self.builds.read_log(build_id, offset, limit)

    def deliveries(self, build_id: str) -> tuple[DeliveryView, ...]:
        return self.builds.deliveries(build_id)

    def redeliver(self, build_id: str, delivery_id: str) -> DeliveryView:
        return self.builds.redeliver(build_id, delivery_id)

    def watch(self, build_id: str) -> Watch:
        return self.builds.watch(build_id)

    def readiness(self) -> Readiness:
        return self.builds.readiness()
