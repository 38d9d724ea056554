"""Gives a Debian machine what the dev cluster needs: Debian packages and the virtual environment.

Run as a script (``python3 devcluster/bootstrap.py``), before anything is installed: it imports only
the standard library, nothing of this package, and parses on old Pythons so that it can still say
what is wrong. Run again on a prepared machine it changes nothing and takes a fraction of a second.

It never starts a service of the machine: packages that bring one (docker.io, openssh-server) are
installed under a ``policy-rc.d`` that forbids it, and stay disabled.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
LOCK = REPOSITORY / "requirements.lock"
#: Some of the locked versions do not know older Pythons; there pip chooses within our ranges.
LOCK_PYTHON = (3, 11)
POLICY_RC_D = Path("/usr/sbin/policy-rc.d")
#: Units of packages that we install for their programs only.
UNITS = (
    "docker.socket",
    "docker.service",
    "containerd.service",
    "docker-registry.service",
    "postgresql.service",
    "prometheus.service",
    "ssh.service",
    "ssh.socket",
)
#: Read by Debian's postgresql-common, which else makes a database cluster of the machine's own.
CREATECLUSTER = Path("/etc/postgresql-common/createcluster.conf")
#: Segment type of an ELF file that names its dynamic linker.
PT_INTERP = 3
#: Where administrators' tools live; sudo and cron often leave them out of PATH.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def fail(sentence: str) -> NoReturn:
    """Ends the program with one sentence for people."""
    print("error: " + sentence, file=sys.stderr)
    raise SystemExit(1)


def say(started: float, text: str) -> None:
    """One progress line in the form that the rest of ``make up`` uses."""
    print(f"[{time.monotonic() - started:6.1f}s] {text}", flush=True)


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *SBIN])


def has_command(name: str) -> bool:
    return shutil.which(name, path=search_path()) is not None


def has_library(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def command(name: str) -> Callable[[], bool]:
    return lambda: has_command(name)


def library(soname: str) -> Callable[[], bool]:
    return lambda: has_library(soname)


def file(path: str) -> Callable[[], bool]:
    return lambda: Path(path).exists()


def apparmor_is_served() -> bool:
    """dockerd loads its profile with apparmor_parser where the kernel has AppArmor switched on."""
    switch = Path("/sys/module/apparmor/parameters/enabled")
    enabled = switch.exists() and switch.read_text().strip() == "Y"
    return not enabled or has_command("apparmor_parser")


def buildx_is_served() -> bool:
    """The docker CLI has its own BuildKit client up to version 22, and needs a plugin since."""
    places = ("/usr/libexec", "/usr/lib", "/usr/local/libexec", "/usr/local/lib")
    if any(Path(place, "docker/cli-plugins/docker-buildx").exists() for place in places):
        return True
    if not has_command("dockerd"):
        return False
    cli = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    found = subprocess.run([cli, "--version"], capture_output=True, text=True, check=False)
    major = found.stdout.removeprefix("Docker version ").partition(".")[0]
    return major.isdecimal() and int(major) < 23


def busybox_is_static() -> bool:
    """A program without an interpreter segment (PT_INTERP) needs no libraries: it works alone."""
    path = shutil.which("busybox", path=search_path())
    if path is None:
        return False
    data = Path(path).read_bytes()
    (offset,) = struct.unpack_from("<Q", data, 32)  # e_phoff
    size, count = struct.unpack_from("<HH", data, 54)  # e_phentsize, e_phnum
    kinds = [struct.unpack_from("<I", data, offset + n * size)[0] for n in range(count)]
    return PT_INTERP not in kinds


def postgres_is_there() -> bool:
    return any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


#: Debian package -> is what we want of it there already (whoever brought it)?
REQUIREMENTS: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("python3-venv", lambda: importlib.util.find_spec("ensurepip") is not None),
    ("ca-certificates", file("/etc/ssl/certs/ca-certificates.crt")),
    ("git", command("git")),
    ("git-lfs", command("git-lfs")),
    ("openssh-server", command("sshd")),
    ("openssh-client", command("ssh-keygen")),
    ("openssl", command("openssl")),
    ("docker.io", lambda: has_command("dockerd") and has_command("docker")),
    ("containerd", command("containerd")),
    ("runc", command("runc")),
    ("apparmor", apparmor_is_served),
    ("docker-registry", command("docker-registry")),
    ("apache2-utils", command("htpasswd")),
    ("debootstrap", command("debootstrap")),
    ("busybox-static", busybox_is_static),
    ("postgresql", postgres_is_there),
    # promtool, which tests our alert rules.
    ("prometheus", command("promtool")),
    ("iptables", command("iptables")),
    ("iproute2", command("ip")),
    # ZooKeeper, for tests of whom it names as leader.
    ("default-jre-headless", command("java")),
    ("libzookeeper-java", file("/usr/share/java/zookeeper.jar")),
    # What libmesos links to (SVN for the replicated log's diffs, APR below it, SASL for CRAM-MD5).
    ("libsvn1", library("libsvn_delta-1.so.1")),
    ("libapr1", library("libapr-1.so.0")),
    ("libsasl2-2", library("libsasl2.so.2")),
    ("libsasl2-modules", file("/usr/lib/x86_64-linux-gnu/sasl2/libcrammd5.so")),
)

#: The same for packages that not every release has: installed where apt knows them.
OPTIONAL: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("docker-cli", command("docker")),  # a package of its own since Debian 13
    ("docker-buildx", buildx_is_served),
    ("skopeo", command("skopeo")),
)


def refuse_old_python() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - this is the place that says so
        fail(
            f"builder-framework needs Python 3.10 or newer, not {platform.python_version()}; "
            f"run make with PYTHON=/path/to/python3"
        )


def refuse_unsuitable_machine() -> None:
    """Ends with one sentence where the dev cluster cannot work."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "amd64"):
        fail(
            f"the dev cluster's Mesos exists for Linux on x86-64 only and this is "
            f"{platform.system()} on {platform.machine()}; use such a machine, or run "
            f"`builder serve` against a Mesos cluster of yours"
        )
    if os.geteuid() != 0:
        fail("the dev cluster starts a container engine and needs root; run `sudo make up`")
    if not has_command("apt-get"):
        fail(
            "the dev cluster installs what it needs with apt-get, which is missing here; "
            "use Debian or a relative of it"
        )


@contextmanager
def services_stay_down() -> Iterator[None]:
    """While open, installed packages do not start their services (Debian policy, 9.3.3.1)."""
    if POLICY_RC_D.exists():  # the machine's own rule is in force (as in most container images)
        yield
        return
    POLICY_RC_D.write_text("#!/bin/sh\nexit 101\n")
    POLICY_RC_D.chmod(0o755)
    try:
        yield
    finally:
        POLICY_RC_D.unlink()


def installed_units() -> list[str]:
    places = ("/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system")
    return [unit for unit in UNITS if any(Path(place, unit).exists() for place in places)]


def apt_knows(package: str) -> bool:
    words = ["apt-cache", "show", "--no-all-versions", package]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def install_packages(started: float) -> None:
    """Installs the packages that are missing, in one apt-get call; none when none is."""
    missing = [package for package, is_there in REQUIREMENTS if not is_there()]
    optional = [package for package, is_there in OPTIONAL if not is_there()]
    if not missing and not any(apt_knows(package) for package in optional):
        return
    say(started, "installing Debian packages: " + " ".join([*missing, *optional]))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    units_before = installed_units()
    with services_stay_down():
        run(["apt-get", "update", "--quiet"], environment)
        missing += [package for package in optional if apt_knows(package)]
        words = ["--yes", "--quiet", "--no-install-recommends"]
        if "postgresql" in missing:
            run(["apt-get", "install", *words, "postgresql-common"], environment)
            make_no_database_cluster()
        run(["apt-get", "install", *words, *missing], environment)
    brought = [unit for unit in installed_units() if unit not in units_before]
    if brought and has_command("systemctl"):
        subprocess.run(["systemctl", "disable", "--quiet", *brought], check=False)
    still = [package for package, is_there in REQUIREMENTS if not is_there()]
    if still:
        fail("after installing them, these packages are still missing: " + " ".join(still))


def make_no_database_cluster() -> None:
    """Only the programs are wanted; whoever wants a server of the machine runs pg_createcluster."""
    text = CREATECLUSTER.read_text() if CREATECLUSTER.exists() else ""
    CREATECLUSTER.write_text(f"{text.rstrip()}\ncreate_main_cluster = false\n")


def run(argv: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs a program quietly; shows its last lines, and ends, when it fails."""
    done = subprocess.run(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        tail = done.stdout.decode(errors="replace").splitlines()[-25:]
        print("\n".join(tail), file=sys.stderr)
        fail(f"`{' '.join(argv[:4])}` failed (exit {done.returncode})")


def environment_key() -> str:
    """A hash of everything that decides what the virtual environment holds."""
    digest = hashlib.sha256(sys.version.encode())
    names = ["setup.cfg", "pyproject.toml", "setup.py"]
    files = [REPOSITORY / name for name in names]
    files += sorted(REPOSITORY.glob("requirements*")) + sorted(REPOSITORY.glob("*.lock"))
    files += sorted((REPOSITORY / "compat").rglob("*"))
    built = {"build", "__pycache__"}
    for path in files:
        inside = path.relative_to(REPOSITORY)
        if path.is_file() and not built & set(inside.parts) and ".egg-info" not in str(inside):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def install_environment(started: float) -> None:
    """Makes ``.venv`` and installs the project with its development extras, when not current."""
    stamp = VENV / ".builder-framework"
    key = environment_key()
    if stamp.exists() and stamp.read_text() == key:
        return
    python = VENV / "bin" / "python"
    if not python.exists():
        say(started, "creating the virtual environment .venv")
        run([sys.executable, "-m", "venv", str(VENV)])
    say(started, "installing the Python packages into .venv")
    # One call, so that pip takes our http-parser for the one that pymesos asks for.
    compat = str(REPOSITORY / "compat" / "http-parser")
    locked = ["-c", str(LOCK)] if sys.version_info >= LOCK_PYTHON else []
    install = [str(python), "-m", "pip", "install", "-q", *locked]
    run([*install, compat, "-e", str(REPOSITORY) + "[dev]"])
    stamp.write_text(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="bootstrap")
    parser.add_argument(
        "--only-packages",
        action="store_true",
        help="install the Debian packages, leave .venv alone",
    )
    parser.add_argument(
        "--only-environment", action="store_true", help="make .venv; needs neither root nor apt"
    )
    options = parser.parse_args()
    started = time.monotonic()
    refuse_old_python()
    if not options.only_environment:
        refuse_unsuitable_machine()
        install_packages(started)
    if not options.only_packages:
        install_environment(started)


if __name__ == "__main__":
    main()
