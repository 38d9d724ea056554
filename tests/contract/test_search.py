"""Builds are found by filters and words, all of them, whatever they are combined with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from builder_framework.domain import events as ev
from builder_framework.domain import words
from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.ports import ListQuery
from builder_framework.protocol import Outcome, Phase, Report
from builder_framework.recipe import GitSource, RegistryAuth, Source
from builder_framework.redact import Secret
from builder_framework.store import search, tables
from builder_framework.store.base import Change
from builder_framework.store.retention import SqlRetention
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build

COMMITS = ("c0ffee" + "0" * 34, "badcafe" + "1" * 33)


def asked(name: str, number: int = 0, **changes: Any) -> Build:
    """A build of shop `name`."""
    made = build(f"{name}{number}-" if number else f"{name}-")
    own: dict[str, Any] = {
        "source": Source(GitSource(f"https://git.example.org/shop/{name}.git", "main")),
        "images": (f"registry.example.org/shop/{name}:v{number}",),
        "labels": {"team": "web"},
        **changes,
    }
    return replace(made, request=replace(made.request, **own))


def stored(store: SqlStore, *builds: Build) -> None:
    store.apply([Change(each) for each in builds])


def found(store: SqlStore, **query: Any) -> list[str]:
    """Ids as far as tests choose them, of all pages."""
    ids: list[str] = []
    cursor = None
    for _ in range(200):
        page, cursor = store.list(ListQuery(**query, cursor=cursor))
        ids += [each.id.rstrip("0").rstrip("-") for each in page]
        if cursor is None:
            return ids
    raise AssertionError("the pages do not end")


def sought(store: SqlStore, text: str, **query: Any) -> list[str]:
    return found(store, search=words.parse(text), **query)


def indexed(store: SqlStore) -> dict[int, set[str]]:
    """The words of each build, by its number, as they are stored."""
    rows: dict[int, set[str]] = {}
    with store.reading() as connection:
        for row in connection.execute(sa.select(tables.words)):
            rows.setdefault(row.seq, set()).add(row.word)
    return rows


def is_exact(store: SqlStore) -> bool:
    """Whether the words that are stored are those of the builds that are there."""
    with store.reading() as connection:
        numbers = dict(connection.execute(sa.select(tables.builds.c.id, tables.builds.c.seq)).all())
    return indexed(store) == {seq: set(words.of(store.get(id_))) for id_, seq in numbers.items()}


def test_by_words_from_the_moment_it_is_stored(store: SqlStore) -> None:
    stored(store, asked("till"), asked("web"), asked("website"))
    assert sought(store, "web") == ["website", "web", "till"], "the label of till is a beginning"
    assert sought(store, "websi") == ["website"]
    assert sought(store, "SHOP till") == ["till"]
    assert sought(store, "till websi") == []
    assert sought(store, "nothing") == []
    assert is_exact(store)


def test_by_what_it_learns_and_no_more_by_what_was_not_so(store: SqlStore) -> None:
    fresh = asked("web")
    stored(store, fresh)
    placed = after(fresh, ev.Placed(replace(PLACEMENT, hostname="node-7.example.org")))
    first = after(placed, ev.TaskProgressed(1, Report(Phase.BUILDING, commit=COMMITS[0])))
    second = after(first, ev.TaskProgressed(1, Report(Phase.BUILDING, commit=COMMITS[1])))
    report = Report(
        Phase.PUSHING, Outcome.SUCCEEDED, commit=COMMITS[1], digest=f"sha256:{'d' * 64}"
    )
    done = after(second, ev.TaskSucceeded(1, report))
    before = fresh
    for now, text, expected in (
        (placed, "node", ["web"]),
        (first, "c0ffee", ["web"]),
        (second, "c0ffee", []),
        (second, "badcafe", ["web"]),
        (done, "dddddddd node", ["web"]),
    ):
        if now is not before:
            store.apply([Change(now, before)])
        assert sought(store, text) == expected, text
        assert is_exact(store)
        before = now


def test_secrets_are_no_words(store: SqlStore) -> None:
    login = RegistryAuth("ci", Secret("canary"))
    stored(store, asked("web", registry_auth=login, labels={"note": "the canary sings"}))
    assert sought(store, "canary") == []
    assert sought(store, "sings") == ["web"]


QUERIES: Sequence[tuple[dict[str, Any], list[str]]] = [
    ({"states": (State.CANCELLED, State.QUEUED), "owner": "me"}, ["c1", "b1", "a1"]),
    ({"states": (State.CANCELLED,), "image": "registry.example.org/shop/a:v1"}, ["a1"]),
    ({"states": (State.QUEUED,), "label": ("team", "web")}, ["c1", "b1"]),
    ({"label": ("team", "web"), "git_url": "https://git.example.org/shop/b.git"}, ["b1"]),
    ({"label": ("team", "api"), "owner": "me"}, []),
    ({"project": "till", "visible": ("till", "shop")}, ["c1"]),
    ({"project": "till", "visible": ("shop",)}, []),
    ({"visible": ("shop", "till")}, ["c1", "b1"]),
    ({"visible": ()}, []),
    ({"visible": tuple(f"p{n}" for n in range(300))}, []),
    ({"visible": ("shop", *(f"p{n}" for n in range(300)))}, ["b1"]),
    ({"search": ("shop",), "visible": ("till",)}, ["c1"]),
    ({"search": ("shop", "main"), "states": (State.QUEUED,), "owner": "me"}, ["c1", "b1"]),
    ({"search": ("v1",), "label": ("team", "web"), "project": "shop"}, ["b1"]),
]


def test_filters_and_words_together(store: SqlStore) -> None:
    first = asked("a", 1)
    stored(store, first, asked("b", 1, project="shop"), asked("c", 1, project="till"))
    store.apply([Change(after(first, ev.CancelRequested("ann")), first)])
    for query, expected in QUERIES:
        for limit in (1, 2, 50):
            assert found(store, **query, limit=limit) == expected, query


def test_a_label_is_found_by_all_of_its_value(store: SqlStore) -> None:
    """More of it than any index takes."""
    stored(
        store,
        asked("a", labels={"note": "x" * 30_000 + "a"}),
        asked("b", labels={"note": "x" * 30_000 + "b"}),
        asked("c", labels={"note": "x\0é"}),
    )
    assert found(store, label=("note", "x" * 30_000 + "a")) == ["a"]
    assert found(store, label=("note", "x" * 100)) == []
    assert found(store, label=("note", "x\0é")) == ["c"]


def test_words_that_many_begin_like(store: SqlStore) -> None:
    """More of them than one list takes: builds are looked at instead."""
    many = [asked(f"w{number:03}x") for number in range(search.FAMILY + 20)]
    stored(store, *many, asked("y", labels={"w": "w"}), asked("z", labels={}))
    ids = [each.id.rstrip("0").rstrip("-") for each in reversed(many)]
    assert sought(store, "w", limit=200) == ["y", *ids]
    assert sought(store, "w", limit=7) == ["y", *ids]
    assert sought(store, "w00") == [each for each in ids if each.startswith("w00")]
    assert sought(store, "w w00", label=("team", "web")) == [i for i in ids if i.startswith("w00")]


def test_a_page_looks_at_a_limited_number_of_builds(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page may then be empty; the cursor goes on from there."""
    monkeypatch.setattr(search, "FAMILY", 3)
    monkeypatch.setattr(search, "LOOKED_AT", 10)
    stored(store, asked("wanted", labels={"a": "x1y", "b": "x2y", "c": "x3y", "d": "x4y"}))
    stored(store, *(asked("other", number) for number in range(300)))
    page, cursor = store.list(ListQuery(search=("x",)))
    assert (page, cursor is None) == ([], False)
    assert sought(store, "x") == ["wanted"]


def test_filters_that_never_meet_end_nevertheless(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "NUMBERS", 200)
    monkeypatch.setattr("builder_framework.store.streams.PIECES", (2, 4, 8))
    for number in range(60):
        made = asked("b", number, project=None if number % 2 else "p")
        stored(store, replace(made, owner="odd" if number % 2 else "even"))
    page, cursor = store.list(ListQuery(owner="odd", project="p"))
    assert (page, cursor is None) == ([], False)
    assert found(store, owner="odd", project="p") == []
    assert len(found(store, owner="even", project="p", limit=7)) == 30


def test_builds_that_are_removed_leave_no_words(store: SqlStore) -> None:
    old, young = asked("old"), asked("young")
    stored(store, old, young)
    over = after(old, ev.CancelRequested("ann"), ev.LogCompleted())
    store.apply([Change(over, old)])
    assert SqlRetention(store, lambda _: None).remove_builds(1e9) == 1
    assert sought(store, "old") == []
    assert sought(store, "young") == ["young"]
    assert is_exact(store)
