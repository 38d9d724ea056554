"""Git hosts for tests of the executor's sources: real HTTP servers, and a real sshd."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder_framework.recipe import GitSource
from devcluster import gitd
from devcluster.config import ClusterConfig, Credentials
from devcluster.git import Files, GitServer
from devcluster.postgres import free_port
from devcluster.ssh import SshServer, SshSite
from executor.cancel import CancelToken
from executor.git import Checkout, Git
from executor.log import BuildLog
from executor.retry import Backoff, Retries
from executor.workspace import workspace

PROTOCOLS = ("https", "http", "ssh")


class _Handler(gitd.Handler):
    """Notes what clients say who they are."""

    def parse_request(self) -> bool:
        done = super().parse_request()
        if done and (sent := self.headers.get("Authorization")):
            assert isinstance(self.server, _Server)
            self.server.logins.append(sent)
        return done


class _Server(gitd.GitServer):
    def __init__(self, root: Path, user: Credentials) -> None:
        super().__init__(("127.0.0.1", 0), root, user.username, user.password)
        self.RequestHandlerClass = _Handler
        self.logins: list[str] = []


class Host:
    """Repositories, and an HTTP server for them. `logins`: Authorization headers it has seen."""

    def __init__(self, directory: Path, user: Credentials) -> None:
        self.user = user
        self._git = GitServer(ClusterConfig.named("unit", state_dir=directory), user)
        self.root = directory / "git"
        self.root.mkdir(parents=True)
        self._server = _Server(self.root, user)
        self.logins = self._server.logins

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def url(self, name: str) -> str:
        return f"http://{self.address}/{name}.git"

    def path(self, name: str) -> Path:
        return self.root / f"{name}.git"

    def create(self, name: str, files: Files, *, private: bool = False) -> str:
        """Makes the repository anew; the id of its commit."""
        shutil.rmtree(self.path(name), ignore_errors=True)
        self._git.create_repository(name, files, private=private)
        return self._git.head(name)

    def commit(self, name: str, files: Files, *, tag: str | None = None) -> str:
        return self._git.commit(name, files, tag=tag)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Host]:
        with self._server as running:
            threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
            yield self
            running.shutdown()


@contextlib.contextmanager
def ssh_for(host: Host, directory: Path) -> Iterator[SshServer]:
    """A real sshd with the host's repositories."""
    site = SshSite("127.0.0.1", free_port(), host.root, f"http://{host.address}", host.user)
    server = SshServer(site, directory / "ssh", directory / "run", directory / "ssh.log")
    # A run that is killed leaves no sshd behind.
    server.daemon.argv = ["setpriv", "--pdeathsig", "TERM", *server.daemon.argv]
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Result:
    """A checkout: its files by path (`.git` left out), and the directories that have a `.git`."""

    checkout: Checkout
    files: Mapping[str, bytes]
    git_dirs: list[str]
    git_config: str
    log: str
    heard: list[str] = field(default_factory=list)


def check_out(
    tmp_path: Path,
    source: GitSource,
    protocols: tuple[str, ...] = PROTOCOLS,
    tries: int = 1,
    mirrors: Path | None = None,
) -> Result:
    """What the executor makes of a source. The log is in `tmp_path`, also when it fails."""
    log = BuildLog(tmp_path / "build.log", [s for s in source.secrets() if s is not None])
    try:
        with workspace(tmp_path, tmp_path) as space:
            token = CancelToken()
            retries = Retries(token, log.line, Backoff(0.01, 0.01), tries=tries)
            heard: list[str] = []
            git = Git(source, protocols, space, log, token, retries, mirrors)
            done = git.check_out(heard.append)
            tree = space.checkout
            config = tree / ".git" / "config"
            return Result(
                done,
                dict(_files(tree)),
                sorted(str(path.parent.relative_to(tree)) for path in tree.rglob(".git")),
                config.read_text() if config.exists() else "",
                (tmp_path / "build.log").read_text(),
                heard,
            )
    finally:
        log.close()


def _files(tree: Path) -> Iterator[tuple[str, bytes]]:
    for path in tree.rglob("*"):
        inside = path.relative_to(tree)
        if path.is_file() and ".git" not in inside.parts:
            yield str(inside), path.read_bytes()
