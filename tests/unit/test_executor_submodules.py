"""Submodules with real git: fetched where they belong, and nothing that a repository says runs."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from builder_framework.recipe import GitLogin, GitSource
from builder_framework.redact import Secret
from devcluster.config import Credentials
from devcluster.git import Files, Submodule
from devcluster.ssh import SshServer
from executor import submodules
from executor.failure import BuildFailure
from tests.unit.git_hosts import Host, check_out, ssh_for

ANN, BOB = Credentials("ann", "canary-of-ann"), Credentials("bob", "canary-of-bob")


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The host of the repositories that are built."""
    with Host(tmp_path_factory.mktemp("near"), ANN).serving() as host:
        yield host


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Another host, on the same name and another port."""
    with Host(tmp_path_factory.mktemp("far"), BOB).serving() as host:
        yield host


@pytest.fixture(scope="module")
def far_ssh(far: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_for(far, tmp_path_factory.mktemp("ssh")) as server:
        yield server


def source(host: Host, name: str = "app", **fields: object) -> GitSource:
    return GitSource(host.url(name), submodules=True, **fields)  # type: ignore[arg-type]


def refused(tmp_path: Path, what: GitSource, reason: Reason) -> str:
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, what)
    assert caught.value.reason is reason, caught.value.message
    return caught.value.message


# -- what people want --------------------------------------------------------------------------


def test_submodules_of_submodules_come_with_relative_urls(tmp_path: Path, near: Host) -> None:
    """Each relative to the one that it is in; exactly the gitlink's commit, not the newest."""
    leaf = near.create("leaf", {"leaf.txt": "old"})
    near.commit("leaf", {"leaf.txt": "new"})
    lib = near.create("lib", {"lib.txt": "lib", "deep/leaf": Submodule("../leaf.git", leaf)})
    near.create("app", {"app.txt": "app", "libs/lib": Submodule("./../lib.git", lib)})
    result = check_out(tmp_path, source(near))
    assert result.files["app.txt"] == b"app"
    assert result.files["libs/lib/lib.txt"] == b"lib"
    assert result.files["libs/lib/deep/leaf/leaf.txt"] == b"old"
    assert result.git_dirs == []
    assert f"Submodule libs/lib: {lib[:12]}" in result.log


def test_without_being_asked_for_there_are_none(tmp_path: Path, near: Host) -> None:
    lib = near.create("lib", {"lib.txt": "lib"})
    near.create("app", {"app.txt": "app", "lib": Submodule("../lib.git", lib)})
    assert set(check_out(tmp_path, GitSource(near.url("app"))).files) == {".gitmodules", "app.txt"}


def test_a_repository_without_submodules_is_as_ever(tmp_path: Path, near: Host) -> None:
    near.create("app", {"app.txt": "app"})
    assert check_out(tmp_path, source(near)).files == {"app.txt": b"app"}


def test_the_git_directories_are_kept_where_that_is_wanted(tmp_path: Path, near: Host) -> None:
    """In the tree, where git finds them; nowhere a name from .gitmodules."""
    lib = near.create("lib", {"lib.txt": "lib"})
    near.create("app", {"lib": Submodule("../lib.git", lib)})
    near.commit("app", {"more.txt": "more"}, tag="v1")
    result = check_out(tmp_path, source(near, keep_git_dir=True))
    assert result.git_dirs == [".", "lib"]
    assert f"url = {near.url('app')}" in result.git_config


# -- credentials -------------------------------------------------------------------------------


def test_the_password_goes_to_the_repositorys_own_host_only(
    tmp_path: Path, near: Host, far: Host
) -> None:
    """The far host asks for one and gets none: not the near one's."""
    lib = far.create("lib", {"lib.txt": "far"}, private=True)
    near.create("app", {"lib": Submodule(far.url("lib"), lib)}, private=True)
    far.logins.clear()
    what = source(near, username=ANN.username, password=Secret(ANN.password))
    message = refused(tmp_path, what, Reason.GIT_AUTH_FAILED)
    assert "submodule 'lib'" in message
    assert far.logins == []


def test_a_relative_url_that_leaves_the_host_leaves_the_password_behind(
    tmp_path: Path, near: Host, far: Host
) -> None:
    lib = far.create("lib", {"lib.txt": "far"}, private=True)
    url = f"../../{far.address}/lib.git"
    near.create("app", {"lib": Submodule(url, lib)}, private=True)
    far.logins.clear()
    what = source(near, username=ANN.username, password=Secret(ANN.password))
    refused(tmp_path, what, Reason.GIT_AUTH_FAILED)
    assert far.logins == []


def test_another_host_gets_its_own_login(tmp_path: Path, near: Host, far: Host) -> None:
    lib = far.create("lib", {"lib.txt": "far"}, private=True)
    near_lib = near.create("lib", {"lib.txt": "near"}, private=True)
    files = {"far": Submodule(far.url("lib"), lib), "near": Submodule("../lib.git", near_lib)}
    near.create("app", files, private=True)
    far.logins.clear()
    near.logins.clear()
    login = GitLogin(far.address, BOB.username, Secret(BOB.password))
    what = source(near, username=ANN.username, password=Secret(ANN.password), logins=(login,))
    result = check_out(tmp_path, what)
    assert (result.files["far/lib.txt"], result.files["near/lib.txt"]) == (b"far", b"near")
    for host, user in ((near, ANN), (far, BOB)):
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        assert set(host.logins) == {f"Basic {pair}"}
    for user in (ANN, BOB):
        assert user.password not in result.log


def test_another_host_over_ssh_gets_its_own_key(
    tmp_path: Path, near: Host, far: Host, far_ssh: SshServer
) -> None:
    lib = far.create("lib", {"lib.txt": "far"}, private=True)
    near.create("app", {"lib": Submodule(f"{far_ssh.url}/lib.git", lib)})
    login = GitLogin(far_ssh.url.rpartition("@")[2], ssh_key=Secret(far_ssh.key))
    what = source(near, known_hosts=far_ssh.known_hosts, logins=(login,))
    assert check_out(tmp_path, what).files["lib/lib.txt"] == b"far"


# -- what hostile repositories want ------------------------------------------------------------


def naive_gitmodules(name: str, path: str, url: str, more: str = "") -> str:
    return f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n{more}'


@pytest.mark.parametrize("name", ["../../evil", "../hooks", "..", "-x", "a\\nb"])
def test_a_name_is_no_path(tmp_path: Path, near: Host, name: str) -> None:
    """CVE-2018-11235: `.git/modules/<name>` was where the tree had a repository with hooks."""
    lib = near.create("lib", {"lib.txt": "lib"})
    hook = f"#!/bin/sh\ntouch {tmp_path}/canary\n"
    files: Files = {
        "evil/HEAD": "ref: refs/heads/main\n",
        "evil/hooks/post-checkout": hook,
        "lib": Submodule("../lib.git", lib),
        ".gitmodules": naive_gitmodules(name, "lib", "../lib.git"),
    }
    near.create("app", files)
    for keep in (True, False):
        result = check_out(tmp_path, source(near, keep_git_dir=keep))
        assert result.files["lib/lib.txt"] == b"lib"
        assert result.git_dirs == ([".", "lib"] if keep else [])
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize(
    "url",
    [
        "-u./payload",  # CVE-2018-17456
        "--upload-pack=./payload",
        "ext::sh -c ./payload",
        "ssh://-oProxyCommand=./payload/x",
        "-oProxyCommand=./payload:x",
        "file:///etc",
        "/etc",
        ".",
        "../../../../../../x",
        "http://user:pass@127.0.0.1/x",
        "http://127.0.0.1/x%0ahost=evil.example",  # CVE-2020-5260
        "git://127.0.0.1/x",
        "",
    ],
)
def test_a_url_passes_what_a_requests_url_passes(tmp_path: Path, near: Host, url: str) -> None:
    lib = near.create("lib", {"lib.txt": "lib"})
    files: Files = {
        "payload": f"#!/bin/sh\ntouch {tmp_path}/canary\n",
        "lib": Submodule("", lib),
        ".gitmodules": naive_gitmodules("lib", "lib", url),
    }
    near.create("app", files)
    refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)
    assert not list(tmp_path.rglob("*canary*"))


def test_file_urls_are_for_those_who_have_one(tmp_path: Path, near: Host) -> None:
    """Where the operator allows files, a repository of elsewhere must not read the agent's."""
    lib = near.create("lib", {"lib.txt": "lib"})
    near.create("app", {"lib": Submodule(f"file://{near.path('lib')}", lib)})
    with pytest.raises(BuildFailure) as caught:
        check_out(tmp_path, source(near), ("http", "file"))
    assert caught.value.reason is Reason.GIT_SUBMODULE_FAILED
    local = GitSource(f"file://{near.path('app')}", submodules=True)
    assert check_out(tmp_path, local, ("http", "file")).files["lib/lib.txt"] == b"lib"


def test_an_update_command_is_not_run(tmp_path: Path, near: Host) -> None:
    """CVE-2019-19604 was `update = !command` in .gitmodules."""
    lib = near.create("lib", {"lib.txt": "lib"})
    more = f"\tupdate = !touch {tmp_path}/canary\n\tbranch = --upload-pack=x\n"
    modules = naive_gitmodules("lib", "lib", "../lib.git", more)
    near.create("app", {"lib": Submodule("", lib), ".gitmodules": modules})
    assert check_out(tmp_path, source(near)).files["lib/lib.txt"] == b"lib"
    assert not list(tmp_path.rglob("*canary*"))


def test_gitmodules_includes_nothing_and_is_no_link(tmp_path: Path, near: Host) -> None:
    lib = near.create("lib", {"lib.txt": "lib"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(naive_gitmodules("lib", "lib", "../lib.git"))
    include = f"[include]\n\tpath = {elsewhere}\n"
    near.create("app", {"lib": Submodule("", lib), ".gitmodules": include})
    message = refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)
    assert "has no URL" in message
    tree = raw_tree(near, [("120000", ".gitmodules", str(elsewhere)), ("160000", "lib", lib)])
    point_main_at(near, tree)
    # git refuses such a tree before we look.
    assert "invalid path" in refused(tmp_path, source(near), Reason.GIT_FAILED)


def test_a_gitmodules_that_git_cannot_read(tmp_path: Path, near: Host) -> None:
    lib = near.create("lib", {"lib.txt": "lib"})
    near.create("app", {"lib": Submodule("", lib), ".gitmodules": '[submodule "x\n'})
    refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)


def raw_tree(host: Host, entries: list[tuple[str, str, str]]) -> str:
    """A tree with exactly these (mode, name, content or id) entries, however malformed."""

    def git(*arguments: str, data: bytes = b"") -> str:
        argv = ["git", "-C", str(host.path("app")), *arguments]
        return subprocess.run(argv, input=data, capture_output=True, check=True).stdout.decode()

    raw = b""
    for mode, name, content in entries:
        identity = content
        if mode not in ("160000", "40000"):
            identity = git("hash-object", "-w", "--stdin", data=content.encode()).strip()
        raw += f"{mode} {name}\0".encode() + bytes.fromhex(identity)
    return git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", data=raw).strip()


def point_main_at(host: Host, tree: str) -> None:
    at = ["git", "-C", str(host.path("app")), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        [*at, "commit-tree", "-m", "crafted", tree], capture_output=True, check=True, text=True
    )
    subprocess.run([*at, "update-ref", "refs/heads/main", done.stdout.strip()], check=True)


@pytest.mark.parametrize("tree", ["link", "link and directory", "directory and link"])
def test_a_submodule_is_not_written_through_a_link(tmp_path: Path, near: Host, tree: str) -> None:
    """CVE-2024-32002: the submodule is at `a/sub`, and `a` is a link, or a directory as well."""
    outside = tmp_path / "outside"
    outside.mkdir()
    lib = near.create("lib", {"lib.txt": "lib", "post-checkout": "#!/bin/sh\ntouch canary\n"})
    near.create("app", {"x": "x"})
    link = ("120000", "a", str(outside))
    directory = ("40000", "a", raw_tree(near, [("160000", "sub", lib)]))
    entries = {"link": [link], "link and directory": [link, directory]}
    modules = ("100644", ".gitmodules", naive_gitmodules("a/sub", "a/sub", "../lib.git"))
    point_main_at(near, raw_tree(near, [modules, *entries.get(tree, [directory, link])]))
    with contextlib.suppress(BuildFailure):
        check_out(tmp_path, source(near))
    assert list(outside.iterdir()) == []


def test_a_place_is_an_empty_directory_that_no_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real" / "empty").mkdir(parents=True)
    (tmp_path / "real" / "full").mkdir()
    (tmp_path / "real" / "full" / "x").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "link").symlink_to("empty")
    assert submodules.place(tmp_path, "real/empty") == tmp_path / "real" / "empty"
    for path in ("link/empty", "real/link", "real/full", "real/none", "real/full/x"):
        with pytest.raises(BuildFailure) as caught:
            submodules.place(tmp_path, path)
        assert caught.value.reason is Reason.GIT_SUBMODULE_FAILED


def test_a_carriage_return_is_part_of_a_path(tmp_path: Path, near: Host) -> None:
    """CVE-2025-48384: git wrote `sub\\r` and read back `sub`, which was a link into .git/hooks."""
    lib = near.create("lib", {"post-checkout": f"#!/bin/sh\ntouch {tmp_path}/canary\n"})
    modules = '[submodule "s"]\n\tpath = "sub\r"\n\turl = ../lib.git\n'
    near.create("app", {".gitmodules": modules})
    entries = [
        ("100644", ".gitmodules", modules),
        ("120000", "sub", ".git/hooks"),
        ("160000", "sub\r", lib),
    ]
    point_main_at(near, raw_tree(near, entries))
    refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../b", "./a", "a//b", "-x", ".git", "a/.GIT/b", "git~1", "a\nb", ""]
)
def test_paths_that_no_submodule_has(path: str) -> None:
    with pytest.raises(InvalidValueError):
        submodules.checked_path(path)


def test_a_path_has_one_name(tmp_path: Path, near: Host) -> None:
    lib = near.create("lib", {"lib.txt": "lib"})
    modules = naive_gitmodules("a", "lib", "../lib.git") + naive_gitmodules("b", "lib", "../x.git")
    near.create("app", {"lib": Submodule("", lib), ".gitmodules": modules})
    assert "twice" in refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)


def test_a_missing_commit_says_which_submodule(tmp_path: Path, near: Host) -> None:
    near.create("lib", {"lib.txt": "lib"})
    near.create("app", {"lib": Submodule("../lib.git", "1" * 40)})
    message = refused(tmp_path, source(near), Reason.GIT_REF_NOT_FOUND)
    assert message.startswith("in submodule 'lib': ")


def test_there_is_an_end_to_depth_and_number(
    tmp_path: Path, near: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = near.create("level0", {"leaf.txt": "leaf"})
    for level in range(1, 5):
        below = Submodule(f"../level{level - 1}.git", commit)
        commit = near.create(f"level{level}", {"sub": below})
    monkeypatch.setattr(submodules, "MAX_LEVELS", 4)
    assert "sub/sub/sub/sub/leaf.txt" in check_out(tmp_path, source(near, "level4")).files
    monkeypatch.setattr(submodules, "MAX_LEVELS", 3)
    refused(tmp_path, source(near, "level4"), Reason.GIT_SUBMODULE_FAILED)
    lib = near.create("lib", {"lib.txt": "lib"})
    monkeypatch.setattr(submodules, "MAX_NUMBER", 2)
    near.create("app", {f"lib{n}": Submodule("../lib.git", lib) for n in range(3)})
    refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)
    # Two in the tree, one more in one of them.
    nest = near.create("nest", {"sub": Submodule("../lib.git", lib)})
    files = {"a": Submodule("../nest.git", nest), "b": Submodule("../lib.git", lib)}
    near.create("app", files)
    refused(tmp_path, source(near), Reason.GIT_SUBMODULE_FAILED)


@pytest.mark.parametrize(
    ("parent", "url", "whole"),
    [
        # Most are those of git's own t/t0060-path-utils.sh.
        ("file:///tmp/repo", "../subrepo", "file:///tmp/subrepo"),
        ("ssh://hostname/repo", "../subrepo", "ssh://hostname/subrepo"),
        ("ssh://hostname/repo/", "../subrepo", "ssh://hostname/subrepo"),
        ("ssh://hostname/repo", "../../subrepo", "ssh://subrepo"),
        ("ssh://hostname/repo", "../../../subrepo", "ssh:/subrepo"),
        ("ssh://hostname/repo", "../../../../subrepo", "ssh:subrepo"),
        ("ssh://hostname:22/repo", "../subrepo", "ssh://hostname:22/subrepo"),
        ("user@host:path/to/repo", "../subrepo", "user@host:path/to/subrepo"),
        ("user@host:repo", "../subrepo", "user@host:subrepo"),
        ("user@host:repo", "../../subrepo", None),
        ("https://h/g/app.git", "./sub", "https://h/g/app.git/sub"),
        ("https://h/g/app.git", "../lib/", "https://h/g/lib"),
        ("https://h/g/app.git", "./.././../other/lib.git", "https://h/other/lib.git"),
        ("https://h/g/app.git", "https://o/x", "https://o/x"),
        ("https://h/g/app.git", "..x/y", "..x/y"),
    ],
)
def test_relative_urls_are_gits_own(parent: str, url: str, whole: str | None) -> None:
    if whole is None:
        with pytest.raises(InvalidValueError):
            submodules.resolve_url(parent, url)
    else:
        assert submodules.resolve_url(parent, url) == whole
