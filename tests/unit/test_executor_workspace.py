"""Nothing of a workspace stays, and no path leads out of the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from executor.failure import BuildFailure
from executor.workspace import context_dir, dockerfile, memory_dir, workspace


@pytest.mark.parametrize("how", [None, ValueError, KeyboardInterrupt])
def test_a_workspace_leaves_nothing(tmp_path: Path, how: type[BaseException] | None) -> None:
    files, memory = tmp_path / "files", tmp_path / "memory"
    files.mkdir()
    memory.mkdir()
    outside = tmp_path / "outside"
    outside.write_text("stays")
    try:
        with workspace(files, memory) as space:
            for path in (space.root, space.secrets, space.checkout, space.home):
                assert path.stat().st_mode & 0o777 == 0o700
            secret = space.secret_file("password", "x")
            assert secret.stat().st_mode & 0o777 == 0o600
            assert secret.is_relative_to(memory)
            deep = space.checkout / "a" / "b"
            deep.mkdir(parents=True)
            (deep / "link").symlink_to(outside)
            (deep / "file").touch()
            (space.checkout / "a").chmod(0o500)
            space.scratch("more")
            if how is not None:
                raise how
    except (ValueError, KeyboardInterrupt):
        pass
    assert not list(files.iterdir())
    assert not list(memory.iterdir())
    assert outside.read_text() == "stays"


def test_secrets_go_first(tmp_path: Path) -> None:
    with workspace(tmp_path, tmp_path) as space:
        space.secret_file("password", "x")
        space.drop_secrets()
        assert not space.secrets.exists()
        assert space.checkout.exists()
        space.drop_secrets()


def test_memory_means_a_tmpfs(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    disk.mkdir()
    memory.mkdir()
    mounts.write_text(f"/dev/x {disk} ext4 rw 0 0\ntmpfs {memory} tmpfs rw 0 0\n")
    assert memory_dir((disk, memory), mounts) == memory
    assert memory_dir((disk,), mounts) is None
    assert memory_dir((memory,), tmp_path / "nothing") is None


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "app" / "docker").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text("FROM evil")
    (root / "Dockerfile").write_text("FROM root")
    (root / "app" / "Dockerfile").write_text("FROM app")
    (root / "other.Dockerfile").write_text("FROM other")
    (root / "app" / "docker" / "Dockerfile").write_text("FROM docker")
    (root / "inside").symlink_to("app")
    (root / "app" / "link.Dockerfile").symlink_to("../other.Dockerfile")
    (root / "out").symlink_to("../outside")
    (root / "absolute").symlink_to(tmp_path / "outside")
    (root / "etc").symlink_to("/etc")
    (root / "passwd").symlink_to("/etc/passwd")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    (root / "chain").symlink_to("out/Dockerfile")
    os.mkfifo(root / "fifo")
    return root


@pytest.mark.parametrize(("name", "found"), [(".", "."), ("app", "app"), ("inside", "app")])
def test_contexts_inside(checkout: Path, name: str, found: str) -> None:
    assert context_dir(checkout, name) == (checkout / found).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "Dockerfile", "out", "absolute", "etc", "up", "loop", "dangling", "fifo",
        "up/outside", "..", "../outside", "/etc", "inside/../../outside",
    ],
)  # fmt: skip
def test_contexts_outside(checkout: Path, name: str) -> None:
    with pytest.raises(BuildFailure) as caught:
        context_dir(checkout, name)
    assert caught.value.reason is Reason.CONTEXT_INVALID


@pytest.mark.parametrize(
    ("context", "name", "content"),
    [
        (".", "Dockerfile", "root"),
        ("app", "Dockerfile", "app"),
        ("app", "docker/Dockerfile", "docker"),
        ("app", "other.Dockerfile", "other"),
        ("app", "link.Dockerfile", "other"),
        ("app/docker", "app/Dockerfile", "app"),
    ],
)
def test_the_context_comes_before_the_root(
    checkout: Path, context: str, name: str, content: str
) -> None:
    found = dockerfile(checkout, context_dir(checkout, context), name)
    assert found.read_text() == f"FROM {content}"


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "app", "out/Dockerfile", "absolute/Dockerfile", "passwd", "chain", "loop",
        "dangling", "fifo", "etc/hostname", "../outside/Dockerfile", "/etc/passwd",
        "up/outside/Dockerfile",
    ],
)  # fmt: skip
def test_dockerfiles_outside(checkout: Path, name: str) -> None:
    with pytest.raises(BuildFailure) as caught:
        dockerfile(checkout, checkout, name)
    assert caught.value.reason is Reason.DOCKERFILE_INVALID
