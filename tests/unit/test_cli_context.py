"""A working copy goes to the server as Docker would see it."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import click
import pytest

from api import create_app
from builder_framework.cli.context import Multipart, packed
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.sql import SqlStore
from builder_framework.store.uploads import SqlUploads
from builder_framework.users import SingleUser
from tests.sealing import SEALER
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds
from tests.unit.commands import Run, only_build

pytest_plugins = ("tests.unit.conftest_cli",)


def tree(folder: Path, *names: str, ignore: str | None = None) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    if ignore is not None:
        (folder / ".dockerignore").write_text(ignore)
        os.utime(folder / ".dockerignore", (1_700_000_000, 1_700_000_000))
    return folder


def files(folder: Path, dockerfile: str = "Dockerfile") -> set[str]:
    with packed(folder, dockerfile) as found, tarfile.open(fileobj=found.file) as archive:
        return {member.name for member in archive if not member.isdir()}


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        (None, {"a.txt", "src/b.py", "src/deep/c.pyc", "src/deep/d.py"}),
        ("# all of it\n\nsrc\n", {"a.txt"}),
        ("**/*.pyc", {"a.txt", "src/b.py", "src/deep/d.py"}),
        ("src\n!src/deep/d.py", {"a.txt", "src/deep/d.py"}),
        ("!src/b.py\nsrc", {"a.txt"}),
        ("*", set()),
        ("/a.txt\nsrc/*", set()),
        ("*.TXT\n[^s]*.txt", {"src/b.py", "src/deep/c.pyc", "src/deep/d.py"}),
        ("*.TXT", {"a.txt", "src/b.py", "src/deep/c.pyc", "src/deep/d.py"}),
    ],
)
def test_dockerignore_means_what_it_means_to_docker(
    tmp_path: Path, ignore: str | None, expected: set[str]
) -> None:
    """Dockerfile and .dockerignore always go: the server needs them."""
    names = ("Dockerfile", "a.txt", "src/b.py", "src/deep/c.pyc", "src/deep/d.py")
    tree(tmp_path, *names, ignore=ignore)
    assert files(tmp_path) - {".dockerignore"} == expected | {"Dockerfile"}


def test_a_dockerfile_may_have_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    tree(tmp_path, "Dockerfile", "web.Dockerfile", "a", "b", ignore="a")
    (tmp_path / "web.Dockerfile.dockerignore").write_text("b")
    assert "a" in files(tmp_path, "web.Dockerfile")
    assert "b" not in files(tmp_path, "web.Dockerfile")
    assert "b" in files(tmp_path)


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tree(tmp_path / name, "Dockerfile", "z", "a/b")
        os.utime(tmp_path / name / "a", (1, 1))
    with packed(tmp_path / "one") as one, packed(tmp_path / "two") as two:
        assert one.file.read() == two.file.read()


def test_links_stay_links_and_sockets_stay_here(tmp_path: Path) -> None:
    tree(tmp_path, "Dockerfile")
    (tmp_path / "link").symlink_to("Dockerfile")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with packed(tmp_path) as found, tarfile.open(fileobj=found.file) as archive:
            kinds = {member.name: member.type for member in archive}
    assert kinds == {"Dockerfile": tarfile.REGTYPE, "link": tarfile.SYMTYPE}


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x"])
def test_a_link_that_leads_out_is_told_before_it_is_sent(tmp_path: Path, target: str) -> None:
    """The executor would refuse the whole archive for it."""
    tree(tmp_path, "Dockerfile")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(click.UsageError, match=r"link is a link .* \.dockerignore"):
        files(tmp_path)
    assert files(tree(tmp_path, ignore="link")) == {"Dockerfile", ".dockerignore"}


def test_patterns_are_those_of_the_context(tmp_path: Path) -> None:
    """Not of the directory above, and its Dockerfile may be there."""
    tree(tmp_path, "Dockerfile", "hooks/build", "app/a", "app/b", ignore="*\n")
    (tmp_path / "app/.dockerignore").write_text("b\n")
    with packed(tmp_path, context="app") as found, tarfile.open(fileobj=found.file) as archive:
        names = archive.getnames()
    assert names == [
        ".dockerignore",
        "Dockerfile",
        "app",
        "app/.dockerignore",
        "app/a",
        "hooks",
        "hooks/build",
    ]


def test_what_are_no_patterns_is_told(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"\.dockerignore: line 2"):
        files(tree(tmp_path, "Dockerfile", ignore="a\n!\n"))
    (tmp_path / ".dockerignore").write_bytes(b"\xff")
    with pytest.raises(click.UsageError, match=r"\.dockerignore cannot be read"):
        files(tmp_path)


def test_whose_the_files_are_is_nobodys_business(tmp_path: Path) -> None:
    with packed(tree(tmp_path, "Dockerfile")) as found, tarfile.open(fileobj=found.file) as archive:
        (member,) = archive.getmembers()
    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


def test_the_body_is_as_long_as_it_says(tmp_path: Path) -> None:
    sent: list[int] = []
    with packed(tree(tmp_path, "Dockerfile", "a" * 50)) as found:
        body = Multipart({"images": ["a:1"]}, found, sent.append)
        pieces = list(iter(lambda: body.read(7), b""))
        assert sum(map(len, pieces)) == len(body)
        assert sum(sent) == found.size
        again = Multipart({"images": ["a:1"]}, found, sent.append)
        assert len(again.read()) + len(again.read()) + len(again.read()) == len(body)


@pytest.fixture
def app(builds: MemoryBuilds, tmp_path: Path) -> Any:
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    policy = RequestPolicy(uploads=True, upload_max_mb=1)
    yield create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), policy, SqlUploads(store))
    store.close()


def test_a_directory_is_submitted(run: Run, builds: MemoryBuilds, tmp_path: Path) -> None:
    folder = tree(tmp_path / "copy", "Dockerfile", "secret.env", ignore="*.env")
    result = run("submit", str(folder), "--image", "registry.example.org/app:1")
    assert result.exit_code == 0, result.stderr
    assert builds.get(only_build(builds)).build.request.source.upload is not None


def test_a_directory_and_a_repository_are_too_much(run: Run, tmp_path: Path) -> None:
    result = run("submit", str(tmp_path), "--image", "a:1", "--ref", "main")
    assert result.exit_code == 2
    assert "directory" in result.stderr


def test_a_url_may_stand_alone(run: Run, builds: MemoryBuilds) -> None:
    url = "https://git.example.org/app.git"
    assert run("submit", url, "--image", "registry.example.org/app:1").exit_code == 0
    assert run("submit", url, "--git", url, "--image", "a:1").exit_code == 2


def test_a_context_beyond_the_limit_is_told(run: Run, tmp_path: Path) -> None:
    folder = tree(tmp_path / "copy", "Dockerfile")
    (folder / "large").write_bytes(os.urandom(2 * 1024 * 1024))
    result = run("submit", str(folder), "--image", "registry.example.org/app:1")
    assert result.exit_code == 2
    assert "upload_max_mb" in result.stderr
