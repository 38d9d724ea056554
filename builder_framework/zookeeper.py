"""A ZooKeeper client that never gives up, for finding masters and for electing a leader."""

from __future__ import annotations

import contextlib
import logging

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.retry import KazooRetry

from builder_framework.addresses import ZooKeeperAddress

# Every lost connection is a line of its own otherwise; states are logged by who uses the client.
logging.getLogger("kazoo").setLevel(logging.ERROR)

ANSWER_TIMEOUT = 5.0
"""Seconds for an answer; a server that is frozen keeps its connections."""

# Seconds between tries to connect. Within a session's time there have to be several, or every
# restart of ZooKeeper ends every session.
_LONGEST_WAIT = 1.0
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


def close(client: KazooClient) -> None:
    """End the session, and give the connection back even if the server does not answer."""
    with contextlib.suppress(KazooException):
        client.stop()
    with contextlib.suppress(KazooException):
        client.close()
