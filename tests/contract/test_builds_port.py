"""What the API may expect of `ports.Builds`: the service keeps it, so does the tests' double."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder_framework.domain.announcer import Announcer
from builder_framework.domain.model import BuildRequest, Resources
from builder_framework.domain.states import State
from builder_framework.errors import ConflictError, InvalidInputError, NotFoundError
from builder_framework.ports import Builds, Idempotency, ListQuery
from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from tests.unit.builds_double import MemoryBuilds
from tests.unit.recording import Bench

REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/app:1",),
    timeout=600.0,
    queue_ttl=600.0,
    resources=Resources(1.0, 512.0),
    labels={"team": "web"},
)
KEY = Idempotency("k", "f" * 64)


class BuildsContract:
    """The promises of `Builds` that hold without a cluster."""

    @pytest.fixture
    def builds(self) -> Iterator[Builds]:
        raise NotImplementedError

    def test_a_submitted_build_waits_with_its_position(self, builds: Builds) -> None:
        views = [builds.submit(REQUEST, "ann")[0] for _ in range(2)]
        assert [view.build.state for view in views] == [State.QUEUED] * 2
        second = builds.get(views[1].build.id)
        assert second.build.request == REQUEST
        assert second.build.owner == "ann"
        assert second.waiting is not None
        assert second.waiting.position == 2
        assert second.waiting.message
        assert (second.log_size, second.log_complete) == (0, False)

    def test_keys_are_per_user_and_per_request(self, builds: Builds) -> None:
        first, fresh = builds.submit(REQUEST, "ann", KEY)
        again, replayed = builds.submit(REQUEST, "ann", KEY)
        assert (again.build.id, fresh, replayed) == (first.build.id, True, False)
        other, _ = builds.submit(REQUEST, "bob", KEY)
        assert other.build.id != first.build.id
        with pytest.raises(ConflictError):
            builds.submit(REQUEST, "ann", Idempotency("k", "0" * 64))

    def test_cancel_ends_what_waits_and_refuses_what_is_over(self, builds: Builds) -> None:
        view, _ = builds.submit(REQUEST, "ann")
        build = builds.cancel(view.build.id, "bob").build
        assert (build.state, build.reason) == (State.CANCELLED, Reason.CANCELLED)
        assert build.message == "cancelled by bob"
        assert builds.get(build.id).log_complete
        with pytest.raises(ConflictError):
            builds.cancel(view.build.id, "bob")

    def test_a_builds_webhooks_are_told_and_can_be_told_again(self, builds: Builds) -> None:
        view, _ = builds.submit(REQUEST, "ann")
        other, _ = builds.submit(REQUEST, "ann")
        builds.cancel(view.build.id, "ann")
        first, last = builds.deliveries(view.build.id)
        assert [first.delivery.event, last.delivery.event] == ["build.queued", "build.finished"]
        assert builds.redeliver(view.build.id, last.delivery.id).delivery.id == last.delivery.id
        with pytest.raises(NotFoundError):
            builds.redeliver(other.build.id, last.delivery.id)

    def test_what_is_not_there_is_not_found(self, builds: Builds) -> None:
        for call in (
            lambda: builds.deliveries("0" * 16),
            lambda: builds.redeliver("0" * 16, "msg_1"),
            lambda: builds.get("0" * 16),
            lambda: builds.cancel("0" * 16, "ann"),
            lambda: builds.read_log("0" * 16, 0, 10),
        ):
            with pytest.raises(NotFoundError):
                call()

    def test_pages_and_filters(self, builds: Builds) -> None:
        ids = [
            builds.submit(replace(REQUEST, labels={"n": str(n)}), "ann")[0].build.id
            for n in range(3)
        ]
        builds.submit(REQUEST, "bob")
        page = builds.list(ListQuery(owner="ann", limit=2))
        assert [view.build.id for view in page.builds] == [ids[2], ids[1]]
        rest = builds.list(ListQuery(owner="ann", limit=2, cursor=page.next_cursor))
        assert [view.build.id for view in rest.builds] == [ids[0]]
        assert rest.next_cursor is None
        labelled = builds.list(ListQuery(label=("n", "1"))).builds
        assert [view.build.id for view in labelled] == [ids[1]]
        with pytest.raises(InvalidInputError):
            builds.list(ListQuery(cursor="forged"))

    def test_a_watch_wakes_when_the_build_changes(self, builds: Builds) -> None:
        view, _ = builds.submit(REQUEST, "ann")
        with builds.watch(view.build.id) as watch:
            watch.wait(0.3)
            assert not watch.wait(0.05)
            builds.cancel(view.build.id, "ann")
            assert watch.wait(5.0)

    def test_a_log_that_has_not_begun_is_empty(self, builds: Builds) -> None:
        view, _ = builds.submit(REQUEST, "ann")
        assert builds.read_log(view.build.id, 0, 100) == b""


class TestService(BuildsContract):
    """The real service on SQLite."""

    @pytest.fixture
    def builds(self, tmp_path: Path) -> Iterator[Builds]:
        announcer = Announcer((Secret("https://hooks.example.org/t0ken"),))
        bench = Bench(tmp_path, announce=announcer.deliveries_of)
        yield bench.service
        bench.close()


class TestDouble(BuildsContract):
    """The double of the API's tests."""

    @pytest.fixture
    def builds(self) -> Iterator[Builds]:
        yield MemoryBuilds()  # noqa: PT022 (the contract's fixtures are iterators)
