"""What must hold for every build once all is over. Pure: the evidence is gathered elsewhere."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tests.chaos.orders import LINES, Kind, Order
from tests.integration.harness import TERMINAL, Json

_PUT = re.compile(
    r'\[(?P<at>[^]]+)\] "PUT /v2/(?P<name>[^ ]+)/manifests/(?P<tag>[^ ?:]+) HTTP/1\.1" 201 '
)
STARTED_AFRESH = "exit code 70"
"""What a process says that wants to be started again (EX_SOFTWARE)."""
_LOGGED_AT = "%d/%b/%Y:%H:%M:%S %z"


class Fault(enum.Enum):
    """What a promise can be broken by; the counters of the last line."""

    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong"
    LEFTOVER = "leftovers"


@dataclass(frozen=True)
class Complaint:
    """One broken promise, of one build or of the cluster."""

    fault: Fault
    sentence: str

    def __str__(self) -> str:
        return f"{self.fault.value}: {self.sentence}"


@dataclass(frozen=True)
class Put:
    """The registry took a manifest under a tag. `at`: seconds since the epoch, whole ones."""

    name: str
    tag: str
    at: float


def puts(access_log: Iterable[str]) -> list[Put]:
    """What a Docker registry's access log says was tagged, in order."""
    found = []
    for line in access_log:
        if (match := _PUT.search(line)) is not None:
            at = datetime.strptime(match["at"], _LOGGED_AT).astimezone().timestamp()
            found.append(Put(match["name"], match["tag"], at))
    return found


@dataclass(frozen=True)
class Evidence:
    """`tags`: the digest that the registry gives each of the build's tags, None for no such tag.

    `ids`: every build that the framework made for this order. `told`: its state by who else says.
    """

    build: Json
    tags: Mapping[str, str | None]
    puts: tuple[Put, ...]
    log: str
    ids: tuple[str, ...]
    told: Mapping[str, str] = field(default_factory=dict)


def judge(order: Order, seen: Evidence) -> list[Complaint]:
    """Every promise that was broken to whoever ordered this build."""
    if order.build_id is None:
        return [Complaint(Fault.WRONG, f"{_named(order)} was never accepted")]
    if order.forgotten_by is not None:
        return [Complaint(Fault.LOST, f"{_named(order)} was unknown to {order.forgotten_by}")]
    if seen.build["state"] not in TERMINAL:
        return [Complaint(Fault.LOST, f"{_named(order)} is {seen.build['state']}")]
    complaints = [*_doubled(order, seen), *_end(order, seen), *_registry(order, seen)]
    complaints += _told(order, seen)
    if seen.build["state"] == "SUCCEEDED":
        complaints += _log(order, seen)
    return complaints


def _named(order: Order) -> str:
    return f"{order.kind.name} {order.build_id} ({order.name})"


def _doubled(order: Order, seen: Evidence) -> list[Complaint]:
    complaints = []
    for tag in order.tags:
        times = sum(put.tag == tag for put in seen.puts)
        if times > 1:
            complaints.append(
                Complaint(Fault.DOUBLED, f"{_named(order)}: tag {tag} was put {times} times")
            )
    if len(seen.ids) > 1:
        complaints.append(Complaint(Fault.DOUBLED, f"{_named(order)} became {', '.join(seen.ids)}"))
    return complaints


def _expected(order: Order) -> set[tuple[str, str | None]]:
    if order.kind is Kind.BAD:
        return {("FAILED", "step_failed")}
    if order.cancel_asked:  # whose answer may have been lost
        return {("SUCCEEDED", None), ("CANCELLED", "cancelled")}
    return {("SUCCEEDED", None)}


def _end(order: Order, seen: Evidence) -> list[Complaint]:
    build = seen.build
    complaints = []
    if order.first_end not in (None, build["state"]):
        sentence = f"{_named(order)} ended {order.first_end} first, then {build['state']}"
        complaints.append(Complaint(Fault.DOUBLED, sentence))
    if (build["state"], build["reason"]) not in _expected(order):
        sentence = f"{_named(order)} ended {build['state']} {build['reason']}: {build['message']}"
        complaints.append(Complaint(Fault.WRONG, sentence))
    return complaints


def _told(order: Order, seen: Evidence) -> list[Complaint]:
    """All processes and the database tell the same."""
    state = seen.build["state"]
    return [
        Complaint(Fault.WRONG, f"{_named(order)} is {state}, but {other} by {who}")
        for who, other in seen.told.items()
        if other != state
    ]


def _registry(order: Order, seen: Evidence) -> list[Complaint]:
    """The record and the registry tell the same."""
    build = seen.build
    if build["state"] == "SUCCEEDED":
        digest = build["result"]["digest"]
        wrong = {
            tag: found for tag, found in seen.tags.items() if digest is None or found != digest
        }
        return [
            Complaint(Fault.WRONG, f"{_named(order)}: tag {tag} is {found}, not {digest}")
            for tag, found in wrong.items()
        ]
    if build["state"] == "CANCELLED":
        # Seconds in the access log are whole ones, rounded down.
        late = [put for put in seen.puts if put.at > timestamp(build["ended_at"])]
        return [
            Complaint(Fault.WRONG, f"{_named(order)}: tag {put.tag} was put after its end")
            for put in late
        ]
    return [
        Complaint(Fault.WRONG, f"{_named(order)} failed, and its tag {tag} is there")
        for tag, found in seen.tags.items()
        if found is not None
    ]


def timestamp(text: str) -> float:
    """Seconds since the epoch of a time in an answer of the API."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _log(order: Order, seen: Evidence) -> list[Complaint]:
    """Nothing of the log is there twice, and nothing is missing of what made the image.

    Not of the last attempt: it may have found the step in the cache of an earlier one.
    """
    wanted = range(1, LINES.get(order.kind, 0) + 1)
    counts = [
        [len(re.findall(rf" line {n}$", attempt, re.MULTILINE)) for n in wanted]
        for attempt in re.split(r"^== Attempt \d+", seen.log, flags=re.MULTILINE)
    ]
    if any(all(each) for each in counts) and all(n <= 1 for each in counts for n in each):
        return []
    return [Complaint(Fault.WRONG, f"{_named(order)}: its log has its lines so often: {counts}")]


def unexpected(deaths: Iterable[str]) -> list[Complaint]:
    """A framework may end only to be started afresh; any other end of its own is a defect."""
    return [
        Complaint(Fault.WRONG, f"a framework, by itself: {death}")
        for death in deaths
        if death != STARTED_AFRESH
    ]
