"""The `builder` command against a real HTTP server: what it sends, prints, and exits with."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builder_framework import cli as cli_package
from builder_framework.cli import options, submit
from builder_framework.cli.commands import cli
from builder_framework.client import ApiError, Client, ConnectionFailedError, Follower
from builder_framework.client import follow as follow_module
from builder_framework.client.sse import ServerEvent
from builder_framework.domain import events as ev
from builder_framework.domain.delivery import DeliveryState, Try
from builder_framework.domain.deployment import Deployment
from builder_framework.errors import StoreUnavailableError
from builder_framework.ports import DeliveryView
from builder_framework.protocol import PushedImage, Reason, Report
from builder_framework.redact import Secret
from builder_framework.users import UserFile
from tests.sources import git_of
from tests.unit.builds_double import PASSWORD, MemoryBuilds
from tests.unit.commands import GIT, Run, only_build

pytest_plugins = ("tests.unit.conftest_cli",)

DIGEST = "sha256:" + "2" * 64
LOG = "".join(f"line {number} größer\r\n" for number in range(400))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(follow_module, "LONGEST_WAIT_SECONDS", 0.02)


def succeed(builds: MemoryBuilds, build_id: str) -> None:
    report = Report(
        commit="c" * 40, digest=DIGEST, images=(PushedImage("registry.example.org/app:1", DIGEST),)
    )
    builds.apply(build_id, ev.TaskSucceeded(1, report), ev.LogCompleted())


@contextlib.contextmanager
def later(action: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    yield
    thread.join(20)


def wait_for(condition: Callable[[], object]) -> None:
    turn = threading.Event()
    for _ in range(2000):
        if condition():
            return
        turn.wait(0.005)
    raise AssertionError("never happened")


def test_submit_prints_the_id(run: Run, builds: MemoryBuilds) -> None:
    """On standard output nothing else, for scripts."""
    result = run("submit", *GIT)
    assert result.exit_code == 0
    assert result.stdout == f"{only_build(builds)}\n"


def test_every_flag_becomes_its_field(
    run: Run, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets by environment and standard input, durations with units, repeatable flags."""
    monkeypatch.setenv("TOKEN", "gitcanary")
    result = run(
        "submit", *GIT, "--image", "other:2", "--ref", "main", "--git-username", "u",
        "--git-password-env", "TOKEN", "--context", "sub", "--dockerfile", "D", "--target", "t",
        "--build-arg", "A=1=2", "--build-arg", "B=", "--registry-username", "r",
        "--registry-password-stdin", "--cpus", "2", "--mem", "512", "--disk", "100",
        "--constraint", "rack:like:a|b:c", "--timeout", "1h30m", "--queue-ttl", "90",
        "--priority", "5", "--label", "team=x", "--json",
        stdin="regcanary\n",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    request = builds.get(only_build(builds)).build.request
    assert git_of(request.source).password == Secret("gitcanary")
    assert request.registry_auth is not None
    assert request.registry_auth.password == Secret("regcanary")
    shown = json.loads(result.stdout)
    assert shown["source"]["git"]["ref"] == "main"
    assert shown["images"] == ["registry.example.org/app:1", "docker.io/library/other:2"]
    assert (shown["context"], shown["dockerfile"], shown["target"]) == ("sub", "D", "t")
    assert shown["build_args"] == {"A": "1=2", "B": ""}
    assert shown["resources"] == {"cpus": 2.0, "mem": 512.0, "disk": 100.0}
    assert shown["constraints"] == [["rack", "LIKE", "a|b:c"]]
    assert (shown["timeout"], shown["queue_ttl"], shown["priority"]) == (5400.0, 90.0, 5)
    assert shown["labels"] == {"team": "x"}
    assert "canary" not in result.output


def test_flags_of_git_sources(run: Run, builds: MemoryBuilds, tmp_path: Path) -> None:
    """A key comes from a file or standard input, never from the arguments."""
    key = "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"
    hosts = "host ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4\n"
    (tmp_path / "hosts").write_text(hosts)
    result = run(
        "submit", "--git", "ssh://git@host/x", "--image", "app", "--ssh-key-file", "-",
        "--known-hosts-file", str(tmp_path / "hosts"), "--depth", "0", "--submodules", "--lfs",
        "--keep-git-dir",
        stdin=key,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    git = git_of(builds.get(only_build(builds)).build.request.source)
    assert (git.ssh_key, git.known_hosts) == (Secret(key), hosts)
    assert (git.depth, git.submodules, git.lfs, git.keep_git_dir) == (0, True, True, True)


def test_flags_go_before_the_file(run: Run, builds: MemoryBuilds, tmp_path: Path) -> None:
    """A file holds what stays the same, flags what changes."""
    file = tmp_path / "request.json"
    body = {
        "source": {"git": {"url": "https://h/x", "ref": "a"}},
        "images": ["x"],
        "labels": {"a": "1", "b": "1"},
    }
    file.write_text(json.dumps(body))
    result = run("submit", "--file", str(file), "--ref", "b", "--label", "b=2", "--json")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["source"]["git"]["ref"] == "b"
    assert shown["labels"] == {"a": "1", "b": "2"}
    assert len(builds.builds) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "--image", "x"),
        ("submit", *GIT, "--timeout", "soon"),
        ("submit", *GIT, "--build-arg", "x"),
        ("submit", *GIT, "--constraint", "x"),
        ("submit", *GIT, "--git-username", "u"),
        ("submit", *GIT, "--git-password-stdin"),
        ("submit", *GIT, "--git-password-env", "NOT_SET"),
        ("submit", *GIT, "--git-password", "x"),
        ("submit", *GIT, "--ssh-key-file", "/nonexistent"),
        ("submit", *GIT, "--git-username", "u", "--git-password-stdin",
         "--registry-username", "u", "--registry-password-stdin"),
        ("submit", *GIT, "--json", "--follow"),
        ("submit", "--file", "/nonexistent"),
        ("show", "x", "--password", "x"),
        ("show", "x", "--url", ""),
        ("nonsense",),
    ],
)  # fmt: skip
def test_wrong_usage_is_2(run: Run, builds: MemoryBuilds, arguments: tuple[str, ...]) -> None:
    """Before anything is sent."""
    assert run(*arguments, stdin="p").exit_code == 2
    assert builds.builds == {}


def test_faulty_fields_are_listed_one_a_line(run: Run) -> None:
    """As the server names them."""
    result = run("submit", *GIT, "--dockerfile", "../x", "--cpus", "1e9")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "builder: 2 fields are wrong (invalid_input)"
    assert [line.partition(":")[0] for line in lines[1:]] == ["  dockerfile", "  resources.cpus"]


def test_server_and_login_errors_are_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each, and never the password."""
    monkeypatch.setenv("BUILDER_PASSWORD", "wrongcanary")
    result = run("list")
    assert result.exit_code == 4
    assert "unauthorized" in result.stderr
    assert "canary" not in result.output
    result = run("list", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 4
    assert result.stderr == "builder: http://127.0.0.1:1 cannot be reached\n"
    assert run("list", "--url", "http://u:canary@127.0.0.1:1").stderr.count("canary") == 0
    assert run("list", "--url", "nonsense").exit_code == 4


def test_unknown_and_finished_builds_are_5(run: Run) -> None:
    """The request was understood, but cannot be met."""
    assert run("show", "0" * 16).exit_code == 5
    build_id = run("submit", *GIT).stdout.strip()
    assert run("cancel", build_id).exit_code == 0
    assert run("cancel", build_id).exit_code == 5


def test_show_tells_what_became_of_the_image(run: Run, builds: MemoryBuilds) -> None:
    build_id = run("submit", *GIT).stdout.strip()
    assert "deployment" not in run("show", build_id).stdout
    image = f"registry.example.org/app@sha256:{'a' * 64}"
    waiting = Deployment(build_id, "/shop/web", image, 60.0, 1.0, message="locked\x1b[2J")
    builds.deployments[build_id] = waiting
    shown = run("show", build_id).stdout
    assert "/shop/web WAITING: locked" in shown
    assert "\x1b" not in shown


def test_list_and_show(run: Run, builds: MemoryBuilds) -> None:
    """Columns for programs, facts for people, JSON for both; no escapes from a message."""
    build_id = run("submit", *GIT).stdout.strip()
    assert f"{build_id}\tQUEUED\tposition 1\t" in run("list").stdout
    assert "waits for an offer" in run("show", build_id).stdout
    builds.place(build_id)
    builds.apply(build_id, ev.TaskFailed(1, Reason.STEP_FAILED, "bad\x1b]52;c;x\x07\nnews"))
    shown = run("show", build_id)
    assert "bad news" in shown.stdout
    assert "step_failed" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(run("show", build_id, "--json").stdout)["state"] == "FAILED"
    assert [one["id"] for one in json.loads(run("list", "--json").stdout)] == [build_id]
    assert run("list", "--state", "QUEUED").stdout.count("\n") == 1
    for _ in range(3):
        run("submit", *GIT)
    assert len(json.loads(run("list", "--json", "--limit", "3").stdout)) == 3


def test_webhooks_are_listed_and_sent_again(run: Run, builds: MemoryBuilds) -> None:
    build_id = run("submit", *GIT).stdout.strip()
    ((delivery_id, view),) = builds.sent.items()
    given_up = replace(view.delivery, state=DeliveryState.FAILED, next_at=None)
    builds.sent[delivery_id] = DeliveryView(given_up, (Try(1.0, 0.1, 410, "answered 410"),))
    head, row = run("deliveries", build_id).stdout.splitlines()
    assert head.split("\t")[:3] == ["ID", "EVENT", "STATE"]
    assert row.split("\t")[:4] == [delivery_id, "build.queued", "FAILED", "1"]
    assert row.endswith("answered 410")
    result = run("deliveries", build_id, "--redeliver", delivery_id, "--json")
    assert json.loads(result.stdout)[0]["state"] == "PENDING"
    assert run("deliveries", build_id, "--redeliver", "msg_x").exit_code == 5


def test_logs_are_printed_to_their_end(run: Run, builds: MemoryBuilds) -> None:
    """Neutralised unless --raw; a pipe gets no colours."""
    build_id = run("submit", *GIT).stdout.strip()
    builds.place(build_id)
    builds.write(build_id, f"\x1b[31mred\x1b[0m\x1b]0;t\x07\n{LOG}".encode())
    result = run("logs", build_id)
    assert result.exit_code == 0
    assert result.stdout_bytes.decode() == "red\n" + LOG.replace("\r\n", "\n")
    raw = run("logs", build_id, "--raw").stdout_bytes.decode()
    assert raw == f"\x1b[31mred\x1b[0m\x1b]0;t\x07\n{LOG}"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (succeed, 0),
        (
            lambda builds, build_id: builds.apply(
                build_id, ev.TaskFailed(1, Reason.STEP_FAILED, "no"), ev.LogCompleted()
            ),
            1,
        ),
        (
            lambda builds, build_id: builds.apply(
                build_id, ev.CancelRequested("me"), ev.TaskKilled(1), ev.LogCompleted()
            ),
            3,
        ),
    ],
)
def test_follow_exits_with_the_result(
    run: Run, builds: MemoryBuilds, end: Callable[[MemoryBuilds, str], None], code: int
) -> None:
    """The log on standard output, all else on standard error."""

    def happen() -> None:
        wait_for(lambda: builds.watches)
        build_id = only_build(builds)
        builds.place(build_id)
        for line in LOG.splitlines(keepends=True):
            builds.write(build_id, line.encode())
        end(builds, build_id)

    with later(happen):
        result = run("submit", *GIT, "--follow")
    assert result.exit_code == code
    assert result.stdout == LOG.replace("\r\n", "\n")
    if code == 0:
        assert f"registry.example.org/app:1@{DIGEST}" in result.stderr
    assert run("logs", only_build(builds), "-f").exit_code == code


class CuttingProxy:
    """Hands connections through to `port` and breaks each after `limit` bytes of answers.

    A real server cannot be made to break at a given byte.
    """

    def __init__(self, port: int, limits: Iterator[int]) -> None:
        self._target, self._limits = port, limits
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._limits = iter([-1])
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(20)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            limit = next(self._limits)
            with client:
                if limit < 0:
                    return
                self.connections += 1
                self._hand_through(client, limit)

    def _hand_through(self, client: socket.socket, limit: int) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            with contextlib.suppress(OSError):
                while limit > 0 and (data := server.recv(min(limit, 4096))):
                    client.sendall(data)
                    limit -= len(data)
                client.shutdown(socket.SHUT_RDWR)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)


@pytest.mark.usefixtures("impatient")
def test_follow_resumes_at_the_byte_after_broken_connections(
    run: Run, server: str, builds: MemoryBuilds
) -> None:
    """Wherever the connection breaks: every byte once, and it says so."""
    build_id = run("submit", *GIT).stdout.strip()
    builds.place(build_id)
    builds.write(build_id, (LOG * 20).encode())
    succeed(builds, build_id)
    limits = itertools.chain([0, 100, 300, 700, 5000, 30000, 40000], itertools.repeat(10**6))
    proxy = CuttingProxy(int(server.rpartition(":")[2]), limits)
    try:
        result = run("logs", build_id, "-f", "--url", f"http://127.0.0.1:{proxy.port}")
    finally:
        proxy.close()
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (LOG * 20).replace("\r\n", "\n")
    assert proxy.connections >= 8
    assert "trying again" in result.stderr
    assert "connected again" in result.stderr


@pytest.mark.usefixtures("impatient")
def test_follow_waits_while_the_framework_restarts(run: Run, builds: MemoryBuilds) -> None:
    """503 and broken streams are waited out; the log goes on where it was."""
    build_id = run("submit", *GIT).stdout.strip()
    builds.place(build_id)
    builds.write(build_id, b"before\n")

    def restart() -> None:
        wait_for(lambda: builds.watches)
        builds.failure = StoreUnavailableError("restarting")
        builds.ring(build_id)
        wait_for(lambda: not builds.watches)
        builds.logs[build_id] += b"after\n"
        builds.failure = None
        wait_for(lambda: builds.watches)
        succeed(builds, build_id)

    with later(restart):
        result = run("logs", build_id, "-f")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "before\nafter\n"
    assert "trying again" in result.stderr


def test_following_gives_up_in_the_end() -> None:
    """After the given time without the server, with waits that grow, but not for ever."""
    now, waits = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        now += seconds

    notes: list[str] = []
    client = Client("http://127.0.0.1:1", "u", Secret("p"))
    follower = Follower(
        client, "0" * 16, print, notes.append, give_up_after=60, sleep=sleep, clock=lambda: now
    )
    with pytest.raises(ConnectionFailedError, match="gave up after 60 s"):
        follower.run()
    assert 60 <= now <= 71
    assert max(waits) <= follow_module.LONGEST_WAIT_SECONDS
    assert notes == ["http://127.0.0.1:1 cannot be reached; trying again for up to 60 s"]


def test_a_lasting_refusal_ends_following_at_once(run: Run) -> None:
    """Waiting does not make a build appear."""
    assert run("logs", "0" * 16, "-f").exit_code == 5


def test_ctrl_c_detaches(run: Run, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build goes on, and the command says how to come back to the same byte."""
    build_id = run("submit", *GIT).stdout.strip()

    def stream(*_: Any, **__: Any) -> Iterator[ServerEvent]:
        yield ServerEvent("log", '{"text": "x\\n"}', "2")
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "stream", stream)
    result = run("logs", build_id, "-f")
    assert result.exit_code == 130
    assert f"builder logs {build_id} -f --offset 2" in result.stderr
    assert f"builder cancel {build_id}" in result.stderr
    assert not builds.get(build_id).build.terminal


def test_a_submission_is_repeated_without_doubling(
    run: Run, server: str, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first try is lost; the second finds the same build."""
    monkeypatch.setattr(submit, "_WAITS", (0.0, 0.0))
    proxy = CuttingProxy(
        int(server.rpartition(":")[2]), itertools.chain([1], itertools.repeat(10**6))
    )
    try:
        result = run("submit", *GIT, "--url", f"http://127.0.0.1:{proxy.port}")
    finally:
        proxy.close()
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == only_build(builds)


def test_a_password_from_a_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or from standard input; the line end is not part of it."""
    monkeypatch.delenv("BUILDER_PASSWORD")
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    assert run("list", "--password-file", str(file)).exit_code == 0
    assert run("list", "--password-file", "-", stdin=f"{PASSWORD}\n").exit_code == 0
    assert run("list").exit_code == 2


def test_a_redirect_is_not_followed_with_the_password() -> None:
    """It might lead anywhere; the address to use is named."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 301 x\r\nLocation: https://u:p@other/x\r\nContent-Length: 0\r\n\r\n"
            )

    with later(answer), pytest.raises(ApiError, match="redirects to https://other;"):
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "u", Secret("p")).get("x")
    listener.close()


def test_users(tmp_path: Path) -> None:
    """Add, change, list, remove; the password is asked for or read from standard input."""
    path = tmp_path / "users"

    def users(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            cli, ["users", *arguments, "--users-file", str(path)], input=stdin
        )

    assert users("add", "ann", "--password-stdin", stdin="one\n").exit_code == 0
    assert users("add", "bob", stdin="two\ntwo\n").exit_code == 0
    assert users("add", "ann", "--password-stdin", stdin="three").exit_code == 0
    assert users("list").stdout == "ann builder\nbob builder\n"
    assert users("role", "bob", "admin").exit_code == 0
    assert users("role", "bob", "king").exit_code == 2
    assert users("role", "eve", "admin").exit_code == 5
    assert users("add", "bob", "--password-stdin", stdin="two").exit_code == 0
    assert users("list").stdout == "ann builder\nbob admin\n"
    file = UserFile(path)
    assert file.verify("ann", "three")
    assert file.verify("bob", "two")
    assert users("remove", "bob").exit_code == 0
    assert users("remove", "bob").exit_code == 5
    assert users("add", "a:b", "--password-stdin", stdin="x").exit_code == 2
    assert users("add", "eve", "--password-stdin", stdin="").exit_code == 2
    assert users("add", "eve", "--role", "viewer", "--password-stdin", stdin="x").exit_code == 0
    assert users("list").stdout == "ann builder\neve viewer\n"


def test_version(run: Run) -> None:
    """Of the command, and of the server when asked."""
    assert run("version").stdout.startswith("builder ")
    assert "server " in run("version", "--server").stdout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5s", 1.5), ("30m", 1800), ("1h30m", 5400), ("2d", 172800)],
)
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert options.duration(text) == seconds


def test_serve_patches_before_anything_else() -> None:
    """gevent must come before ssl: nothing that `builder serve` imports first may bring it in."""
    program = (
        "import sys\n"
        "sys.argv = ['builder', 'serve', '--help']\n"
        "from builder_framework.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'ssl', 'requests', 'urllib3', 'click', 'socket'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "usage: builder serve" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert callable(cli_package.main)
