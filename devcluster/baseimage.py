"""The image that the executor image starts from: pulled where one can pull, made here otherwise.

The made one is Debian trixie (minbase) with the packages that `executor/Dockerfile` names, so that
its own installation step finds nothing missing. Its archive is cached: another data root imports it
in seconds.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster.config import REPOSITORY, cache_directory
from devcluster.engine import Engine, find_program
from devcluster.errors import ClusterError
from devcluster.progress import Progress

DOCKERFILE = REPOSITORY / "executor" / "Dockerfile"
PUBLIC_IMAGE = "debian:trixie-slim"
SUITE = "trixie"
#: A registry that cannot be reached says so in a moment; a firewall that drops packets does not.
PULL_SECONDS = 60
#: Goes up when the archive is made in another way.
FORMAT = 1
#: Nothing of these is of use in a container.
SUPERFLUOUS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/log",
    "debootstrap",
)


def build_argument(name: str) -> str:
    """The default of an ARG in the executor's Dockerfile, which is the one place for such lists."""
    found = re.search(rf'^ARG {name}="([^"]*)"$', DOCKERFILE.read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f'{DOCKERFILE} has no line `ARG {name}="..."`')
    return found[1]


def provide(engine: Engine, progress: Progress) -> str:
    """The name of a base image that the engine has."""
    made = f"builder-base:{_key()}"
    for present in (made, PUBLIC_IMAGE):
        if _has(engine, present):
            return present
    archive = _archive()
    if not archive.exists():
        progress(f"pulling {PUBLIC_IMAGE}, the executor's base image")
        if _pull(engine):
            return PUBLIC_IMAGE
        progress(f"it cannot be pulled; making it with debootstrap {SUITE} (about a minute, once)")
        _debootstrap(archive)
    progress("importing the executor's base image")
    engine.docker("import", str(archive), made)
    return made


def _key() -> str:
    text = f"{FORMAT} {SUITE} {build_argument('PACKAGES')}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _archive() -> Path:
    return cache_directory() / f"base-{SUITE}-{_key()}.tar"


def _has(engine: Engine, image: str) -> bool:
    return bool(engine.docker("image", "ls", "--quiet", image).strip())


def _pull(engine: Engine) -> bool:
    argv = [find_program("timeout"), str(PULL_SECONDS), "docker", "pull", "--quiet", PUBLIC_IMAGE]
    done = subprocess.run(argv, env=engine.environment(), capture_output=True, check=False)
    return done.returncode == 0


def _debootstrap(archive: Path) -> None:
    """Makes the archive; it appears under its name only when it is complete."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".base-") as folder:
        root = Path(folder, "root")
        packages = ",".join(build_argument("PACKAGES").split())
        argv = [find_program("debootstrap"), "--variant=minbase", f"--include={packages}"]
        log = archive.parent / "debootstrap.log"
        with log.open("w") as stream:
            done = subprocess.run(
                [*argv, SUITE, str(root), *_mirror()],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
            raise ClusterError(f"debootstrap could not make {SUITE}: {last} (log: {log})")
        for path in SUPERFLUOUS:
            shutil.rmtree(root / path, ignore_errors=True)
        (root / "var/log").mkdir()
        part = Path(folder, "part.tar")
        words = ["--numeric-owner", "--one-file-system", "-cf", str(part), "."]
        subprocess.run([find_program("tar"), "-C", str(root), *words], check=True)
        part.rename(archive)


def _mirror() -> list[str]:
    """The Debian mirror that apt uses here, as an argument of debootstrap; none if unknown."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    uris = done.stdout.split()
    return [uri for uri in uris if uri.startswith("http") and "security" not in uri][:1]
