"""The builds that are asked for: what kinds there are, and what each of them must become."""

from __future__ import annotations

import base64
import contextlib
import enum
import random
import uuid
from dataclasses import dataclass, field

import requests

from devcluster import Cluster
from tests.integration.harness import TERMINAL, Framework, Json
from tests.unit.receivers import Receiver

CALL_SECONDS = 5.0
"""How long a call may take before it is made again: the framework may be frozen."""


class Kind(enum.Enum):
    """A build's nature; the value is its Dockerfile after the base image."""

    GOOD = "RUN for n in 1 2 3; do echo line $n; done"
    TAGS = "RUN echo several tags"
    SLOW = "RUN for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 1; done"
    LONG = "RUN echo it takes long; sleep 30"
    BAD = "RUN echo this goes wrong; exit 3"
    CANCELLED = "RUN echo to be cancelled; sleep 30"


LINES = {Kind.GOOD: 3, Kind.SLOW: 8}
"""How many lines `line N` the build's log must have, each once."""

_TAGS = {Kind.TAGS: ("1", "2", "latest")}
_WEIGHTS = {Kind.GOOD: 5, Kind.TAGS: 2, Kind.SLOW: 3, Kind.BAD: 1, Kind.CANCELLED: 2}


def kinds(rng: random.Random, count: int) -> list[Kind]:
    """A mixture of `count` builds; LONG is for those who have to find it still running."""
    return rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()), k=count)


@dataclass(eq=False)
class Order:
    """One build as its customer sees it: it is asked for again until there is an answer.

    `cancel_after`: seconds from the answer to the wish to cancel.
    """

    kind: Kind
    url: str
    cancel_after: float = 0.0
    name: str = field(default_factory=lambda: f"c-{uuid.uuid4().hex[:12]}")
    build_id: str | None = None
    answered_at: float = 0.0
    cancel_asked: bool = False
    cancel_answered: bool = False
    first_end: str | None = None
    forgotten_by: str | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        return _TAGS.get(self.kind, ("1",))

    def submit(self, framework: Framework, now: float) -> None:
        """Ask once, with a key that makes asking again harmless."""
        images = [f"{framework.cluster.registry.address}/{self.name}:{tag}" for tag in self.tags]
        # Each has a step of its own, that no cache knows.
        body = framework.body(
            self.url, f"{self.name}:1", images=images, build_args={"NAME": self.name}, timeout=120
        )
        headers = {"Idempotency-Key": self.name}
        answer = call(framework, "POST", "/api/v1/builds", json=body, headers=headers)
        if answer is not None and answer.status_code < 500:
            assert answer.status_code == 202, answer.text
            self.build_id = answer.json()["id"]
            self.answered_at = now

    def cancel(self, framework: Framework) -> None:
        """Ask once; a refusal is an answer too: it was over before."""
        self.cancel_asked = True
        answer = call(framework, "POST", f"/api/v1/builds/{self.build_id}/cancel")
        if answer is not None and answer.status_code < 500:
            assert answer.status_code in (202, 409), answer.text
            self.cancel_answered = True

    def look(self, framework: Framework) -> Json | None:
        """The build as it is now, or None when nobody answers.

        The first end that was seen is remembered, and who did not know of the build.
        """
        answer = call(framework, "GET", f"/api/v1/builds/{self.build_id}")
        if answer is None or answer.status_code not in (200, 404):
            return None
        if answer.status_code == 404:
            # Whoever was answered with 202 may ask any process, and at once.
            self.forgotten_by = framework.url
            return {"state": "UNKNOWN"}
        build: Json = answer.json()
        if build["state"] in TERMINAL and self.first_end is None:
            self.first_end = build["state"]
        return build


def told(receiver: Receiver) -> dict[str, str]:
    """Settings of a framework that tells `receiver` of every build."""
    return {
        "BUILDER_WEBHOOKS": receiver.url,
        "BUILDER_WEBHOOK_SECRET": f"whsec_{base64.b64encode(b'chaos' * 6).decode()}",
    }


def call(
    framework: Framework, method: str, path: str, **options: object
) -> requests.Response | None:
    """One call; None when nobody answers."""
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return framework.call(method, path, timeout=CALL_SECONDS, **options)
    return None


def provide(cluster: Cluster) -> dict[Kind, str]:
    """A repository for each kind; their clone URLs."""
    return {
        kind: cluster.git.create_repository(
            f"chaos-{kind.name.lower()}",
            {
                "Dockerfile": f"FROM {cluster.base_image}\nARG NAME\nRUN echo $NAME > /name\n"
                f"{kind.value}\n"
            },
        )
        for kind in Kind
    }
