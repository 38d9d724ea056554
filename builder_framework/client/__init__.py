"""A typed client of the HTTP API, for programs: the `builder` command and the plugins use it.

    from builder_framework.client import Client, Secret

    client = Client("https://builder.example.org", token=Secret("bft_…"))
    build = client.submit({"source": {…}, "images": ["registry.example.org/app:1"]})
    end = client.follow(build["id"], write=sys.stdout.write)

Answers are the dicts of `builder_framework.answers`. Every call raises ApiError and
ConnectionFailedError; those that cannot do harm are tried again by themselves first.
"""

from builder_framework.client.api import Client, LogPiece
from builder_framework.client.errors import ApiError, ConnectionFailedError
from builder_framework.client.follow import Follower
from builder_framework.client.sse import ServerEvent
from builder_framework.redact import Secret

__all__ = [
    "ApiError",
    "Client",
    "ConnectionFailedError",
    "Follower",
    "LogPiece",
    "Secret",
    "ServerEvent",
]
