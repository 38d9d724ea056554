"""What a nested engine is told fits the container it runs in."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from builder_framework.protocol import EngineMode, EngineSpec
from executor import host

ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""


def networks(*texts: str) -> list[host.Network]:
    return [ipaddress.IPv4Network(text) for text in texts]


def test_routes_are_read_without_the_default(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(ROUTES)
    assert host.routed_networks(table) == networks("172.17.0.0/16")
    assert host.routed_networks(tmp_path / "nothing") == []
    assert isinstance(host.routed_networks(), list)


def test_mounts_beneath_a_directory_are_found_innermost_first(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    points = ["/", "/var/lib/b", "/var/lib/b/a\\040b/docker", "/var/lib/b/a\\040b/docker/merged"]
    rows = (f"36 35 98:0 / {point} rw shared:1 - ext4 /dev/vda rw" for point in points)
    table.write_text("\n".join([*rows, "37 35 98:0 / /var/lib/better rw - ext4 /dev/vda rw", ""]))
    docker = Path("/var/lib/b/a b/docker")
    assert host.mounted(Path("/var/lib/b/a b"), table) == [docker / "merged", docker]
    assert host.mounted(tmp_path / "nothing") == []


def test_resolvers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# comment\nnameserver 198.18.213.5\nnameserver fd00::1\nnameserver\nsearch x\n"
    )
    assert host.nameservers(file) == networks("198.18.213.5/32")


def test_addresses_among_hosts() -> None:
    assert host.addresses(
        ["192.0.2.1:5000", "registry.example:5000", "http://192.0.2.2:80/x", "192.0.2.3", "git@h:x"]
    ) == networks("192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32")


@pytest.mark.parametrize(
    ("taken", "address"),
    [
        ((), "198.18.213.1/24"),
        (("172.17.0.0/16",), "198.18.213.1/24"),
        (("198.18.213.5/32",), "198.19.213.1/24"),
        (("198.18.0.0/15",), "172.31.213.1/24"),
        (("198.18.0.0/15", "172.16.0.0/12", "192.168.0.0/16"), "10.255.213.1/24"),
    ],
)
def test_the_bridge_hides_nothing(taken: tuple[str, ...], address: str) -> None:
    assert host.bridge_address(networks(*taken)) == address


def test_a_container_without_room_for_a_bridge() -> None:
    with pytest.raises(LookupError):
        host.bridge_address(networks("0.0.0.0/0"))


@pytest.mark.parametrize(("mask", "has"), [("000001ffffffffff", True), ("000001fffeffffff", False)])
def test_a_missing_capability_is_seen(tmp_path: Path, mask: str, has: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapBnd:\t{mask}\n")
    assert host.has_capability(host.CAP_SYS_RESOURCE, status) is has
    assert host.has_capability(host.CAP_SYS_RESOURCE, tmp_path / "nothing")


@pytest.mark.parametrize("has", [True, False])
def test_the_runtime_wrapper_only_where_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    monkeypatch.setattr(host, "has_capability", lambda _: has)
    host.write_daemon_json(
        tmp_path / "daemon.json",
        EngineSpec(insecure_registries=("a:1",), registry_mirrors=("http://m",)),
        "198.18.213.1/24",
    )
    settings = json.loads((tmp_path / "daemon.json").read_text())
    assert settings["features"] == {"containerd-snapshotter": True}
    assert settings["insecure-registries"] == ["a:1"]
    assert settings["registry-mirrors"] == ["http://m"]
    assert settings["bip"] == "198.18.213.1/24"
    assert ("default-runtime" in settings) is not has
    if not has:
        path = settings["runtimes"][settings["default-runtime"]]["path"]
        assert Path(path).name == "runc-without-sys-resource"


def test_cgroup_v2_gets_an_inner_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.procs").write_text("1\n7\n")
    host.prepare_cgroups(tmp_path)
    assert (tmp_path / "init" / "cgroup.procs").read_text() == "7"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+pids"


def test_cgroup_v1_is_left_alone(tmp_path: Path) -> None:
    host.prepare_cgroups(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hierarchy", [".", "pids"])
@pytest.mark.parametrize(("limit", "left"), [("8192", "7680"), ("100", "1"), ("max", None)])
def test_builds_leave_processes_to_the_executor(
    tmp_path: Path, hierarchy: str, limit: str, left: str | None
) -> None:
    directory = tmp_path / hierarchy
    directory.mkdir(exist_ok=True)
    (directory / "pids.max").write_text(f"{limit}\n")
    host.prepare_cgroups(tmp_path)
    child = directory / "docker" / "pids.max"
    assert (child.read_text() if child.exists() else None) == left


def test_an_engine_without_privilege_makes_no_networks() -> None:
    settings = host.daemon_settings(EngineSpec(EngineMode.ROOTLESS), "172.17.0.1/16")
    assert (settings["bridge"], settings["iptables"]) == ("none", False)
    assert not {"bip", "runtimes"} & set(settings)
