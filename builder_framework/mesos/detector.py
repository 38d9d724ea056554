"""Finds the leading master in ZooKeeper, where masters announce themselves."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError

from builder_framework import zookeeper
from builder_framework.addresses import Address, ZooKeeperAddress

log = logging.getLogger(__name__)

SESSION_TIMEOUT = 10.0
"""Seconds, as in Mesos (master/constants.hpp, MASTER_DETECTOR_ZK_SESSION_TIMEOUT)."""

# Watches tell of every change; looking anyway costs nothing and forgives a lost watch.
_LOOK_AGAIN = 10.0
_DEFAULT_PORT = 5050

# Masters before 0.24 wrote `info_NUMBER`, in protobuf; `log_replicas` and others live there too.
_ANNOUNCEMENT = re.compile(r"json\.info_(\d{10})")


def leading(children: Sequence[str]) -> str | None:
    """The announcement with the lowest number, which is its master's place in the line."""
    found = [match for child in children if (match := _ANNOUNCEMENT.fullmatch(child))]
    return min(found, key=lambda match: match[1])[0] if found else None


def announced(data: bytes, *, by_name: bool) -> Address:
    """The address in a MasterInfo. Raises ValueError when there is none.

    `by_name`: its host name rather than its IP address, because certificates are for names.
    """
    info: Any = json.loads(data)
    try:
        address = info.get("address") or {}
        ip, name = address.get("ip"), address.get("hostname") or info.get("hostname")
        port = int(address.get("port") or info.get("port") or _DEFAULT_PORT)
    except (AttributeError, TypeError):
        raise ValueError("the announcement is no MasterInfo") from None
    host = (name or ip) if by_name else (ip or name)
    if not host:
        raise ValueError("the announcement has no address")
    return Address(str(host), port)


class MasterDetector:
    """Says each new leader once. While nobody leads or ZooKeeper is away, the last one stands."""

    def __init__(
        self,
        address: ZooKeeperAddress,
        leads: Callable[[Address], None],
        *,
        by_name: bool = False,
    ) -> None:
        """`leads` is called on a thread of the detector's."""
        self._address = address
        self._leads = leads
        self._by_name = by_name
        self._client: KazooClient = zookeeper.client(address, SESSION_TIMEOUT)
        self._told: tuple[str, int] | None = None
        self._trouble: str | None = None
        self._changed = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to look; ZooKeeper need not be there yet."""
        self._client.add_listener(lambda _state: self._changed.set())
        self._client.start_async()
        threading.Thread(target=self._watch, name="master-detector", daemon=True).start()

    def stop(self) -> None:
        """End; the session is given back meanwhile."""
        self._stopping.set()
        self._changed.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                self._look()
            except (KazooException, self._client.handler.timeout_exception, ValueError) as error:
                self._report(repr(error))
            except Exception:
                log.exception("looking for the leading master failed")
            self._changed.wait(_LOOK_AGAIN)
        zookeeper.close(self._client)

    def _look(self) -> None:
        if not self._client.connected:
            self._report("not connected")
            return
        leader = self._leader()
        if leader is None:
            self._report("no master has announced itself")
            return
        try:
            data, stat = self._wait(self._client.get_async(f"{self._address.path}/{leader}"))
        except NoNodeError:
            # It went away meanwhile, which the watch has told.
            return
        self._tell(announced(data, by_name=self._by_name), (leader, stat.czxid))

    def _leader(self) -> str | None:
        path = self._address.path
        try:
            return leading(self._wait(self._client.get_children_async(path, self._on_change)))
        except NoNodeError:
            # Masters never ran: the watch is for the node itself then.
            if self._wait(self._client.exists_async(path, self._on_change)):
                self._changed.set()
            return None

    def _wait(self, answer: Any) -> Any:
        return answer.get(timeout=zookeeper.ANSWER_TIMEOUT)

    def _tell(self, address: Address, node: tuple[str, int]) -> None:
        self._trouble = None
        if node == self._told:
            return
        self._told = node
        log.info("%s: %s leads (%s)", self._address, address, node[0])
        self._leads(address)

    def _report(self, trouble: str) -> None:
        """Each trouble once."""
        if trouble != self._trouble and not self._stopping.is_set():
            log.warning("%s: %s; the known master stands", self._address, trouble)
        self._trouble = trouble

    def _on_change(self, _event: Any) -> None:
        self._changed.set()
