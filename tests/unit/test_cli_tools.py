"""Contexts, watching, rebuilding, queue, agents and completion from the command line."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from builder_framework import answers
from builder_framework.cli import contexts, watch
from builder_framework.cli.commands import cli
from builder_framework.cli.contexts import Context, Contexts
from builder_framework.cli.options import BuildId
from builder_framework.cli.progress import Progress, duration
from builder_framework.domain import events as ev
from builder_framework.domain.model import Resources
from builder_framework.ports import (
    AgentFailure,
    AgentView,
    BuildRefusal,
    ExecutorView,
    LastOffer,
    Refusal,
)
from builder_framework.protocol import Phase, PushedImage, Reason, Report
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.commands import GIT, Run, only_build

pytest_plugins = ("tests.unit.conftest_cli",)

DIGEST = "sha256:" + "2" * 64


def config(tmp_path: Path) -> Path:
    return tmp_path / "config" / "builder" / "config.toml"


@pytest.fixture
def bare(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Without anything in the environment."""
    for name in ("URL", "USERNAME", "PASSWORD", "TOKEN", "CONTEXT"):
        monkeypatch.delenv(f"BUILDER_{name}", raising=False)
    return run


def private(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(text)
    return file


def test_a_context_is_all_that_is_needed(bare: Run, server: str, tmp_path: Path) -> None:
    file = private(tmp_path, f"{PASSWORD}\nnotes below\n")
    added = bare(
        *("context", "add", "work", "--url", f"{server}/", "--username", USER),
        *("--password-command", f"cat '{file}'"),
    )
    assert added.exit_code == 0, added.stderr
    assert bare("whoami").stdout.splitlines()[0] == USER
    assert stat.S_IMODE(config(tmp_path).stat().st_mode) == 0o600
    (listed,) = json.loads(bare("context", "list", "--json").stdout)
    assert listed == {"name": "work", "current": True, "url": server, "username": USER}
    assert bare("version", "--server").stdout.splitlines()[1].startswith("server ")


def test_several_contexts(bare: Run, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_add = ("context", "add")
    own = ("--url", server, "--username", USER, "--password-stdin")
    kept = bare(*run_add, "a", *own, stdin=PASSWORD)
    assert kept.exit_code == 0, kept.stderr
    bare(*run_add, "b", "--url", "http://127.0.0.1:1", "--username", USER, "--password-file", "/x")
    assert bare("whoami").exit_code == 0
    assert bare("context", "use", "b").exit_code == 0
    assert bare("context", "list").stdout.splitlines()[2].startswith("*\tb\t")
    assert bare("whoami").exit_code == 2  # there is no such file
    with monkeypatch.context() as other:
        other.setenv("BUILDER_CONTEXT", "a")
        assert bare("whoami").exit_code == 0
        other.setenv("BUILDER_CONTEXT", "c")
        assert "there is no context 'c'" in bare("whoami").stderr
    assert bare("context", "use", "c").exit_code == 2
    assert bare("context", "remove", "b").exit_code == 0
    assert "missing: the server" in bare("whoami").stderr
    bare("context", "use", "a")
    secret = contexts.folder() / "a.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    bare("context", "remove", "a")
    assert not secret.exists()


def test_no_password_goes_to_another_server(
    bare: Run, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The context's is not even asked for."""
    asked = tmp_path / "asked"
    bare(
        *("context", "add", "work", "--url", server, "--username", USER),
        *("--password-command", f"touch '{asked}'"),
    )
    result = bare("list", "--url", "http://127.0.0.1:1")
    assert (result.exit_code, "missing: the user" in result.stderr) == (2, True)
    monkeypatch.setenv("BUILDER_URL", "http://127.0.0.1:1")
    assert bare("list").exit_code == 2
    assert not asked.exists()
    monkeypatch.delenv("BUILDER_URL")
    monkeypatch.setenv("BUILDER_PASSWORD", PASSWORD)
    assert bare("list").exit_code == 0  # the server and the user of the context
    assert not asked.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("current = 1", "current must be"),
        ("x = 1", "something else"),
        ("[contexts.a]\nusername = 'u'", "contexts.a: url is missing"),
        ("[contexts.a]\nurl = 'u'\npassword = 'p'", "unknown 'password'; known are url, "),
        ("[contexts.a]\nurl = 'u'\npassword_command = 'pass'", "must be a list"),
        ("[contexts.a]\nurl = 'u'\npassword_file = 1", "must be a string"),
        ("[contexts.a", "config.toml"),
    ],
)
def test_a_faulty_file_names_the_fault(bare: Run, tmp_path: Path, text: str, said: str) -> None:
    config(tmp_path).parent.mkdir(parents=True)
    config(tmp_path).write_text(text)
    result = bare("list")
    assert result.exit_code == 2
    assert said in result.stderr


def test_passwords_that_others_could_read_are_refused(tmp_path: Path) -> None:
    file = private(tmp_path, "p")
    assert Context("u", password_file=str(file)).password() is not None
    file.chmod(0o640)
    with pytest.raises(click.UsageError, match="chmod 600"):
        Context("u", password_file=str(file)).password()
    with pytest.raises(click.UsageError, match="gave no password"):
        Context("u", token_command=("true",)).token()
    with pytest.raises(click.UsageError, match="false"):
        Context("u", token_command=("false",)).token()


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hostile = Context('u"]\n[x', "ü\\", ("a b", '"'), None, None, "f'")
    known = Contexts("x.y", {"x.y": hostile, "b": Context("v")})
    contexts.save(known)
    assert contexts.load() == known


def test_rebuild(run: Run, builds: MemoryBuilds) -> None:
    first = run("submit", *GIT, "--label", "a=b", "--dedupe", "off").stdout.strip()
    made = run("rebuild", first)
    assert made.exit_code == 0, made.stderr
    second = made.stdout.strip()
    assert second != first
    assert builds.builds[second].request == builds.builds[first].request
    assert json.loads(run("rebuild", first, "--json").stdout)["labels"] == {"a": "b"}
    assert run("rebuild", "0" * 16).exit_code == 5


def test_queue_and_agents(run: Run, builds: MemoryBuilds) -> None:
    builds.refusals = (Refusal("insufficient_cpus", 2),)
    first = run("submit", *GIT).stdout.strip()
    second = run("submit", *GIT).stdout.strip()
    head, row, *_ = run("queue").stdout.splitlines()
    assert head.split("\t") == ["POSITION", "ID", "PRIORITY", "OWNER", "IMAGES", "WHY"]
    assert row.split("\t")[:2] == ["1", first]
    limited = run("queue", "--limit", "1")
    assert "the first 1 of 2" in limited.stderr
    assert json.loads(run("queue", "--json").stdout)["total"] == 2
    builds.place(second)
    offer = LastOffer(0.0, Resources(2.0, 512.0), refusals=(BuildRefusal("no_free_slot", 3),))
    executors = (ExecutorView("e", (), 1.0, 1, open=True),)
    failures = (AgentFailure(0.0, second, Reason.DISK_FULL),)
    builds.known_agents = (
        AgentView(
            *("a1", "node-1", "http://n:5051", (builds.builds[second],), offer),
            *(executors, 4, failures, 60.0),
        ),
        AgentView("a2", "node-2", "http://m:5051"),
    )
    _, one, two = (line.split("\t") for line in run("agents").stdout.splitlines())
    assert one[:5] == ["node-1", "1 of 8", "1 (1 idle)", "4", "2 cpus, 512 MiB"]
    assert one[5].endswith("no_free_slot (3)")
    assert one[6].endswith("disk_full")
    assert two[:2] == ["node-2", "0 of 8"]
    assert two[5] == "none yet"
    assert len(json.loads(run("agents", "--json").stdout)["agents"]) == 2


def run_to_its_end(builds: MemoryBuilds, build_id: str) -> None:
    builds.place(build_id)
    builds.apply(build_id, ev.TaskProgressed(1, Report(phase=Phase.BUILDING)))
    builds.write(build_id, b"step 1\nstep 2\n")
    report = Report(digest=DIGEST, images=(PushedImage("registry.example.org/app:1", DIGEST),))
    builds.apply(build_id, ev.TaskSucceeded(1, report), ev.LogCompleted())


def test_watching_a_build(run: Run, builds: MemoryBuilds) -> None:
    build_id = run("submit", *GIT).stdout.strip()
    run_to_its_end(builds, build_id)
    watched = run("watch", build_id)
    assert watched.exit_code == 0, watched.stderr
    assert watched.stdout.startswith("SUCCEEDED")
    assert "step 1" not in watched.stdout
    assert DIGEST in watched.stderr
    lines = [json.loads(line) for line in run("watch", build_id, "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["state", "end"]
    assert lines[1]["data"]["digest"] == DIGEST
    assert run("watch", "0" * 16).exit_code == 5


def test_submitting_and_watching(run: Run, builds: MemoryBuilds) -> None:
    run("submit", *GIT, "--idempotency-key", "k")
    builds.cancel(only_build(builds), USER)
    result = run("submit", *GIT, "--idempotency-key", "k", "--watch")
    assert result.exit_code == 3
    assert result.stdout.startswith("CANCELLED")
    assert run("submit", *GIT, "--watch", "--json").exit_code == 2


def test_watching_all(run: Run, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is a line, until Ctrl-C."""
    build_id = run("submit", *GIT).stdout.strip()
    turns: Iterator[Callable[[], None]] = iter([lambda: None, lambda: builds.place(build_id)])

    def sleep(_seconds: float) -> None:
        try:
            next(turns)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=sleep))
    result = run("watch")
    assert result.exit_code == 130
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == ["QUEUED", "RUNNING"]


def state(name: str, phase: str | None = None, position: int | None = None) -> answers.StateEvent:
    return {"state": name, "phase": phase, "attempt": 1, "position": position, "message": None}


def test_the_line_of_a_build() -> None:
    """What it does, for how long, and what it said last; never wider than the terminal."""
    now = 0.0
    progress = Progress(lambda: now)
    assert progress.line(80) == "connecting 0 s"
    assert progress.tell(state("QUEUED", position=3)) is None
    now = 5.0
    assert progress.line(80) == "QUEUED 5 s  position 3"
    assert progress.tell(state("RUNNING", "BUILDING")) == "QUEUED 5 s"
    progress.write("#1 FROM\n#2 RU")
    progress.write("N \x1b[31mmake\x1b[0m\r\n\n")
    now = 75.0
    assert progress.line(80) == "BUILDING 1 m 10 s of 1 m 15 s  #2 RUN make"
    assert progress.line(12) == "BUILDING 1 m"
    assert progress.tell(state("RUNNING", "BUILDING")) is None
    assert progress.tell(state("RUNNING", "PUSHING")) == "BUILDING 1 m 10 s"
    assert duration(7384.0) == "2 h 03 m"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    made = run("completion", shell)
    assert made.exit_code == 0, made.stderr
    assert "_BUILDER_COMPLETE" in made.stdout


def completed(words: str, current: str) -> Result:
    environment = {"_BUILDER_COMPLETE": "fish_complete", "COMP_WORDS": words, "COMP_CWORD": current}
    return CliRunner(env=environment).invoke(
        cli, [], prog_name="builder", complete_var="_BUILDER_COMPLETE"
    )


def test_shells_complete_commands_flags_and_builds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_id = run("submit", *GIT).stdout.strip()
    assert "plain,rebuild" in completed("builder re", "re").output
    assert "--follow" in completed("builder rebuild --fo", "--fo").output
    assert build_id in completed("builder show ", "").output
    other = "x" if build_id[0] != "x" else "y"
    assert build_id not in completed(f"builder show {other}", other).output
    monkeypatch.setenv("BUILDER_URL", "http://127.0.0.1:1")
    assert completed("builder show ", "").output.strip() == ""
    assert BuildId().name == "id"
    assert "_BUILDER_COMPLETE" not in os.environ


def test_show_tells_where_any_source_came_from(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    image = ["registry.example.org/app:1"]
    for source, said in (
        ({"inline": {"dockerfile": "FROM scratch"}}, "a Dockerfile alone"),
        ({"tarball": {"url": "https://x.example.org/a.tgz"}}, "https://x.example.org/a.tgz"),
    ):
        file.write_text(json.dumps({"source": source, "images": image}))
        shown = run("show", run("submit", "--file", str(file)).stdout.strip())
        assert shown.exit_code == 0
        assert said in shown.stdout


def test_every_command_has_help_and_reads_have_json() -> None:
    def commands(group: click.Group, path: str) -> list[tuple[str, click.Command]]:
        found = []
        for name in group.list_commands(click.Context(group)):
            each = group.get_command(click.Context(group), name)
            assert each is not None
            if isinstance(each, click.Group):
                found += commands(each, f"{path}{name} ")
            else:
                found.append((f"{path}{name}", each))
        return found

    assert isinstance(cli, click.Group)
    words = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    for path, command in commands(cli, ""):
        assert command.help, path
        assert path.split(" ")[0] in words
        flags = {flag for option in command.params for flag in option.opts}
        prints = path.rpartition(" ")[2] in {"list", "agents", "queue", "whoami", "credentials"}
        assert "--json" in flags or not prints, path
