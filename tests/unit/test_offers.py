"""What agents offer, and what constraints say of them."""

from __future__ import annotations

import pytest

from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Offer, compile_pattern, merge, satisfies, value_of
from builder_framework.errors import InvalidValueError

pytestmark = pytest.mark.domain

AGENT = Offer(
    id="o1",
    agent_id="a1",
    hostname="a1.example.org",
    agent_url="http://10.0.0.1:5051",
    resources=Resources(4.0, 4096.0, 1000.0),
    attributes={"rack": "a", "ssd": "true"},
)


def meets(constraint: Constraint, offer: Offer = AGENT) -> bool:
    return satisfies(constraint, value_of(constraint.attribute, offer))


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (("rack", "EQUALS", "a"), True),
        (("rack", "CLUSTER", "a"), True),
        (("rack", "IS", "b"), False),
        (("rack", "LIKE", "a|b"), True),
        (("rack", "LIKE", "[b-z]"), False),
        (("ssd", "LIKE", "tru"), False),  # the whole value has to match
        (("rack", "UNLIKE", "b.*"), True),
        (("hostname", "LIKE", r"a\d+\.example\.org"), True),
        (("zone", "EQUALS", "a"), False),
        (("zone", "LIKE", ".*"), False),
        (("zone", "UNLIKE", "a"), True),
    ],
)
def test_constraints_mean_what_marathon_says(
    constraint: tuple[str, str, str], expected: bool
) -> None:
    """A missing attribute fails everything but UNLIKE."""
    assert meets(Constraint(*constraint)) is expected


def test_a_hostile_pattern_takes_no_time() -> None:
    """A backtracking engine would be busy with this one until the sun burns out."""
    assert not satisfies(Constraint("hostname", "LIKE", "(a+)+$b"), "a" * 200)
    with pytest.raises(InvalidValueError, match="RE2"):
        compile_pattern("(a")


def test_offers_of_one_agent_are_one() -> None:
    other = Offer("o2", "a2", "a2", "http://10.0.0.2:5051", Resources(1.0))
    again = Offer("o3", "a1", "a1.example.org", AGENT.agent_url, Resources(1.0, 4.0))
    first, second = merge([AGENT, other, again])
    assert [offer.id for offer in first.offers] == ["o1", "o3"]
    assert first.resources == Resources(5.0, 4100.0, 1000.0)
    assert second.first is other
