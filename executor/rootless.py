"""An engine without privilege: dockerd and BuildKit in a user namespace (rootless mode).

https://docs.docker.com/engine/security/rootless/. Its root is an ordinary user of the executor's
container, which has Docker's default capabilities, but neither seccomp nor AppArmor, and all of
/proc: what making namespaces and mounting within them takes. The engine shares the container's
network, because one of its own would take a device (/dev/net/tun): RUN does, too.
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

USER = "builder"
"""Of the executor image, with 65,536 subordinate ids (subuid(5))."""

RUN_DIR = Path("/tmp/builder-engine")  # noqa: S108  (ours alone: the container is)
"""Not beneath /run, of which the engine sees a copy of its own."""

# Docker's own script does the same (contrib/dockerd-rootless.sh). Without the network that the
# engine would find described in the state directory, `GET /version` ends in a nil pointer.
_WITHIN = (
    "rm -f /run/docker /run/containerd /run/xtables.lock; unset ROOTLESSKIT_STATE_DIR; "
    'exec "$0" "$@"'
)


def command(dockerd: list[str]) -> list[str]:
    """Starts dockerd so."""
    return [
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
        *("rootlesskit", f"--state-dir={RUN_DIR / 'rootlesskit'}", "--net=host"),
        *("--copy-up=/etc", "--copy-up=/run", "sh", "-c", _WITHIN),
        *(dockerd[0], "--rootless", *dockerd[1:]),
    ]


def settings() -> dict[str, object]:
    """What daemon.json says besides: there is no network to make."""
    return {"iptables": False, "ip6tables": False, "bridge": "none"}


def environment() -> dict[str, str]:
    """Where the user's things are."""
    return {"XDG_RUNTIME_DIR": str(RUN_DIR), "HOME": str(RUN_DIR)}


def check_way(folder: Path) -> None:
    """Raises PermissionError where a directory above `folder` is closed to all but its own user.

    An operator's volume or directory for caches may be.
    """
    for above in folder.parents:
        if above.exists() and not above.stat().st_mode & stat.S_IXOTH:
            raise PermissionError(
                f"the engine without privilege cannot pass through {above}: allow others to enter "
                "that directory of the agent or volume (chmod o+x)"
            )


def prepare(*folders: Path) -> None:
    """Make directories that are the user's. Raises OSError, LookupError: there is no such user."""
    shutil.rmtree(RUN_DIR / "rootlesskit", ignore_errors=True)  # of one that was killed
    for folder in (RUN_DIR, *folders):
        folder.mkdir(parents=True, exist_ok=True)
        check_way(folder)
        shutil.chown(folder, USER, USER)
    RUN_DIR.chmod(0o700)
