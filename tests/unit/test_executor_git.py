"""With real git: every ref becomes its commit, nothing hostile runs, no credential stays."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource
from builder_framework.redact import Secret
from devcluster.gitd import GitServer
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.git import Checkout, Git
from executor.git_errors import classify, is_transient, telling_line
from executor.log import BuildLog
from executor.retry import Backoff, Retries
from executor.workspace import workspace

USER, PASSWORD = "cloner", "canary-p@ss:w/rd"
PROTOCOLS = ("https", "http", "file")


@dataclass
class Repository:
    """A bare repository with a linear history, a branch, two tags, and its commits by name."""

    path: Path
    commits: dict[str, str]

    @property
    def url(self) -> str:
        return f"file://{self.path}"


def git(where: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", "-C", str(where), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    base = tmp_path_factory.mktemp("git")
    work = base / "work"
    work.mkdir()
    git(work, "init", "--quiet", "-b", "main")
    commits = {}
    for name in ("first", "second", "third"):
        (work / "name.txt").write_text(name)
        (work / ".gitattributes").write_text("* filter=canary diff=canary\n")
        git(work, "add", ".")
        git(work, "commit", "--quiet", "-m", f"commit {name}")
        commits[name] = git(work, "rev-parse", "HEAD")
    git(work, "branch", "feature/x", commits["first"])
    git(work, "tag", "light", commits["second"])
    git(work, "tag", "-a", "-m", "annotated", "v1.0", commits["second"])
    git(work, "tag", "both", commits["first"])
    git(work, "branch", "both", commits["second"])
    git(work, "update-ref", "refs/pull/7/head", commits["first"])
    bare = base / "served" / "app.git"
    bare.parent.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--mirror", str(work), str(bare)], check=True)
    private = bare.with_name("private.git")
    shutil.copytree(bare, private)
    (private / "devcluster-private").touch()
    return Repository(bare, commits)


@pytest.fixture(scope="module")
def server(repository: Repository) -> Iterator[str]:
    """The repositories over HTTP; `private.git` asks for a password."""
    with GitServer(("127.0.0.1", 0), repository.path.parent, USER, PASSWORD) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@dataclass
class Result:
    checkout: Checkout
    heard: list[str]
    content: str
    files: list[str]
    log: str


def check_out(
    tmp_path: Path,
    spec: GitSource,
    protocols: tuple[str, ...] = PROTOCOLS,
    token: CancelToken | None = None,
    mirrors: Path | None = None,
) -> Result:
    log = BuildLog(tmp_path / "build.log", [spec.password] if spec.password else [])
    heard: list[str] = []
    try:
        with workspace(tmp_path, tmp_path) as space:
            token = token or CancelToken()
            retries = Retries(token, log.line, Backoff(0.01, 0.01), tries=3)
            git = Git(spec, protocols, space, log, token, retries, mirrors)
            done = git.check_out(heard.append)
            return Result(
                done,
                heard,
                (space.checkout / "name.txt").read_text(),
                sorted(path.name for path in space.checkout.iterdir()),
                (tmp_path / "build.log").read_text(),
            )
    finally:
        log.close()


@pytest.mark.parametrize(
    ("ref", "commit"),
    [
        (None, "third"),
        ("HEAD", "third"),
        ("main", "third"),
        ("feature/x", "first"),
        ("refs/heads/feature/x", "first"),
        ("light", "second"),
        ("v1.0", "second"),
        ("refs/tags/v1.0", "second"),
        ("both", "second"),
        ("pull/7/head", "first"),
        ("refs/pull/7/head", "first"),
    ],
)
def test_a_ref_becomes_its_commit(
    tmp_path: Path, repository: Repository, ref: str | None, commit: str
) -> None:
    """A branch wins over a tag of its name, an annotated tag is peeled, `.git` is gone."""
    result = check_out(tmp_path, GitSource(repository.url, ref))
    assert result.checkout.commit == repository.commits[commit]
    assert result.checkout.subject == f"commit {commit}"
    assert result.heard == [repository.commits[commit]]
    assert result.content == commit
    assert result.files == [".gitattributes", "name.txt"]


@pytest.mark.parametrize("length", [7, 12, 39, 40])
@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_a_commit_is_found_by_its_beginning(
    tmp_path: Path, repository: Repository, name: str, length: int
) -> None:
    commit = repository.commits[name]
    result = check_out(tmp_path, GitSource(repository.url, commit[:length]))
    assert (result.checkout.commit, result.content) == (commit, name)


@pytest.mark.parametrize("ref", ["nope", "refs/heads/nope", "0" * 40, "0123456", "f" * 64, "main2"])
def test_a_missing_ref_is_told(tmp_path: Path, repository: Repository, ref: str) -> None:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(repository.url, ref))
    assert caught.value.reason is Reason.GIT_REF_NOT_FOUND
    assert ref in caught.value.message


def test_a_tree_is_no_commit(tmp_path: Path, repository: Repository) -> None:
    git(repository.path, "tag", "-f", "tree", f"{repository.commits['first']}^{{tree}}")
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(repository.url, "tree"))
    assert caught.value.reason is Reason.GIT_REF_NOT_FOUND


def test_only_what_is_needed_is_fetched(
    tmp_path: Path, server: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shallow fetch for a branch, and for a full commit."""
    calls = wrap_git(tmp_path, monkeypatch)
    for ref in ("main", repository.commits["first"]):
        calls.write_text("")
        check_out(tmp_path, GitSource(f"{server}/app.git", ref))
        fetches = [line for line in calls.read_text().splitlines() if " fetch " in line]
        assert len(fetches) == 1
        assert "--depth=1" in fetches[0]


@pytest.mark.parametrize(("depth", "option"), [(0, None), (2, "--depth=2")])
def test_history_is_as_deep_as_asked_for(
    tmp_path: Path,
    server: str,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    depth: int,
    option: str | None,
) -> None:
    calls = wrap_git(tmp_path, monkeypatch)
    check_out(tmp_path, GitSource(f"{server}/app.git", "main", depth=depth))
    (fetch,) = [line for line in calls.read_text().splitlines() if " fetch " in line]
    assert [word for word in fetch.split() if "--depth" in word] == ([option] if option else [])


def wrap_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git first on PATH that notes its arguments and, afterwards, the repository's config."""
    real, calls = shutil.which("git"), tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "git"
    wrapper.write_text(
        f'#!/bin/sh\necho "git $*" >> {calls}\nenv >> {calls}.env\n'
        f'{real} "$@"; code=$?\ncat .git/config >> {calls} 2>/dev/null\nexit $code\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    calls.touch()
    return calls


def test_the_password_is_used_and_shows_nowhere(
    tmp_path: Path, server: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in argv, environment, .git/config or log, and in no file afterwards."""
    calls = wrap_git(tmp_path, monkeypatch)
    spec = GitSource(f"{server}/private.git", "main", USER, Secret(PASSWORD))
    result = check_out(tmp_path, spec)
    assert result.checkout.commit == repository.commits["third"]
    assert "fetch" in calls.read_text()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert PASSWORD not in path.read_text(errors="replace"), path
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bin",
        "build.log",
        "calls",
        "calls.env",
    ]


def test_the_password_goes_to_its_own_host_only(tmp_path: Path, server: str) -> None:
    """What git asks for another host is not answered."""
    spec = GitSource(f"{server}/private.git", None, USER, Secret(PASSWORD))
    with workspace(tmp_path, tmp_path) as space:
        log = BuildLog(tmp_path / "log")
        token = CancelToken()
        worker = Git(spec, PROTOCOLS, space, log, token, Retries(token, log.line))
        log.close()
        env = dict(os.environ, **worker._runner.credentials.environment(spec.url))

        def ask(prompt: str) -> tuple[int, str]:
            done = subprocess.run(
                [env["GIT_ASKPASS"], prompt], env=env, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stdout

        host = server.removeprefix("http://")
        assert ask(f"Username for '{server}': ") == (0, USER)
        assert ask(f"Password for 'http://{USER}@{host}': ") == (0, PASSWORD)
        assert ask(f"Password for 'http://us%40er@{host}': ") == (0, PASSWORD)
        assert ask(f'Username for "{server}"') == (0, USER), "git-lfs"
        assert ask(f'Password for "http://{USER}@{host}"') == (0, PASSWORD)
        for prompt in (
            "Username for 'http://evil.example': ",
            f"Username for 'http://evil.example/{server}': ",
            f"Password for 'http://{USER}@evil.example': ",
            f"Password for 'http://{USER}@{host}.evil.example': ",
            f"Password for 'https://{USER}@{host}': ",
            f"Password for 'http://{host}@evil.example': ",
            f"Password for 'http://evil.example/@{host}': ",
            f"Password for 'http://x@evil.example': '@{host}': ",
            f'Password for "http://{USER}@evil.example"',
            "Enter passphrase for key: ",
            "",
        ):
            assert ask(prompt) == (1, ""), prompt


@pytest.mark.parametrize(
    ("path", "username", "password", "reason"),
    [
        ("private.git", None, None, Reason.GIT_AUTH_FAILED),
        ("private.git", USER, "wrong", Reason.GIT_AUTH_FAILED),
        ("private.git", "nobody", PASSWORD, Reason.GIT_AUTH_FAILED),
        ("nope.git", None, None, Reason.GIT_REPOSITORY_NOT_FOUND),
        ("nope.git", USER, PASSWORD, Reason.GIT_REPOSITORY_NOT_FOUND),
    ],
)
def test_refusals_over_http(
    tmp_path: Path,
    server: str,
    path: str,
    username: str | None,
    password: str | None,
    reason: Reason,
) -> None:
    secret = Secret(password) if password else None
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(f"{server}/{path}", None, username, secret))
    assert caught.value.reason is reason
    assert password is None or password not in caught.value.message


def test_a_dead_server_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource("http://127.0.0.1:1/x.git"))
    assert caught.value.reason is Reason.GIT_UNREACHABLE
    assert caught.value.transient
    assert (tmp_path / "build.log").read_text().count("Trying again in") == 2


def test_a_missing_file_repository(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(f"file://{tmp_path}/nope"))
    assert caught.value.reason is Reason.GIT_REPOSITORY_NOT_FOUND


HOSTILE_REFS = [
    "--upload-pack=touch CANARY",
    "--upload-pack=touch${IFS}CANARY",
    "-uCANARY",
    "--orphan=CANARY",
    "--exec=touch CANARY",
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY",
    "main:refs/heads/CANARY",
    "+main:CANARY",
    "main\ntouch CANARY",
    "@{-1}",
    "main^{/commit}",
    "main..feature/x",
    "*",
    "a" * 4000,
]

HOSTILE_URLS = [
    "--upload-pack=touch CANARY",
    "-uCANARY",
    "--config=core.sshCommand=touch CANARY",
    "ext::sh -c touch% CANARY",
    "ext::touch CANARY",
    "fd::17",
    "ssh://-oProxyCommand=touch CANARY/x",
    "-oProxyCommand=touch CANARY:x",
    "git://127.0.0.1:1/x",
    "ftp://127.0.0.1:1/x",
    "transport::x",
]


@pytest.mark.parametrize("ref", HOSTILE_REFS)
def test_hostile_refs_are_only_refs(tmp_path: Path, repository: Repository, ref: str) -> None:
    """Even unvalidated, as here, a ref is never an option, a command or a second ref."""
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(repository.url, ref.replace("CANARY", f"{tmp_path}/canary")))
    assert caught.value.reason in (Reason.GIT_REF_NOT_FOUND, Reason.GIT_FAILED)
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_urls_run_nothing(tmp_path: Path, url: str) -> None:
    """Even unvalidated, as here, a URL is never an option, a helper or a forbidden protocol."""
    protocols = ("https", "ssh")
    with pytest.raises(BuildFailure):
        check_out(tmp_path, GitSource(url.replace("CANARY", f"{tmp_path}/canary")), protocols)
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize("protocols", [("https",), ("https", "ssh"), ("https", "http")])
def test_files_need_to_be_allowed(
    tmp_path: Path, repository: Repository, protocols: tuple[str, ...]
) -> None:
    for url in (repository.url, str(repository.path)):
        with pytest.raises(BuildFailure):
            check_out(tmp_path, GitSource(url), protocols)


def test_the_users_own_configuration_is_not_read(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No filter, hook or alias of ~/.gitconfig or of the environment takes part."""
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    canary = tmp_path / "canary"
    hook = home / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\n\thooksPath = {home}/hooks\n\tfsmonitor = "touch {canary}"\n'
        f'[filter "canary"]\n\tsmudge = "touch {canary}; cat"\n\trequired = true\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"{home}/hooks")
    assert check_out(tmp_path, GitSource(repository.url)).content == "third"
    assert not canary.exists()


def test_a_slow_clone_is_stopped_at_once(tmp_path: Path, server: str) -> None:
    token = CancelToken()
    timer = threading.Timer(0.5, token.cancel, (Stop.KILL, 3.0))
    timer.start()
    with pytest.raises(Stopped):
        check_out(tmp_path, GitSource(f"{server}/slow/30/app.git"), token=token)
    timer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["build.log"]


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("fatal: couldn't find remote ref refs/heads/x", Reason.GIT_REF_NOT_FOUND),
        ("fatal: remote error: upload-pack: not our ref 0000", Reason.GIT_REF_NOT_FOUND),
        (
            "error: Server does not allow request for unadvertised object 0000",
            Reason.GIT_REF_NOT_FOUND,
        ),
        (
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'URL/'",
            Reason.GIT_AUTH_FAILED,
        ),
        (
            "fatal: unable to access 'URL/': The requested URL returned error: 403",
            Reason.GIT_AUTH_FAILED,
        ),
        ("git@host: Permission denied (publickey).\nfatal: Could not read", Reason.GIT_AUTH_FAILED),
        (
            "remote: Repository not found.\nfatal: repository 'URL/' not found",
            Reason.GIT_REPOSITORY_NOT_FOUND,
        ),
        (
            (
                "remote: The project you were looking for could not be found or you don't have "
                "permission to view it."
            ),
            Reason.GIT_REPOSITORY_NOT_FOUND,
        ),
        ("fatal: unable to access 'URL/': Could not resolve host: h", Reason.GIT_UNREACHABLE),
        (
            "fatal: unable to access 'URL/': The requested URL returned error: 502",
            Reason.GIT_UNREACHABLE,
        ),
        (
            "error: RPC failed; curl 56 Recv failure: Connection reset by peer",
            Reason.GIT_UNREACHABLE,
        ),
        ("fatal: unable to access 'URL/': Operation too slow.", Reason.GIT_UNREACHABLE),
        ("fatal: unable to access 'URL/': SSL certificate problem: x", Reason.GIT_UNREACHABLE),
        ("ssh: connect to host h port 22: Connection timed out", Reason.GIT_UNREACHABLE),
        ("fatal: write error: No space left on device", Reason.DISK_FULL),
        (
            (
                "No ED25519 host key is known for h and you have requested strict checking.\r\n"
                "Host key verification failed.\r\nfatal: Could not read from remote repository."
            ),
            Reason.GIT_HOST_KEY_FAILED,
        ),
        (
            "@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key verification failed.",
            Reason.GIT_HOST_KEY_FAILED,
        ),
        (
            "batch response: Authentication required: Authorization error: URL",
            Reason.GIT_AUTH_FAILED,
        ),
        ("batch request: dial tcp 10.0.0.1:80: i/o timeout", Reason.GIT_UNREACHABLE),
        ("batch response: Server error: URL from HTTP 503", Reason.GIT_UNREACHABLE),
        ("fatal: something nobody has seen", Reason.GIT_FAILED),
        ("", Reason.GIT_FAILED),
    ],
)
def test_the_words_of_git(stderr: str, reason: Reason) -> None:
    assert classify(stderr)[0] is reason


@pytest.mark.parametrize(
    ("stderr", "transient"),
    [
        ("fatal: unable to access 'URL/': The requested URL returned error: 503", True),
        ("fatal: unable to access 'URL/': The requested URL returned error: 429", True),
        ("fatal: unable to access 'URL/': The requested URL returned error: 404", False),
        ("fatal: unable to access 'URL/': The requested URL returned error: 418", False),
        ("error: RPC failed; curl 56 Recv failure: Connection reset by peer", True),
        ("fatal: unable to access 'URL/': SSL certificate problem: x", False),
        ("fatal: unable to access 'URL/': OpenSSL SSL_read: Connection reset by peer", True),
        ("Host key verification failed.", False),
        ("fatal: Authentication failed for 'URL/'", False),
        ("fatal: write error: No space left on device", True),
        ("something else", False),
    ],
)
def test_what_may_succeed_later(stderr: str, transient: bool) -> None:
    reason, _ = classify(stderr)
    assert is_transient(reason, stderr) is transient


def test_the_line_that_tells() -> None:
    """Not what git says of every ssh that failed."""
    end = "Please make sure you have the correct access rights\nand the repository exists."
    stderr = f"ERROR: no such project\nfatal: Could not read from remote repository.\n\n{end}"
    assert telling_line(stderr) == "ERROR: no such project"
    assert telling_line(end) == "and the repository exists."
    assert telling_line("") == ""


class Flaky(socketserver.ThreadingTCPServer):
    """Hangs up on two connections and passes the others on to `upstream`."""

    allow_reuse_address = True

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream = upstream
        self.numbers = itertools.count()


class Relay(socketserver.BaseRequestHandler):
    server: Flaky

    def handle(self) -> None:
        if next(self.server.numbers) < 2:
            return
        with socket.create_connection(self.server.upstream) as upstream:
            peers = {self.request: upstream, upstream: self.request}
            while True:
                for source in select.select(list(peers), [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    peers[source].sendall(data)


def test_a_server_that_comes_back(tmp_path: Path, repository: Repository, server: str) -> None:
    """Two connections are hung up, then the clone goes on: nobody notices but the log."""
    host, _, port = server.removeprefix("http://").partition(":")
    with Flaky((host, int(port))) as flaky:
        threading.Thread(target=flaky.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{flaky.server_address[1]}/app.git"
        result = check_out(tmp_path, GitSource(url, "main"))
        flaky.shutdown()
    assert result.checkout.commit == repository.commits["third"]
    assert result.log.count("Trying again in") == 2
