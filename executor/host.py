"""What a nested Docker engine needs to know about the container it starts in."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from builder_framework.protocol import EngineMode, EngineSpec
from executor import rootless

logger = logging.getLogger(__name__)

_ESCAPED = re.compile(r"\\([0-7]{3})")

CAP_SYS_RESOURCE = 24
"""linux/capability.h"""

RESERVED_PIDS = 512
"""Processes and threads that builds leave to the executor and its engine, which need some 100."""

Network = ipaddress.IPv4Network

_BRIDGES = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        # RFC 2544's range for benchmarks is routed nowhere, so nothing worth reaching hides there.
        "198.18.213.0/24",
        "198.19.213.0/24",
        "172.31.213.0/24",
        "192.168.213.0/24",
        "10.255.213.0/24",
    )
)


def has_capability(number: int, status: Path = Path("/proc/self/status")) -> bool:
    """Whether the bounding set holds this capability; True where that cannot be told."""
    with contextlib.suppress(OSError):
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "CapBnd":
                return bool(int(value, 16) >> number & 1)
    return True


def routed_networks(table: Path = Path("/proc/net/route")) -> list[Network]:
    """The container's own IPv4 networks, without its default route."""
    networks = []
    with contextlib.suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            # Addresses stand there as the kernel holds them: little-endian hex.
            address, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
            if mask:
                network = f"{ipaddress.IPv4Address(address)}/{ipaddress.IPv4Address(mask)}"
                networks.append(ipaddress.IPv4Network(network, strict=False))
    return networks


def nameservers(file: Path = Path("/etc/resolv.conf")) -> list[Network]:
    """The resolvers' addresses as networks of one: a bridge must not hide them."""
    found = []
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                with contextlib.suppress(ValueError):
                    found.append(ipaddress.IPv4Network(words[1]))
    return found


def addresses(hosts: Iterable[str]) -> list[Network]:
    """Those of `host`, `host:port` or `http://host:port/…` that are IPv4 addresses."""
    found = []
    for host in hosts:
        name = host.rpartition("://")[2].partition("/")[0].partition(":")[0]
        with contextlib.suppress(ValueError):
            found.append(ipaddress.IPv4Network(name))
    return found


def bridge_address(taken: Iterable[Network], candidates: Iterable[Network] = _BRIDGES) -> str:
    """`address/length` for the engine's bridge, on a network that hides none of `taken`."""
    taken = list(taken)
    for network in candidates:
        if not any(network.overlaps(other) for other in taken):
            return f"{network[1]}/{network.prefixlen}"
    raise LookupError("every network that the engine's bridge could use is taken")


def hidden(hosts: Iterable[str], bridge: str) -> str | None:
    """The first of `hosts` (see `addresses`) that is in the bridge's network, if there is one."""
    network = ipaddress.IPv4Network(bridge, strict=False)
    return next((host for host in hosts if any(map(network.overlaps, addresses([host])))), None)


def mounted(root: Path, table: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """What is mounted at or beneath `root`, the innermost first.

    proc(5): the fifth field, with `\\040` for a space and the like.
    """
    lines = table.read_text(errors="surrogateescape").splitlines()
    texts = (line.split()[4] for line in lines)
    points = [Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)) for text in texts]
    return [point for point in reversed(points) if point.is_relative_to(root)]


def unmount(root: Path) -> None:
    """Detach all that is mounted there; dockerd mounts its data root upon itself and leaves it."""
    for point in mounted(root):
        done = subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)
        if done.returncode != 0:
            logger.warning("%s stays mounted: %s", point, done.stderr.decode(errors="replace"))


def prepare_cgroups(root: Path = Path("/sys/fs/cgroup")) -> None:
    """Make the container's cgroups fit for an engine's containers within.

    Best effort: an engine without controllers still builds.
    """
    _hand_controllers_on(root)
    _limit_builds(root)


def _hand_controllers_on(root: Path) -> None:
    """On cgroup v2, let the container's root group have children with controllers.

    A group with processes of its own may not hand controllers on ("no internal processes"), so
    they move into a child; Docker's own dind script does the same.
    """
    controllers = root / "cgroup.controllers"
    if not controllers.exists():
        return
    with contextlib.suppress(OSError):
        child = root / "init"
        child.mkdir(exist_ok=True)
        for pid in (root / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # ended meanwhile, or a kernel thread
                (child / "cgroup.procs").write_text(pid)
        for name in controllers.read_text().split():
            with contextlib.suppress(OSError):
                (root / "cgroup.subtree_control").write_text(f"+{name}")


def _limit_builds(root: Path) -> None:
    """Keep RESERVED_PIDS of the container's own limit from the engine's containers.

    A fork bomb that took all of them would also keep the engine from ending it, and the executor
    from saying so.
    """
    for hierarchy in (root, root / "pids"):  # version 2, version 1
        with contextlib.suppress(OSError, ValueError):  # absent, or "max": not limited
            limit = int((hierarchy / "pids.max").read_text())
            child = hierarchy / "docker"  # dockerd's default cgroup parent
            child.mkdir(exist_ok=True)
            (child / "pids.max").write_text(str(max(1, limit - RESERVED_PIDS)))


def daemon_settings(spec: EngineSpec, bridge: str, relayed: bool = False) -> dict[str, object]:
    """The content of daemon.json. `relayed`: names are answered at the bridge (`executor.dns`)."""
    settings: dict[str, object] = {
        **(rootless.settings() if spec.mode is EngineMode.ROOTLESS else {"bip": bridge}),
        "builder": {
            "gc": {"enabled": True, "defaultKeepStorage": f"{spec.cache_keep_mb}MiB"},
            # Their output, as it was printed, would stay for two days.
            "history": {"maxEntries": 0, "maxAge": "1s"},
        },
        # The image's id is its manifest's digest there, the one that the registry will show.
        "features": {"containerd-snapshotter": True},
        "insecure-registries": list(spec.insecure_registries),
        "registry-mirrors": list(spec.registry_mirrors),
        "shutdown-timeout": 1,
    }
    servers = [bridge.partition("/")[0]] if relayed and not spec.dns.servers else spec.dns.servers
    told = {"dns": servers, "dns-search": spec.dns.search, "dns-opts": spec.dns.options}
    settings |= {name: list(values) for name, values in told.items() if values}
    wrapper = runtime_wrapper() if spec.mode is EngineMode.NESTED else None
    if wrapper is not None:
        settings |= {
            "default-runtime": "without-sys-resource",
            "runtimes": {"without-sys-resource": {"path": wrapper}},
        }
    return settings


def runtime_wrapper() -> str | None:
    """The OCI runtime to use where runc alone would fail for want of CAP_SYS_RESOURCE."""
    if has_capability(CAP_SYS_RESOURCE):
        return None
    beside = Path(__file__).with_name("runc-without-sys-resource")
    return str(beside) if beside.exists() else shutil.which(beside.name)


def write_daemon_json(path: Path, spec: EngineSpec, bridge: str, relayed: bool = False) -> None:
    """Write dockerd's configuration file."""
    path.write_text(json.dumps(daemon_settings(spec, bridge, relayed), indent=1))
