"""The cluster's own bridge and packet rules.

Our dockerd runs with ``--iptables=false``: two engines in one network namespace share the chains
DOCKER, DOCKER-USER, ..., and each flushes them as it starts. So the few rules that containers need
are ours, carry a comment by which they are found, and are removed with the bridge. The machine's
``docker0`` and chains are never touched.
"""

from __future__ import annotations

import errno
import json
import shlex
import socket
import subprocess
from ipaddress import IPv4Network

from devcluster.config import ClusterConfig
from devcluster.errors import ClusterError


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(argv[:6])}` failed: {done.stderr.strip()}")
    return done.stdout


class Bridge:
    """The bridge ``bfdev<index>`` with its gateway address, and the rules that go with it."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._comment = f"builder-framework {config.bridge}"

    @property
    def exists(self) -> bool:
        done = subprocess.run(
            ["ip", "link", "show", "dev", self._config.bridge], capture_output=True, check=False
        )
        return done.returncode == 0

    def up(self) -> None:
        """Makes bridge, address and rules; refuses a subnet that the machine already routes."""
        if not self.exists:
            self._refuse_overlap()
            # With an address of its own: otherwise a bridge takes the lowest of its ports', which
            # changes as containers come and go, and the others' ARP entries for the gateway are
            # wrong for half a minute.
            mac = _mac_address(self._config.address)
            _run("ip", "link", "add", self._config.bridge, "address", mac, "type", "bridge")
        addresses = _run("ip", "-4", "-o", "addr", "show", "dev", self._config.bridge)
        with_prefix = f"{self._config.address}/{self._config.subnet.prefixlen}"
        if with_prefix not in addresses:
            _run("ip", "addr", "add", with_prefix, "dev", self._config.bridge)
        _run("ip", "link", "set", self._config.bridge, "up")
        for rule in self._rules():
            self._insert(rule)

    def down(self) -> None:
        """Removes the rules and the bridge; nothing to remove is fine."""
        for table in ("nat", "filter"):
            for line in self._save(table):
                words = shlex.split(line)
                if words[:1] == ["-A"] and self._comment in words:
                    _run("iptables", "-w", "-t", table, "-D", *words[1:])
        if self.exists:
            _run("ip", "link", "del", self._config.bridge)

    def rules(self) -> list[str]:
        """The rules of ours that are in force."""
        return [
            line
            for table in ("nat", "filter")
            for line in self._save(table)
            if self._comment in shlex.split(line)
        ]

    def _rules(self) -> list[list[str]]:
        bridge, subnet = self._config.bridge, str(self._config.subnet)
        comment = ["-m", "comment", "--comment", self._comment]
        return [
            # Containers reach the outside world with the machine's address,
            ["nat", "POSTROUTING", "-s", subnet, "!", "-o", bridge, *comment, "-j", "MASQUERADE"],
            # are forwarded even where another engine made DROP the default,
            ["filter", "FORWARD", "-i", bridge, *comment, "-j", "ACCEPT"],
            ["filter", "FORWARD", "-o", bridge, *comment, "-j", "ACCEPT"],
            # and reach master, agents, registry and git server here behind a local firewall.
            ["filter", "INPUT", "-i", bridge, *comment, "-j", "ACCEPT"],
        ]

    @staticmethod
    def _insert(rule: list[str]) -> None:
        table, chain, *match = rule
        known = subprocess.run(
            ["iptables", "-w", "-t", table, "-C", chain, *match], capture_output=True, check=False
        )
        if known.returncode:
            _run("iptables", "-w", "-t", table, "-I", chain, *match)

    @staticmethod
    def _save(table: str) -> list[str]:
        return _run("iptables-save", "-t", table).splitlines()

    def _refuse_overlap(self) -> None:
        for route in json.loads(
            _run("ip", "-4", "-json", "route", "show", "table", "main") or "[]"
        ):
            if route["dst"] == "default":
                continue
            taken = IPv4Network(route["dst"], strict=False)
            # A wide route (a VPN's 10.0.0.0/8) is no conflict: ours is more specific and wins.
            if taken.overlaps(self._config.subnet) and taken.prefixlen >= 16:
                raise ClusterError(
                    f"the subnet {self._config.subnet} is already routed through "
                    f"{route.get('dev', 'another link')} on this machine; "
                    f"choose another one with INDEX=1 to 254 (10.213.<INDEX>.0/24)"
                )


def refuse_taken_port(address: str, port: int, name: str) -> None:
    """One sentence when something else listens on the port that `name` needs."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ClusterError(
                    f"cannot listen on {address}:{port}: {error.strerror}"
                ) from error
            raise ClusterError(
                f"port {port} on {address}, wanted for {name}, is in use; end the program that "
                f"listens there or choose another port with PORTS={name}=NUMBER"
            ) from error


def _mac_address(ip_address: str) -> str:
    """A locally administered one, made from the IP address as Docker makes its own."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ip_address.split("."))
