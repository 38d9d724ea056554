"""What `/metrics` says of a run is what the API says happened in it, in every process."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import TERMINAL, Framework, until
from tests.unit.receivers import answers, receiving
from tests.unit.test_measures import Samples, samples, value

pytestmark = pytest.mark.integration

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = {"cpus": 64, "mem": 64}
PHASES = {"starting", "cloning", "building", "testing", "pushing"}


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Iterator[Framework]:
    """A framework of this test's own, whose history is only what happens here."""
    running = Framework(cluster, tmp_path, PORT + 8, {"BUILDER_WEBHOOK_SECRET": SECRET})
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def scraped(framework: Framework) -> Samples:
    answer = framework.call("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def labelled(found: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Samples of that name that are not 0, by the values of those labels."""
    return {
        tuple(dict(others)[label] for label in labels): number
        for (sample, others), number in found.items()
        if sample == name and number
    }


def moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def agrees_with_the_api(found: Samples, builds: list[dict[str, Any]]) -> None:
    """Every number that the database counts, from the builds as the API shows them."""
    over = [build for build in builds if build["state"] in TERMINAL]
    ends = Counter((build["state"].lower(), build["reason"] or "") for build in over)
    assert labelled(found, "builder_builds_ended_total", "state", "reason") == ends
    live = Counter((b["state"].lower(),) for b in builds if b["state"] not in TERMINAL)
    assert labelled(found, "builder_builds", "state") == live
    took: dict[tuple[str, ...], list[float]] = {}
    for build in over:
        outcome, asked = build["state"].lower(), moment(build["created_at"])
        took.setdefault((outcome,), []).append(moment(build["ended_at"]) - asked)
        parts = {k: v for k, v in build["result"]["timings"].items() if k in PHASES}
        if build["attempts"]:
            first, last = build["attempts"][0], build["attempts"][-1]
            parts["queued"] = moment(first["placed_at"]) - asked
            if last["running_at"]:
                parts["staging"] = moment(last["running_at"]) - moment(last["placed_at"])
        for phase, seconds in parts.items():
            took.setdefault((phase, outcome), []).append(seconds)
    for name, labels in (
        ("builder_build_duration_seconds", ("outcome",)),
        ("builder_build_phase_duration_seconds", ("phase", "outcome")),
    ):
        mine = {key: each for key, each in took.items() if len(key) == len(labels)}
        counts = {key: len(each) for key, each in mine.items()}
        assert labelled(found, f"{name}_count", *labels) == counts
        for key, each in mine.items():
            told = value(found, f"{name}_sum", **dict(zip(labels, key, strict=True)))
            # The API shows milliseconds.
            assert told == pytest.approx(sum(each), abs=0.002 * len(each)), key
        for le in (1.0, 5.0, 30.0, 120.0):
            below = {key: sum(s <= le for s in each) for key, each in mine.items()}
            buckets = labelled(found, f"{name}_bucket", "le", *labels)
            for key, number in below.items():
                near = any(abs(s - le) < 0.002 for s in mine[key])
                assert near or buckets.get((str(le), *key), 0) == number, (le, key)


def tries(framework: Framework, builds: list[dict[str, Any]]) -> Counter[tuple[str]]:
    counted: Counter[tuple[str]] = Counter()
    for build in builds:
        answer = framework.call("GET", build["links"]["deliveries"]).json()
        for delivery in answer["deliveries"]:
            for made in delivery["tries"]:
                counted["delivered" if made["error"] is None else "failed",] += 1
    return counted


def test_metrics_of_a_run_are_what_happened(own: Framework, cluster: Cluster, name: str) -> None:
    """Builds of each end, webhooks of each end, offers, requests, logs; then a restart, and another
    process that follows."""
    good = f"FROM {cluster.base_image}\nENV TEST={name}\n"
    bad = f"{good}RUN echo no && false\n"
    works = cluster.git.create_repository(name, {"Dockerfile": good})
    fails = cluster.git.create_repository(f"{name}-bad", {"Dockerfile": bad})
    with receiving(answers("200 OK")) as glad, receiving(answers("410 Gone")) as gone:
        own.settings["BUILDER_WEBHOOKS"] = f"{glad.url},{gone.url}"
        own.start()
        asked = [own.submit(works, f"{name}:{n}") for n in range(2)]
        asked += [
            own.submit(fails, f"{name}-bad:1"),
            own.submit(works, f"{name}:9", **_at(NOWHERE)),
        ]
        for build_id in asked[:3]:
            own.wait_for(build_id, lambda build: build["state"] in TERMINAL, "over")
        own.cancel(asked[3])
        waits = own.submit(works, f"{name}:10", **_at(NOWHERE))

        def quiet() -> bool:
            builds = own.call("GET", "/api/v1/builds").json()["builds"]
            done = all(build["log"]["complete"] or build["id"] == waits for build in builds)
            return done and value(scraped(own), "builder_webhooks_pending") == 0

        until(quiet, "logs or webhooks are not complete")
        for _ in range(7):
            own.call("GET", "/healthz")
        builds = own.call("GET", "/api/v1/builds").json()["builds"]
        sent = tries(own, builds)
        found = scraped(own)
    assert len(builds) == 5
    agrees_with_the_api(found, builds)
    ends = labelled(found, "builder_builds_ended_total", "state", "reason")
    assert ends == {
        ("succeeded", ""): 2,
        ("failed", "step_failed"): 1,
        ("cancelled", "cancelled"): 1,
    }
    tried = labelled(found, "builder_webhook_try_duration_seconds_count", "outcome")
    assert tried == {("delivered",): sent["delivered",], ("given_up",): sent["failed",]}
    assert sent["delivered",] > 0
    assert sent["failed",] > 0
    http = "builder_http_request_duration_seconds_count"
    assert value(found, http, method="GET", route="/healthz", status="200") == 7
    assert value(found, http, method="POST", route="/api/v1/builds", status="202") == 5
    logs = sum(build["log"]["size"] for build in builds)
    assert value(found, "builder_log_bytes_total") == logs > 0
    assert value(found, "builder_mesos_connected") == 1
    assert value(found, "builder_mesos_subscriptions_total") == 1
    silence = value(found, "builder_mesos_last_event_age_seconds")
    assert silence is not None
    assert 0 <= silence < 20
    age = value(found, "builder_queue_oldest_age_seconds")
    assert age is not None
    assert 0 < age < 120
    _every_offer_is_answered(own)

    own.end(signal.SIGTERM)
    own.start()
    agrees_with_the_api(scraped(own), builds)
    own.cancel(waits)
    agrees_with_the_api(scraped(own), own.call("GET", "/api/v1/builds").json()["builds"])


def _at(resources: dict[str, int]) -> dict[str, Any]:
    return {"resources": resources}


def _every_offer_is_answered(framework: Framework) -> None:
    """Seen is used and declined; at the moment of a scrape one may be neither yet."""

    def balanced() -> bool:
        found = scraped(framework)
        declined = sum(labelled(found, "builder_offers_declined_total", "reason").values())
        used = value(found, "builder_offers_used_total") or 0
        return value(found, "builder_offers_seen_total") == used + declined and used > 0

    until(balanced, "offers seen are not those used and declined")
