"""A ZooKeeper client that never gives up, for finding masters and for electing a leader."""

from __future__ import annotations

import logging

from kazoo.client import KazooClient
from kazoo.retry import KazooRetry

from builder_framework.addresses import ZooKeeperAddress

# Every lost connection is a line of its own otherwise; states are logged by who uses the client.
logging.getLogger("kazoo").setLevel(logging.ERROR)

_LONGEST_WAIT = 5.0
_FOREVER = -1


def client(address: ZooKeeperAddress, session_timeout: float) -> KazooClient:
    """Not started yet. `session_timeout` (seconds) is a wish; the server has limits of its own."""
    auth = [("digest", address.credentials)] if address.credentials else None
    return KazooClient(
        hosts=address.hosts,
        timeout=session_timeout,
        auth_data=auth,
        connection_retry=KazooRetry(max_tries=_FOREVER, max_delay=_LONGEST_WAIT),
    )
