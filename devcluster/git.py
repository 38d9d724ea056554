"""The cluster's Git repositories: made and committed to here, served by `gitd` and `ssh`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import httpclient, lfs
from devcluster.config import REPOSITORY, ClusterConfig, Credentials, locked, write_private
from devcluster.daemon import Daemon, Service
from devcluster.errors import ClusterError
from devcluster.gitd import PRIVATE_MARK
from devcluster.ssh import SshServer, SshSite

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
BRANCH = "main"
#: Commits carry a fixed author and date: the same content gives the same commit everywhere.
AUTHOR = {
    "GIT_AUTHOR_NAME": "Dev Cluster",
    "GIT_AUTHOR_EMAIL": "devcluster@example.invalid",
    "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Dev Cluster",
    "GIT_COMMITTER_EMAIL": "devcluster@example.invalid",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
}


@dataclass(frozen=True)
class LfsFile:
    """A file whose content is a Git LFS object; the commit has its pointer."""

    content: bytes


@dataclass(frozen=True)
class Submodule:
    """A commit of another repository in place of a file; `url` may be relative, as in git's own."""

    url: str
    commit: str


Files = Mapping[str, str | bytes | LfsFile | Submodule]


class GitServer(Service):
    """The HTTP git server: its process, its user, and the repositories behind it.

    `ssh`: the same repositories over SSH, a process of its own.
    """

    def __init__(self, config: ClusterConfig, credentials: Credentials) -> None:
        self._config = config
        self._credentials = credentials
        self._root = config.state_dir / "git"
        self._file = config.state_dir / "git.json"
        self.daemon = Daemon(
            name="git",
            argv=[sys.executable, "-m", "devcluster.gitd", str(self._file)],
            run_dir=config.run_dir,
            log_path=config.log_dir / "git.log",
            env={"PYTHONPATH": str(REPOSITORY)},
            is_ready=lambda: httpclient.status_of(self.url) == 404,
        )
        site = SshSite(config.address, config.ports.ssh, self._root, self.url, credentials)
        directory = config.state_dir / "ssh"
        self.ssh = SshServer(site, directory, config.run_dir, config.log_dir / "ssh.log")

    @property
    def url(self) -> str:
        """The base of clone URLs, without a slash at its end."""
        return f"http://{self._config.address}:{self._config.ports.git}"

    @property
    def username(self) -> str:
        return self._credentials.username

    @property
    def password(self) -> str:
        return self._credentials.password

    @property
    def ssh_key(self) -> str:
        """The private key that the SSH server lets in."""
        return self.ssh.key

    @property
    def known_hosts(self) -> str:
        """The SSH server's line of a known_hosts file."""
        return self.ssh.known_hosts

    def spawn(self) -> None:
        """Starts the process; returns at once."""
        self._root.mkdir(parents=True, exist_ok=True)
        settings = {
            "host": self._config.address,
            "port": self._config.ports.git,
            "root": str(self._root),
            "username": self.username,
            "password": self.password,
        }
        write_private(self._file, json.dumps(settings, indent=2) + "\n")
        self.daemon.spawn()

    def clone_url(self, name: str, *, pause: float = 0.0) -> str:
        """The URL to clone `name` from; with `pause`, the pack comes after that many seconds."""
        middle = f"slow/{pause:g}/" if pause else ""
        return f"{self.url}/{middle}{name.removesuffix('.git')}.git"

    def ssh_url(self, name: str) -> str:
        """The URL to clone `name` from over SSH, with `ssh_key`."""
        return f"{self.ssh.url}/{name.removesuffix('.git')}.git"

    def create_repository(self, name: str, files: Files, *, private: bool = False) -> str:
        """Makes (or makes anew) a repository with one commit of `files`; returns its clone URL."""
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._git(None, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(path))
            # Clients may ask for any commit, not only for what a branch or tag names.
            self._git(path, "config", "uploadpack.allowAnySHA1InWant", "true")
            self._git(path, "config", "uploadpack.allowFilter", "true")
        mark = path / PRIVATE_MARK
        if private:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)
        for line in self._git(path, "for-each-ref", "--format=%(refname)").split():
            self._git(path, "update-ref", "-d", line)
        self.commit(name, files)
        return self.clone_url(name)

    def commit(
        self,
        name: str,
        files: Files,
        *,
        branch: str = BRANCH,
        tag: str | None = None,
        message: str = "A commit of the dev cluster",
    ) -> str:
        """Adds `files` to a branch (made from ``main`` when new) as one commit; returns its id."""
        path = self._path(name)
        if not path.exists():
            raise ClusterError(f"there is no repository {name}; create it first")
        with locked(path / "devcluster.lock"):
            parent = self._resolve(path, branch) or self._resolve(path, BRANCH)
            tree = self._write_tree(path, parent, files)
            parents = ["-p", parent] if parent else []
            commit = self._git(path, "commit-tree", *parents, "-m", message, tree).strip()
            self._git(path, "update-ref", f"refs/heads/{branch}", commit)
            if tag is not None:
                self._git(path, "update-ref", f"refs/tags/{tag}", commit)
        return commit

    def create_ref(self, name: str, ref: str, commit: str) -> None:
        """Lets a full ref, like a host's ``refs/merge-requests/1/head``, name a commit."""
        self._git(self._path(name), "update-ref", ref, commit)

    def delete_ref(self, name: str, ref: str) -> None:
        """Takes a full ref away."""
        self._git(self._path(name), "update-ref", "-d", ref)

    def head(self, name: str, ref: str = BRANCH) -> str:
        """The commit that a branch or tag names."""
        commit = self._resolve(self._path(name), ref)
        if commit is None:
            raise ClusterError(f"the repository {name} has no {ref}")
        return commit

    def read(self, name: str, file: str, ref: str = BRANCH) -> str | None:
        """A file's text as a branch or tag has it; None without such a repository or file."""
        path = self._path(name)
        if self._resolve(path, ref) is None:
            return None
        argv = ["git", "-C", str(path), "show", f"{ref}:{file}"]
        done = subprocess.run(argv, env=_environment(), capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def _write_tree(self, path: Path, parent: str | None, files: Files) -> str:
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            if parent:
                self._git(path, "read-tree", parent, env=index)
            for name, content in {**_companions(files), **files}.items():
                mode, identity = self._entry(path, content)
                entry = f"{mode},{identity},{name}"
                self._git(path, "update-index", "--add", "--cacheinfo", entry, env=index)
            return self._git(path, "write-tree", env=index).strip()

    def _entry(self, path: Path, content: str | bytes | LfsFile | Submodule) -> tuple[str, str]:
        """Mode and object of a tree's entry; the object is stored."""
        if isinstance(content, Submodule):
            return "160000", content.commit
        if isinstance(content, LfsFile):
            content = lfs.store(path, content.content)
        data = content.encode() if isinstance(content, str) else content
        blob = self._git(path, "hash-object", "-w", "--stdin", stdin=data).strip()
        return ("100755" if data.startswith(b"#!") else "100644"), blob

    def _resolve(self, path: Path, ref: str) -> str | None:
        argv = ["git", "-C", str(path), "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}"]
        done = subprocess.run(argv, env=_environment(), capture_output=True, text=True, check=False)
        return (done.stdout.strip() or None) if done.returncode == 0 else None

    def _path(self, name: str) -> Path:
        bare = name.removesuffix(".git")
        if not NAME.fullmatch(bare):
            raise ClusterError(f"{name!r} cannot be the name of a repository here")
        return self._root / f"{bare}.git"

    @staticmethod
    def _git(
        path: Path | None,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> str:
        place = ["-C", str(path)] if path else []
        done = subprocess.run(
            ["git", *place, *arguments],
            input=stdin,
            env={**_environment(), **(env or {})},
            capture_output=True,
            check=False,
            umask=0o022,  # the SSH server's user reads what is written here
        )
        if done.returncode:
            error = done.stderr.decode(errors="replace").strip()
            raise ClusterError(f"`git {arguments[0]}` failed: {error}")
        return done.stdout.decode()


def _companions(files: Files) -> dict[str, str]:
    """What git and git-lfs would have written beside these: .gitmodules and .gitattributes."""
    modules = [
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {content.url}\n'
        for name, content in files.items()
        if isinstance(content, Submodule)
    ]
    attributes = [
        f"{name} filter=lfs diff=lfs merge=lfs -text\n"
        for name, content in files.items()
        if isinstance(content, LfsFile)
    ]
    found = {".gitmodules": "".join(modules), ".gitattributes": "".join(attributes)}
    return {name: text for name, text in found.items() if text}


def _environment() -> dict[str, str]:
    """Git's environment without the user's: no hook's GIT_DIR, no signing, no template."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return {**kept, **AUTHOR, **fixed}
