"""Who may do what, decided in one place."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from builder_framework.domain.access import (
    Action,
    Actor,
    Role,
    Subject,
    Verdict,
    decide,
    highest,
    lowest,
)

pytestmark = pytest.mark.domain

ALLOWED, FORBIDDEN, HIDDEN = Verdict.ALLOWED, Verdict.FORBIDDEN, Verdict.HIDDEN
MINE, THEIRS = Subject(None, "ann"), Subject(None, "bob")
MINE_THERE, THEIRS_THERE = Subject("shop", "ann"), Subject("shop", "bob")
SHOP = Subject("shop")

NONE, VIEWER, BUILDER, OPERATOR, ADMIN = Role


def may(role: Role, action: Action, subject: Subject | None = None, **projects: Role) -> Verdict:
    return decide(Actor("ann", role, projects), action, subject)


def test_each_role_may_do_what_those_before_it_may() -> None:
    for less, more in pairwise(Role):
        assert more.covers(less)
        assert more.covers(more)
        assert not less.covers(more)
    assert highest(VIEWER, ADMIN, NONE) is ADMIN
    assert lowest(VIEWER, ADMIN) is VIEWER


@pytest.mark.parametrize(
    ("action", "subject", "verdicts"),
    [
        # by role: none, viewer, builder, operator, admin
        (Action.OWN, None, (ALLOWED, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SEE, None, (FORBIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SEE, MINE, (HIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SEE, THEIRS, (HIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SUBMIT, None, (FORBIDDEN, FORBIDDEN, ALLOWED, ALLOWED, ALLOWED)),
        (Action.CHANGE, MINE, (HIDDEN, FORBIDDEN, ALLOWED, ALLOWED, ALLOWED)),
        (Action.CHANGE, THEIRS, (HIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED, ALLOWED)),
        (Action.WATCH, None, (FORBIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.OPERATE, None, (FORBIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED, ALLOWED)),
        (Action.ADMINISTER, None, (FORBIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED)),
        (Action.MANAGE, SHOP, (HIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED)),
    ],
)
def test_by_role_everywhere(
    action: Action, subject: Subject | None, verdicts: tuple[Verdict, ...]
) -> None:
    assert tuple(may(role, action, subject) for role in Role) == verdicts


@pytest.mark.parametrize(
    ("action", "subject", "verdicts"),
    [
        (Action.SEE, None, (FORBIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SEE, THEIRS_THERE, (HIDDEN, ALLOWED, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SEE, THEIRS, (HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN)),
        (Action.SUBMIT, None, (FORBIDDEN, FORBIDDEN, ALLOWED, ALLOWED, ALLOWED)),
        (Action.SUBMIT, SHOP, (HIDDEN, FORBIDDEN, ALLOWED, ALLOWED, ALLOWED)),
        (Action.CHANGE, MINE_THERE, (HIDDEN, FORBIDDEN, ALLOWED, ALLOWED, ALLOWED)),
        (Action.CHANGE, THEIRS_THERE, (HIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED, ALLOWED)),
        # Of the whole framework, only who has it everywhere.
        (Action.WATCH, None, (FORBIDDEN,) * 5),
        (Action.OPERATE, None, (FORBIDDEN,) * 5),
        (Action.ADMINISTER, None, (FORBIDDEN,) * 5),
        (Action.ADMINISTER, SHOP, (FORBIDDEN,) * 5),
        (Action.MANAGE, SHOP, (HIDDEN, FORBIDDEN, FORBIDDEN, FORBIDDEN, ALLOWED)),
    ],
)
def test_by_role_in_one_project(
    action: Action, subject: Subject | None, verdicts: tuple[Verdict, ...]
) -> None:
    """Whoever is nobody elsewhere."""
    assert tuple(may(NONE, action, subject, shop=role) for role in Role) == verdicts


def test_the_higher_of_both_roles_holds() -> None:
    assert may(VIEWER, Action.CHANGE, THEIRS_THERE, shop=OPERATOR) is ALLOWED
    assert may(OPERATOR, Action.CHANGE, THEIRS_THERE, shop=VIEWER) is ALLOWED
    assert may(VIEWER, Action.CHANGE, THEIRS, shop=OPERATOR) is FORBIDDEN


def test_whose_builds_are_listed() -> None:
    assert Actor("ann", VIEWER).visible is None
    assert Actor("ann", NONE, {"a": VIEWER, "b": NONE, "c": ADMIN}).visible == ("a", "c")


def test_a_token_gives_no_more_than_its_owner_has() -> None:
    ann = Actor("ann", OPERATOR, {"shop": ADMIN, "lab": VIEWER})
    both = {"shop": BUILDER, "lab": VIEWER}
    assert ann.limited(BUILDER, None, "t") == Actor("ann", BUILDER, both, "t")
    assert ann.limited(ADMIN, None, "t") == replace(ann, token="t")
    assert ann.limited(BUILDER, "shop", "t") == Actor("ann", NONE, {"shop": BUILDER}, "t")
    nobody = Actor("ann", NONE).limited(ADMIN, "shop", "t")
    assert nobody == Actor("ann", NONE, {"shop": NONE}, "t")
