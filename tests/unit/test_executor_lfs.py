"""Git LFS with the real client and the batch API: the commit's objects, from whom we know."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import GitLogin, GitSource
from builder_framework.redact import Secret
from devcluster.config import Credentials
from devcluster.git import Files, LfsFile, Submodule
from devcluster.ssh import SshServer
from executor import lfs
from executor.failure import BuildFailure
from tests.unit.git_hosts import Host, check_out, ssh_for

ANN, BOB = Credentials("ann", "canary-of-ann"), Credentials("bob", "canary-of-bob")
BIG = bytes(range(256)) * 100
LOGIN = {"username": ANN.username, "password": Secret(ANN.password)}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(tmp_path_factory.mktemp("near"), ANN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(tmp_path_factory.mktemp("far"), BOB).serving() as host:
        yield host


@pytest.fixture(scope="module")
def near_ssh(near: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_for(near, tmp_path_factory.mktemp("ssh")) as server:
        yield server


def source(url: str, **fields: object) -> GitSource:
    return GitSource(url, lfs=True, **fields)  # type: ignore[arg-type]


def refused(tmp_path: Path, what: GitSource, reason: Reason) -> str:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, what)
    assert caught.value.reason is reason, caught.value.message
    return caught.value.message


def test_objects_come_in_place_of_their_pointers(tmp_path: Path, near: Host) -> None:
    """From a private repository; only those of the commit, and no copy stays beside them."""
    near.create("app", {"old.bin": LfsFile(b"of an older commit")}, private=True)
    near.commit("app", {"big.bin": LfsFile(BIG), "a/b.bin": LfsFile(b"small"), "old.bin": "gone"})
    for keep in (False, True):
        result = check_out(tmp_path, source(near.url("app"), keep_git_dir=keep, **LOGIN))
        assert result.files["big.bin"] == BIG
        assert result.files["a/b.bin"] == b"small"
        assert result.git_dirs == (["."] if keep else [])
        assert "pointers" not in result.log
        assert ANN.password not in result.log + result.git_config


def test_pointers_stay_and_the_log_counts_them(tmp_path: Path, near: Host) -> None:
    near.create("app", {"big.bin": LfsFile(BIG), "b.bin": LfsFile(b"b"), "c.txt": "c"})
    result = check_out(tmp_path, GitSource(near.url("app")))
    assert result.files["big.bin"].startswith(b"version https://git-lfs.github.com/spec/v1\n")
    assert result.log.count("pointers") == 1
    assert "2 files are Git LFS pointers" in result.log


def test_a_repository_without_lfs_is_as_ever(tmp_path: Path, near: Host) -> None:
    near.create("app", {"c.txt": "c"})
    for what in (source(near.url("app")), GitSource(near.url("app"))):
        result = check_out(tmp_path, what)
        assert result.files == {"c.txt": b"c"}
        assert "LFS" not in result.log


def test_over_ssh_the_server_says_where_they_are(
    tmp_path: Path, near: Host, near_ssh: SshServer
) -> None:
    near.create("app", {"big.bin": LfsFile(BIG)}, private=True)
    what = source(
        f"{near_ssh.url}/app.git", ssh_key=Secret(near_ssh.key), known_hosts=near_ssh.known_hosts
    )
    assert check_out(tmp_path, what).files["big.bin"] == BIG


def test_those_of_submodules_too(tmp_path: Path, near: Host, far: Host) -> None:
    lib = far.create("lib", {"lib.bin": LfsFile(b"far object")}, private=True)
    near.create("app", {"big.bin": LfsFile(BIG), "lib": Submodule(far.url("lib"), lib)})
    login = GitLogin(far.address, BOB.username, Secret(BOB.password))
    what = source(near.url("app"), submodules=True, logins=(login,))
    result = check_out(tmp_path, what)
    assert result.files["big.bin"] == BIG
    assert result.files["lib/lib.bin"] == b"far object"


def test_a_missing_object_fails_the_build(tmp_path: Path, near: Host) -> None:
    near.create("app", {"big.bin": LfsFile(BIG)})
    shutil.rmtree(near.path("app").with_suffix(".lfs"))
    message = refused(tmp_path, source(near.url("app")), Reason.GIT_LFS_FAILED)
    assert message.startswith("Git LFS: ")
    assert "there is no such object" in message


def test_refused_credentials_are_told_as_such(tmp_path: Path, near: Host, far: Host) -> None:
    """The repository is open; its objects are not."""
    far.create("app", {"big.bin": LfsFile(BIG)}, private=True)
    config = f"[lfs]\n\turl = {far.url('app')}/info/lfs\n"
    near.create("app", {"big.bin": LfsFile(BIG), ".lfsconfig": config})
    login = GitLogin(far.address, BOB.username, Secret("wrong"))
    refused(tmp_path, source(near.url("app"), logins=(login,)), Reason.GIT_AUTH_FAILED)


def test_lfsconfig_may_name_the_same_host_or_one_with_a_login(
    tmp_path: Path, near: Host, far: Host
) -> None:
    near.create("objects", {"big.bin": LfsFile(BIG)})
    config = f"[lfs]\n\turl = {near.url('objects')}/info/lfs\n"
    near.create("app", {"big.bin": LfsFile(BIG), ".lfsconfig": config})
    shutil.rmtree(near.path("app").with_suffix(".lfs"))
    assert check_out(tmp_path, source(near.url("app"))).files["big.bin"] == BIG
    far.create("objects", {"big.bin": LfsFile(BIG)}, private=True)
    config = f"[lfs]\n\turl = {far.url('objects')}/info/lfs\n"
    near.create("app", {"big.bin": LfsFile(BIG), ".lfsconfig": config}, private=True)
    far.logins.clear()
    message = refused(tmp_path, source(near.url("app"), **LOGIN), Reason.GIT_LFS_FAILED)
    assert far.address in message
    assert "source.git.logins" in message
    assert far.logins == []
    login = GitLogin(far.address, BOB.username, Secret(BOB.password))
    what = source(near.url("app"), **LOGIN, logins=(login,))
    assert check_out(tmp_path, what).files["big.bin"] == BIG


def test_a_foreign_submodule_does_not_reach_for_the_repositorys_own_objects(
    tmp_path: Path, near: Host, far: Host
) -> None:
    """It would be with the login of the repository that it is in."""
    config = f"[lfs]\n\turl = {near.url('app')}/info/lfs\n"
    lib = far.create("lib", {"stolen.bin": LfsFile(BIG), ".lfsconfig": config})
    files: Files = {"big.bin": LfsFile(BIG), "lib": Submodule(far.url("lib"), lib)}
    near.create("app", files, private=True)
    what = source(near.url("app"), submodules=True, **LOGIN)
    assert "in submodule 'lib'" in refused(tmp_path, what, Reason.GIT_LFS_FAILED)


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::sh -c touch", "--x", "ssh://-oProxyCommand=x/y", "ftp://h/x", ""]
)
def test_lfsconfig_names_nothing_but_a_git_url(tmp_path: Path, near: Host, url: str) -> None:
    config = f"[lfs]\n\turl = {url}\n"
    near.create("app", {"big.bin": LfsFile(BIG), ".lfsconfig": config})
    refused(tmp_path, source(near.url("app")), Reason.GIT_LFS_FAILED)


def test_no_transfer_program_of_the_repository_runs(tmp_path: Path, near: Host, far: Host) -> None:
    """Nor a remote's lfsurl, a push URL or a filter of its own."""
    canary = f"touch {tmp_path}/canary"
    config = (
        f"[lfs]\n\tstandalonetransferagent = evil\n\tbasictransfersonly = false\n"
        f'[lfs "customtransfer.evil"]\n\tpath = {canary}\n\targs = x\n'
        f'[remote "origin"]\n\tlfsurl = {far.url("app")}/info/lfs\n'
        f'[filter "lfs"]\n\tprocess = {canary}\n\tsmudge = {canary}\n'
        f"[core]\n\tsshCommand = {canary}\n\taskPass = {canary}\n"
    )
    near.create("app", {"big.bin": LfsFile(BIG), ".lfsconfig": config})
    assert check_out(tmp_path, source(near.url("app"))).files["big.bin"] == BIG
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://h/g/app.git", "https://h/g/app.git/info/lfs"),
        ("https://h/g/app", "https://h/g/app.git/info/lfs"),
        ("https://h/g/app/", "https://h/g/app.git/info/lfs"),
        ("ssh://git@h/g/app.git", "ssh://git@h/g/app.git"),
        ("git@h:g/app.git", "git@h:g/app.git"),
    ],
)
def test_server_discovery(url: str, server: str) -> None:
    """https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md"""
    assert lfs.standard_server(url) == server
