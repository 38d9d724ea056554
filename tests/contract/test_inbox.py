"""What followers accept is stored whole, and taken by the leader once."""

from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder_framework import codec
from builder_framework.domain import dedupe
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build, Dedupe
from builder_framework.domain.states import State
from builder_framework.errors import ConflictError, NotFoundError, StaleWriteError
from builder_framework.ports import Idempotency
from builder_framework.protocol import Reason, Report
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.store import tables as t
from builder_framework.store.base import CANCEL, JOINED, SUBMITTED, Change
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build
from tests.contract.conftest import Open

KEY = Idempotency("k", "f" * 64)


def test_a_submission_is_a_build_and_a_row_for_the_leader(store: SqlStore, opened: Open) -> None:
    one, two = build("b"), build("a", owner="you")
    for each in (one, two):
        assert opened().submit(each, None) == (each, True)
    assert store.unfinished() == [one, two]
    found = [(item.kind, item.build_id, item.by, item.at) for item in store.inbox(10)]
    assert found == [(SUBMITTED, each.id, each.owner, each.created_at) for each in (one, two)]
    assert [item.build_id for item in store.inbox(1)] == [one.id]


def test_a_key_is_one_build_whoever_takes_it(store: SqlStore, opened: Open) -> None:
    mine, theirs = build("a"), build("b")
    store.apply([Change(mine, keys=(KEY,))])
    follower = opened()
    assert follower.submit(theirs, KEY) == (mine, False)
    assert follower.submit(replace(theirs, owner="you"), KEY)[1]
    assert [item.build_id for item in store.inbox(10)] == [theirs.id]
    with pytest.raises(ConflictError, match=f"'k' was used for another request: build {mine.id}"):
        follower.submit(build("c"), Idempotency("k", "0" * 64))


def test_a_key_is_one_build_however_many_use_it_at_once(opened: Open) -> None:
    followers = [opened() for _ in range(4)]
    builds = [build(f"{number:016}") for number in range(12)]
    with ThreadPoolExecutor(len(builds)) as pool:
        calls = [
            pool.submit(followers[number % 4].submit, each, KEY)
            for number, each in enumerate(builds)
        ]
        answers = [call.result() for call in calls]
    (made,) = {stored.id for stored, _ in answers}
    assert sum(fresh for _, fresh in answers) == 1
    assert [item.build_id for item in followers[0].inbox(100)] == [made]
    assert [each.id for each in followers[0].unfinished()] == [made]


def test_a_row_goes_with_the_change_it_asked_for(store: SqlStore, opened: Open) -> None:
    one = build("a")
    follower = opened()
    follower.submit(one, None)
    follower.ask_cancel(one.id, "ann", 7.0)
    submitted, cancel = store.inbox(10)
    assert (cancel.kind, cancel.build_id, cancel.by, cancel.at) == (CANCEL, one.id, "ann", 7.0)
    placed = after(one, ev.Placed(PLACEMENT))
    store.apply([Change(placed, one)], taken=(submitted.seq,))
    assert store.inbox(10) == [cancel]
    with pytest.raises(StaleWriteError):
        store.apply([Change(after(one, ev.CancelRequested("ann")), one)], taken=(cancel.seq,))
    assert store.inbox(10) == [cancel]
    store.apply([], taken=(cancel.seq,))
    assert store.inbox(10) == []


def test_what_is_not_there_cannot_be_cancelled(store: SqlStore) -> None:
    with pytest.raises(NotFoundError):
        store.ask_cancel("0" * 16, "ann", 1.0)
    assert store.inbox(10) == []


def wanting(name: str, owner: str = "me", token: str = "", **changes: object) -> Build:
    """A build that others may have; they are all the same but for what `changes`."""
    made = build(name, owner=owner)
    git = GitSource("https://git.example.org/app.git", "0" * 40, "me", Secret(f"secret {token}"))
    request = replace(made.request, source=Source(git), dedupe=Dedupe.RUNNING)
    return replace(made, request=replace(request, **changes))  # type: ignore[arg-type]


def test_the_same_again_is_the_build_that_is_there(store: SqlStore, opened: Open) -> None:
    mine, again = wanting("a"), wanting("b", labels={"another": "one"})
    store.apply([Change(mine)])
    follower = opened()
    assert follower.submit(again, None) == (mine, False)
    assert [(item.kind, item.build_id) for item in store.inbox(10)] == [(JOINED, mine.id)]
    assert follower.same(again.request, "me") == mine


@pytest.mark.parametrize(
    "other",
    [
        wanting("b", owner="you"),
        wanting("b", token="another"),
        wanting("b", images=("other:1",)),
    ],
)
def test_something_else_is_another_build(store: SqlStore, opened: Open, other: Build) -> None:
    store.apply([Change(wanting("a"))])
    assert opened().same(other.request, other.owner) is None
    assert opened().submit(other, None) == (other, True)


def test_when_the_one_that_is_there_does_not_do_the_new_one_is_found(
    store: SqlStore, opened: Open
) -> None:
    mine = wanting("a")
    store.apply([Change(mine)])
    store.apply([Change(after(mine, ev.CancelRequested("me")), mine)])
    again = wanting("b")
    assert opened().submit(again, None) == (again, True)
    assert store.same(mine.request, "me") == again


def test_a_finished_one_is_found_within_its_window(store: SqlStore, opened: Open) -> None:
    mine = wanting("a", dedupe=Dedupe.FINISHED)
    done = after(mine, ev.Placed(PLACEMENT), ev.TaskSucceeded(1, Report(digest="sha256:1")))
    store.apply([Change(done)])
    again = replace(wanting("b", dedupe=Dedupe.FINISHED), created_at=50.0)
    assert opened().submit(again, None, (), 60.0) == (done, False)
    assert opened().submit(again, None, (), 10.0) == (again, True)


def test_nothing_of_a_secret_can_be_guessed_from_what_is_stored(store: SqlStore) -> None:
    """Without the key a digest is no way to try passwords."""
    mine = wanting("a")
    store.apply([Change(mine)])
    with store.reading() as connection:
        (kept,) = connection.execute(sa.select(t.identities.c.digest)).scalars()
    plain = json.dumps(codec.to_jsonable(dedupe.essence(mine.request)), separators=(",", ":"))
    assert kept != hashlib.sha256(plain.encode()).hexdigest()
    assert len(kept) == 64


def test_whoever_takes_a_tag_ends_what_an_older_build_does_for_others(
    store: SqlStore, opened: Open
) -> None:
    """`app:1` is no longer what the older one made: to say so would be a lie."""
    mine = wanting("a", dedupe=Dedupe.FINISHED)
    done = after(mine, ev.Placed(PLACEMENT), ev.TaskSucceeded(1, Report(digest="sha256:1")))
    elsewhere = build("b", image="elsewhere")
    store.apply([Change(done), Change(elsewhere)])
    assert store.same(mine.request, "me") == done
    theirs = build("c", owner="you", git="fork")
    assert set(theirs.request.images) == set(mine.request.images)
    opened().submit(theirs, None)
    assert store.same(mine.request, "me") is None
    back = replace(wanting("d", dedupe=Dedupe.FINISHED), created_at=2.0)
    assert opened().submit(back, None, (), 60.0) == (back, True)


def test_nobody_joins_what_somebody_has_asked_to_end(store: SqlStore, opened: Open) -> None:
    """The leader has not heard of it yet."""
    mine = wanting("a")
    store.apply([Change(mine)])
    opened().ask_cancel(mine.id, "me", 2.0)
    assert store.same(mine.request, "me") is None
    again = wanting("b")
    assert opened().submit(again, None) == (again, True)


def test_nobody_joins_what_a_newer_one_ends(store: SqlStore, opened: Open) -> None:
    mine = wanting("a")
    store.apply([Change(mine)])
    newer = replace(build("b", image="elsewhere"), supersedes=("0" * 16, mine.id))
    opened().submit(newer, None)
    again = wanting("c")
    assert opened().submit(again, None) == (again, True)


def test_a_key_stands_for_the_build_that_was_foundfor_it(store: SqlStore, opened: Open) -> None:
    """An answer that got lost is asked for again, and whatever happened meanwhile is the same."""
    mine = wanting("a")
    store.apply([Change(mine)])
    assert opened().submit(wanting("b"), KEY) == (mine, False)
    other = Idempotency("k2", "f" * 64)
    ended = after(mine, ev.CancelRequested("me"))
    store.apply([Change(ended, mine, (other,))])
    for key in (KEY, other):
        assert opened().submit(wanting("c"), key) == (ended, False)
        with pytest.raises(ConflictError):
            opened().submit(wanting("c"), Idempotency(key.key, "0" * 64))
    assert [item.kind for item in store.inbox(10)] == [JOINED]


@dataclass(frozen=True)
class Step:
    """A request for a commit under some tags or, with `end`, what becomes of a commit's builds."""

    commit: str
    tags: frozenset[str]
    wish: Dedupe
    end: str


STEPS = st.builds(
    Step,
    st.sampled_from("abc"),
    st.frozensets(st.sampled_from("12"), min_size=1),
    st.sampled_from(Dedupe),
    st.sampled_from(["", "", "done", "failed", "asked"]),
)


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(STEPS, max_size=12))
def test_no_tag_is_left_behind_whatever_is_asked_for(store: SqlStore, history: list[Step]) -> None:
    """Who asks for a commit gets that commit, and no build after his has one of the tags."""
    app = uuid.uuid4().hex
    accepted: list[Build] = []
    for number, step in enumerate(history):
        if step.end:
            _end(store, [build for build in accepted if _commit(build) == step.commit], step.end)
            continue
        images = tuple(f"registry.example.org/{app}:{tag}" for tag in sorted(step.tags))
        source = Source(GitSource("https://git.example.org/app.git", step.commit * 40))
        asked = wanting(f"{number:x}{app[:15]}", images=images, dedupe=step.wish)
        asked = replace(asked, request=replace(asked.request, source=source))
        found, fresh = store.submit(asked, None, (), 1e9)
        assert fresh is (found == asked)
        if fresh:
            accepted.append(found)
            continue
        assert (_commit(found), found.request.images) == (step.commit, images)
        assert Dedupe.OFF not in (step.wish, found.request.dedupe)
        later = accepted[[each.id for each in accepted].index(found.id) + 1 :]
        assert not any(dedupe.retags(each, asked.request) for each in later)
        assert found.state is State.SUCCEEDED or not found.terminal
        assert CANCEL not in {i.kind for i in store.inbox(1000) if i.build_id == found.id}


def _commit(one: Build) -> str:
    ref = one.request.source.ref
    assert ref is not None
    return ref[0]


def _end(store: SqlStore, builds: list[Build], how: str) -> None:
    for before in map(store.get, [each.id for each in builds]):
        if before.terminal or how == "asked":
            store.ask_cancel(before.id, "me", 1.0)
            continue
        end = (
            ev.TaskSucceeded(1, Report(digest="sha256:1"))
            if how == "done"
            else ev.TaskFailed(1, Reason.STEP_FAILED, "no")
        )
        store.apply([Change(after(before, ev.Placed(PLACEMENT), end), before)])
