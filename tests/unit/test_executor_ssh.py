"""With a real sshd: the request's key and known hosts count, whatever else the machine has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import GitLogin, GitSource
from builder_framework.redact import Secret
from devcluster.config import Credentials
from devcluster.ssh import SshServer, make_key
from executor.failure import BuildFailure
from tests.unit.git_hosts import Host, check_out, ssh_for


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(tmp_path_factory.mktemp("host"), Credentials("ann", "canary-p")).serving() as host:
        host.create("lib", {"lib.txt": "library"})
        host.create("app", {"name.txt": "app"}, private=True)
        yield host


@pytest.fixture(scope="module")
def ssh(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_for(host, tmp_path_factory.mktemp("ssh")) as server:
        yield server


def new_key(tmp_path: Path) -> str:
    make_key(tmp_path / "new-key")
    text = (tmp_path / "new-key").read_text()
    for path in tmp_path.glob("new-key*"):
        path.unlink()
    return text


def fails(tmp_path: Path, source: GitSource) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, source)
    assert not caught.value.transient
    return caught.value


def test_the_key_lets_us_in_and_stays_nowhere(
    tmp_path: Path, ssh: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in argv, environment, .git/config or log; no agent is asked."""
    bin_dir, seen = tmp_path / "bin", tmp_path / "seen"
    bin_dir.mkdir()
    for name in ("git", "ssh"):
        real = shutil.which(name)
        (bin_dir / name).write_text(f'#!/bin/sh\n(echo "$*"; env) >> {seen}\nexec {real} "$@"\n')
        (bin_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent")
    source = GitSource(f"{ssh.url}/app.git", ssh_key=Secret(ssh.key), known_hosts=ssh.known_hosts)
    assert check_out(tmp_path, source).files == {"name.txt": b"app"}
    told = seen.read_text()
    assert "IdentitiesOnly=yes" in told
    assert "SSH_AUTH_SOCK" not in told
    for line in ssh.key.splitlines()[1:-1]:
        assert line not in told + (tmp_path / "build.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "build.log", "seen"]


def test_a_refused_key(tmp_path: Path, ssh: SshServer) -> None:
    key = Secret(new_key(tmp_path))
    failure = fails(
        tmp_path, GitSource(f"{ssh.url}/app.git", ssh_key=key, known_hosts=ssh.known_hosts)
    )
    assert failure.reason is Reason.GIT_AUTH_FAILED
    assert "refused the ssh key" in failure.message
    assert "Permission denied (publickey)" in failure.message


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ("[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4\n", "is not known"),
        (None, "is not the known one"),
    ],
    ids=["unknown", "another"],
)
def test_a_host_key_that_is_not_the_known_one(
    tmp_path: Path, ssh: SshServer, known: str | None, words: str
) -> None:
    """Nothing is sent to that server; the sentence tells what to do."""
    if known is None:
        make_key(tmp_path / "host")
        kind, key, *_ = (tmp_path / "host.pub").read_text().split()
        known = f"{ssh.known_hosts.split()[0]} {kind} {key}\n"
    source = GitSource(f"{ssh.url}/app.git", ssh_key=Secret(ssh.key), known_hosts=known)
    failure = fails(tmp_path, source)
    assert failure.reason is Reason.GIT_HOST_KEY_FAILED
    assert words in failure.message
    port = ssh.url.rpartition(":")[2]
    assert f"ssh-keyscan -p {port} 127.0.0.1" in failure.message


def test_a_repository_that_is_not_there(tmp_path: Path, ssh: SshServer) -> None:
    source = GitSource(f"{ssh.url}/nope.git", ssh_key=Secret(ssh.key), known_hosts=ssh.known_hosts)
    failure = fails(tmp_path, source)
    assert failure.reason is Reason.GIT_REPOSITORY_NOT_FOUND
    assert failure.message.endswith("ERROR: Repository not found.")


def test_a_server_that_is_away(tmp_path: Path, ssh: SshServer) -> None:
    url = f"ssh://{ssh.user}@127.0.0.1:1/app.git"
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, GitSource(url, ssh_key=Secret(ssh.key), known_hosts=ssh.known_hosts))
    assert caught.value.reason is Reason.GIT_UNREACHABLE
    assert caught.value.transient


def test_a_logins_key_is_for_its_own_port(tmp_path: Path, ssh: SshServer) -> None:
    """The key of another port is not even tried."""
    address = ssh.url.rpartition("@")[2]
    for host, allowed in ((address, True), ("127.0.0.1", False), ("127.0.0.1:22", False)):
        login = GitLogin(host, ssh_key=Secret(ssh.key))
        source = GitSource(
            f"{ssh.url}/app.git",
            # Else the machine's own keys would be tried.
            ssh_key=None if allowed else Secret(new_key(tmp_path)),
            known_hosts=ssh.known_hosts,
            logins=(login,),
        )
        if allowed:
            assert check_out(tmp_path, source).files == {"name.txt": b"app"}
        else:
            assert fails(tmp_path, source).reason is Reason.GIT_AUTH_FAILED
