"""Clears away what builds that are gone left in an engine, and keeps a cache below its mark.

An engine of the executor's own holds nothing but ours, and whoever holds the lock of its data root
is alone there. The agent's engine is shared: there a name says which attempt an image belongs to,
and a running container, labelled by the framework, that the attempt is alive.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

logger = logging.getLogger(__name__)

BUILD_LABEL = "builder.build"
ATTEMPT_LABEL = "builder.attempt"
"""`mesos.translate` gives them to each executor's container."""

TEST_LABEL = "builder.test"
"""Of what a test starts: `build.attempt`. Not the others: those show that an attempt is alive."""

LOW_DISK = 0.05
"""Share of a file system; with less than this free, no build cache is worth its place."""

CALL_TIMEOUT = 30.0
"""Seconds for one call; collecting gigabytes of a cache takes some."""

# What the pipeline calls an attempt's image in the engine, and before publishing.
_OURS = re.compile(r".+:builder-(?P<build>[0-9a-z]+)-(?P<attempt>[0-9]+)")
_OUR_TAG = re.compile(r".+:builder-[^/:]+")

Attempt = tuple[str, str]
"""A build's id and an attempt's number."""


class EngineError(Exception):
    """The engine did not do what it was asked for."""


def call(engine: Path, method: str, target: str, timeout: float = CALL_TIMEOUT) -> bytes:
    """The answer's body of one request to the engine behind this socket. Raises EngineError."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(engine))
        connection.request(method, target)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"{method} {target}: {error}") from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise EngineError(f"{method} {target}: {answer.status} {body[:200]!r}")
    return body


def _ask(engine: Path, method: str, target: str) -> Any:
    try:
        return json.loads(call(engine, method, target))
    except ValueError as error:
        raise EngineError(f"{method} {target}: the answer is no JSON") from error


def clear_engine(engine: Path) -> None:
    """Remove every container and image of an engine of our own in which no build runs."""
    for container in _ask(engine, "GET", "/containers/json?all=1"):
        call(engine, "DELETE", f"/containers/{container['Id']}?force=1&v=1")
    _ask(engine, "POST", "/networks/prune")
    call(engine, "POST", f"/volumes/prune?{urlencode({'filters': json.dumps({'all': ['1']})})}")
    _prune(engine, "/images/prune", {"filters": json.dumps({"dangling": ["false"]})})


def trim_cache(engine: Path, data_root: Path, keep_mb: int) -> None:
    """Remove what was unused for longest until `keep_mb` MiB of build cache are left.

    BuildKit's own collection begins a minute after a build, and by then its engine has ended.
    """
    disk = shutil.disk_usage(data_root)
    if disk.free < LOW_DISK * disk.total:
        logger.warning("%d MiB are free: removing the whole build cache", disk.free >> 20)
        keep_mb = 0
    _prune(engine, "/build/prune", {"all": "1", "keep-storage": str(keep_mb << 20)})


def _prune(engine: Path, path: str, query: Mapping[str, str]) -> None:
    freed = _ask(engine, "POST", f"{path}?{urlencode(query)}").get("SpaceReclaimed")
    if freed:
        logger.info("%s freed %d MiB", path, freed >> 20)


def clear_dead_attempts(engine: Path, own: str | None = None) -> list[str]:
    """Take the names off the agent's engine that attempts left there which run no more.

    `own`: the name of this executor's container (default: as Mesos tells it). Where that is not
    to be seen, this is not the engine that runs executors, and nothing can be said of the living.
    Returns the names. Raises EngineError.
    """
    own = own or os.environ.get("MESOS_CONTAINER_NAME")
    # The images first: whatever has one by then has had a container for longer.
    images = _ask(engine, "GET", "/images/json")
    containers = _ask(engine, "GET", "/containers/json")
    if not any(f"/{own}" in container["Names"] for container in containers):
        return []
    names = dead_names(images, living(containers))
    clear_dead_tests(engine, living(containers))
    for name in names:
        logger.info("removing %s, whose build is gone", name)
        call(engine, "DELETE", f"/images/{quote(name, safe='')}")
    return names


def clear_dead_tests(engine: Path, alive: set[Attempt]) -> None:
    """Remove what tests of dead attempts left on the agent's engine."""
    running = {f"{build}.{attempt}" for build, attempt in alive}
    for kind, listed, identity in (
        ("containers", "/containers/json?all=1", "Id"),
        ("networks", "/networks", "Id"),
        ("volumes", "/volumes", "Name"),
    ):
        found = _ask(engine, "GET", listed)
        for item in (found.get("Volumes") or ()) if isinstance(found, dict) else found:
            label = (item.get("Labels") or {}).get(TEST_LABEL)
            if label is not None and label not in running:
                logger.info("removing one of the %s of the tests of %s", kind, label)
                force = "?force=1&v=1" if kind == "containers" else ""
                call(engine, "DELETE", f"/{kind}/{quote(item[identity], safe='')}{force}")


def living(containers: Iterable[Mapping[str, Any]]) -> set[Attempt]:
    """The attempts whose containers run, from `GET /containers/json`."""
    labels = (container["Labels"] or {} for container in containers)
    return {
        (found[BUILD_LABEL], found[ATTEMPT_LABEL])
        for found in labels
        if BUILD_LABEL in found and ATTEMPT_LABEL in found
    }


def dead_names(images: Iterable[Mapping[str, Any]], alive: set[Attempt]) -> list[str]:
    """The names to remove, from `GET /images/json`.

    An image may have several builds' names, and users' own. It loses those of dead attempts, and
    when no living attempt has it, the other names that only we give.
    """
    dead = []
    for image in images:
        names = image["RepoTags"] or ()
        attempts = {name: found.groups() for name in names if (found := _OURS.fullmatch(name))}
        ended = [name for name, attempt in attempts.items() if attempt not in alive]
        if ended and len(ended) == len(attempts):
            ended = [name for name in names if _OUR_TAG.fullmatch(name)]
        dead += ended
    return dead
