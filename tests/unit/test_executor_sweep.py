"""Only what is ours and dead is taken off an engine."""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from executor import sweep

OURS = "registry.example:5000/app:builder-b1-1"
OTHERS = "registry.example:5000/app:builder-b2-3"
STAGING = "registry.example:5000/app:builder-staging"
USERS = "registry.example:5000/app:1"


@pytest.mark.parametrize(
    ("names", "alive", "dead"),
    [
        ([OURS, USERS], set(), [OURS]),
        ([OURS, STAGING, USERS], set(), [OURS, STAGING]),
        ([OURS, STAGING], {("b1", "1")}, []),
        # A later attempt of the same build is another.
        ([OURS], {("b1", "2")}, [OURS]),
        # Two builds made the same image: the one that lives may be about to push it.
        ([OURS, OTHERS, STAGING], {("b2", "3")}, [OURS]),
        ([STAGING], set(), []),
        ([USERS, "builder-executor:dev", "app:builder", "app:builder-x-y"], set(), []),
        (None, set(), []),
    ],
)
def test_names_that_go(names: list[str] | None, alive: set[sweep.Attempt], dead: list[str]) -> None:
    assert sweep.dead_names([{"RepoTags": names}], alive) == dead


def test_an_attempt_lives_while_its_container_runs() -> None:
    ours = {sweep.BUILD_LABEL: "b1", sweep.ATTEMPT_LABEL: "2", "x": "y"}
    containers: list[dict[str, Any]] = [{"Labels": ours}, {"Labels": None}, {"Labels": {"a": "b"}}]
    assert sweep.living(containers) == {("b1", "2")}


class Handler(http.server.BaseHTTPRequestHandler):
    server: Engine

    def _answer(self) -> None:
        self.server.calls.append((self.command, self.path))
        body = json.dumps(self.server.answers.get(urlsplit(self.path).path, {})).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  (http.server's names)

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None:
        pass


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers what it was told to, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.path = path
        self.status = 200
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, str]] = []

    def holds(self, container: str) -> None:
        """An image of a dead attempt, and this running container."""
        self.answers["/images/json"] = [{"RepoTags": [OURS, USERS]}]
        self.answers["/containers/json"] = [{"Names": [f"/{container}"], "Labels": {}}]

    @property
    def removed(self) -> list[str]:
        return [path for method, path in self.calls if method == "DELETE"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "docker.sock") as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_what_a_dead_attempt_left_is_removed(engine: Engine) -> None:
    engine.holds("mesos-own")
    assert sweep.clear_dead_attempts(engine.path, "mesos-own") == [OURS]
    assert engine.removed == ["/images/registry.example%3A5000%2Fapp%3Abuilder-b1-1"]


def test_an_engine_that_does_not_run_us_is_left_alone(engine: Engine) -> None:
    """Its containers say nothing of which attempts are alive."""
    engine.holds("mesos-another")
    assert sweep.clear_dead_attempts(engine.path, "mesos-own") == []
    assert engine.removed == []


def test_without_a_name_of_our_own_nothing_is_removed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESOS_CONTAINER_NAME", raising=False)
    engine.holds("mesos-another")
    assert sweep.clear_dead_attempts(engine.path) == []


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "kept"), [(60, 7 << 20), (4, 0)])
def test_the_cache_is_cut_to_its_mark_or_to_nothing_on_a_full_disk(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kept: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100 - free, free))
    sweep.trim_cache(engine.path, tmp_path, 7)
    ((method, target),) = engine.calls
    assert (method, urlsplit(target).path) == ("POST", "/build/prune")
    assert parse_qs(urlsplit(target).query) == {"all": ["1"], "keep-storage": [str(kept)]}


def test_nothing_stays_of_those_who_had_the_engine_before(engine: Engine) -> None:
    """Containers first: they hold networks, volumes and images."""
    engine.answers["/containers/json"] = [{"Id": "a"}, {"Id": "b"}]
    sweep.clear_engine(engine.path)
    asked = [(method, urlsplit(target).path) for method, target in engine.calls]
    assert asked == [
        ("GET", "/containers/json"),
        ("DELETE", "/containers/a"),
        ("DELETE", "/containers/b"),
        ("POST", "/networks/prune"),
        ("POST", "/volumes/prune"),
        ("POST", "/images/prune"),
    ]
    queries = [parse_qs(urlsplit(target).query) for _, target in engine.calls]
    assert queries[1] == {"force": ["1"], "v": ["1"]}
    assert queries[-2:] == [
        {"filters": ['{"all": ["1"]}']},
        {"filters": ['{"dangling": ["false"]}']},
    ]


def test_tests_of_dead_attempts_are_removed_and_no_others(engine: Engine) -> None:
    dead, alive = {sweep.TEST_LABEL: "b1.1"}, {sweep.TEST_LABEL: "b2.3"}
    engine.answers |= {
        "/containers/json": [
            {"Id": "c1", "Labels": dead},
            {"Id": "c2", "Labels": alive},
            {"Id": "c3", "Labels": {}},
        ],
        "/networks": [{"Id": "n1", "Labels": dead}, {"Id": "n2"}],
        "/volumes": {"Volumes": [{"Name": "v1", "Labels": dead}, {"Name": "v2", "Labels": None}]},
    }
    sweep.clear_dead_tests(engine.path, {("b2", "3")})
    assert engine.removed == ["/containers/c1?force=1&v=1", "/networks/n1", "/volumes/v1"]


def test_a_refusal_and_a_missing_engine_are_errors(engine: Engine, tmp_path: Path) -> None:
    engine.status = 500
    with pytest.raises(sweep.EngineError, match="500"):
        sweep.clear_engine(engine.path)
    with pytest.raises(sweep.EngineError, match="No such file"):
        sweep.clear_engine(tmp_path / "nothing")
