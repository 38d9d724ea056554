"""What lists have in common: all of it, in falling order, with a limited number of pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.store import search, streams
from builder_framework.store.streams import BEGIN, Budget, Fetch, Stream, meet

numbers = st.sets(st.integers(0, 300), max_size=120)


def fetch(listed: set[int], calls: list[tuple[int, int]] | None = None, piece: int = 3) -> Fetch:
    """Pieces as a database gives them, smaller ones."""

    def pieces(below: int, limit: int) -> tuple[Sequence[int], bool]:
        if calls is not None:
            calls.append((below, limit))
        found = sorted((n for n in listed if n < below), reverse=True)[:piece]
        return found, len(found) < piece

    return pieces


def whole(lists: Sequence[set[int]], budget: int, want: int) -> list[int]:
    """Page after page, each with a budget of its own."""
    found: list[int] = []
    below: int | None = BEGIN
    for _ in range(2000):
        spent = Budget(budget)
        page, below = meet([Stream(fetch(each), spent) for each in lists], below or 0, want)
        assert len(page) <= want
        found += page
        if below is None:
            return found
    raise AssertionError("the pages do not end")


@given(st.lists(numbers, min_size=1, max_size=4), st.integers(1, 3000), st.integers(1, 20))
def test_pages_have_all_that_lists_have_in_common(
    lists: list[set[int]], budget: int, want: int
) -> None:
    assert whole(lists, budget, want) == sorted(set.intersection(*lists), reverse=True)


def test_lists_that_never_meet_cost_a_page_its_pieces_and_no_more() -> None:
    odd, even = set(range(1, 100_000, 2)), set(range(0, 100_000, 2))
    calls: list[tuple[int, int]] = []
    budget = Budget(5000)
    both = [Stream(fetch(each, calls), budget) for each in (odd, even)]
    found, below = meet(both, BEGIN, 50)
    assert found == []
    assert sum(limit + streams.SEEK for _, limit in calls) < 5000 + streams.PIECES[2] + streams.SEEK
    assert below is not None
    assert 99_000 < below < 100_000, "the next page goes on there"


def test_a_rare_list_leads_through_a_common_one() -> None:
    common, rare = set(range(100_000)), {5, 50_000, 99_999}
    calls: list[tuple[int, int]] = []
    budget = Budget(8192)
    met, below = meet(
        [Stream(fetch(common, calls, piece=100), budget), Stream(fetch(rare), budget)], BEGIN, 50
    )
    assert (met, below) == ([99_999, 50_000, 5], None)
    assert len(calls) == 3, "it is read where the rare one is, not from end to end"


def pieces_of(lists: list[set[int]]) -> list[int]:
    """How many numbers were asked for of the first list, each time."""
    calls: list[tuple[int, int]] = []

    def whole_pieces(below: int, limit: int) -> tuple[Sequence[int], bool]:
        return fetch(lists[0], calls, piece=limit)(below, limit)

    budget = Budget(10**9)
    others = [Stream(fetch(each), budget) for each in lists[1:]]
    meet([Stream(whole_pieces, budget), *others], BEGIN, 10**6)
    return [limit for _, limit in calls]


def test_pieces_grow_where_a_list_is_read_through() -> None:
    assert pieces_of([set(range(3000))])[:4] == [128, 512, 512, 512]


def test_pieces_are_small_where_it_is_leapt_over() -> None:
    sizes = pieces_of([set(range(100_000)), set(range(0, 100_000, 5000))])
    assert sizes[0] == 128
    assert set(sizes[2:-1]) == {16}
    assert len(sizes) < 25


@given(st.lists(numbers, min_size=1, max_size=5), st.integers(1, 10), st.integers(0, 310))
def test_several_values_are_one_list_as_far_as_none_is_missing(
    parts: list[set[int]], limit: int, below: int
) -> None:
    rows = [
        (part, number)
        for part, listed in enumerate(parts)
        for number in sorted((n for n in listed if n < below), reverse=True)[:limit]
    ]
    merged, last = search.merged(rows, limit)
    every = sorted({n for listed in parts for n in listed if n < below}, reverse=True)
    assert list(merged) == every[: len(merged)]
    assert last == (len(merged) == len(every)) or (not last and len(merged) >= limit)
    if not last:
        assert len(merged) >= limit


def test_a_budget_that_is_spent_says_so() -> None:
    budget = Budget(100)
    budget.spend(40)
    budget.spend(1, first=True)
    with pytest.raises(streams.SpentError):
        budget.spend(1)
