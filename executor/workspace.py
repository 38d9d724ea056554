"""Private directories of one build that are gone afterwards, and paths that stay beneath one."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builder_framework.protocol import Reason
from executor.failure import BuildFailure

MEMORY_DIRS = (Path("/dev/shm"), Path("/run"))  # noqa: S108  (mkdtemp makes a private one in it)
"""Where a tmpfs is expected, the best first. Docker mounts one at /dev/shm (64 MiB)."""


def memory_dir(
    candidates: Iterable[Path] = MEMORY_DIRS, mounts: Path = Path("/proc/mounts")
) -> Path | None:
    """The first writable directory that lives in memory only; None if there is none."""
    with contextlib.suppress(OSError):
        lines = mounts.read_text(errors="replace").splitlines()
        found = {parts[1] for parts in map(str.split, lines) if parts[2] in ("tmpfs", "ramfs")}
        for path in candidates:
            if str(path) in found and os.access(path, os.W_OK):
                return path
    return None


@dataclass(frozen=True)
class Workspace:
    """One build's directories, all of mode 0700.

    `checkout` for the sources, `home` empty, `secrets` for credentials, on a tmpfs where there
    is one.
    """

    root: Path
    secrets: Path
    checkout: Path
    home: Path

    def scratch(self, name: str) -> Path:
        """A new empty directory beside the checkout."""
        path = self.root / name
        path.mkdir(mode=0o700)
        return path

    def secret_file(self, name: str, content: str) -> Path:
        """A new file of mode 0600 in `secrets`."""
        path = self.secrets / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def drop_secrets(self) -> None:
        """Remove the credentials before everything else; may be called again."""
        shutil.rmtree(self.secrets, ignore_errors=True)


@contextlib.contextmanager
def workspace(base: Path | None = None, secrets_base: Path | None = None) -> Iterator[Workspace]:
    """New private directories beneath `base` (default: the system's) that end with the block."""
    secrets_base = secrets_base or memory_dir() or base
    with contextlib.ExitStack() as stack:
        made = []
        for parent in (base, secrets_base):
            path = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            made.append(path)
        root, secrets = made
        new = Workspace(root, secrets, root / "checkout", root / "home")
        for path in (new.checkout, new.home):
            path.mkdir(mode=0o700)
        yield new


def context_dir(checkout: Path, context: str) -> Path:
    """The build context, symbolic links resolved.

    Raises BuildFailure(context_invalid) if it is no directory of the checkout.
    """
    found = beneath(checkout, checkout, context)
    if found is None or not found.is_dir():
        raise BuildFailure(
            Reason.CONTEXT_INVALID, f"the repository has no directory {context!r} for the context"
        )
    return found


def dockerfile(checkout: Path, context: Path, name: str) -> Path:
    """The Dockerfile: looked for in the context, then from the repository's root.

    Raises BuildFailure(dockerfile_invalid) if neither is a regular file of the checkout.
    """
    for base in dict.fromkeys((context, checkout)):
        found = beneath(checkout, base, name)
        if found is not None and stat.S_ISREG(found.stat().st_mode):
            return found
    raise BuildFailure(
        Reason.DOCKERFILE_INVALID,
        f"no file {name!r} in the context or at the root of the repository",
    )


def beneath(root: Path, base: Path, name: str) -> Path | None:
    """`base/name` with every link followed, if that exists and is still inside `root`.

    Nothing but this build writes there, so there is no race between this check and the use.
    """
    try:
        real = (base / name).resolve(strict=True)
    except (OSError, RuntimeError):  # missing, not a directory, a loop of links
        return None
    inside = real.is_relative_to(root.resolve())
    return real if inside else None
