"""What a step leaves for others: the artifact file, and the card of Drone's page."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD_SCHEMA = "https://drone-plugins.github.io/drone-docker/card.json"
"""Drone's page draws the card of drone-docker, which has what we tell, too."""

Json = Mapping[str, Any]


def artifact(build: Json) -> Json:
    """As drone-plugin-lib writes it (`docker/v1`): every image with its digest."""
    images = build["result"]["images"]
    registry = images[0]["name"].partition("/")[0] if images else ""
    return {
        "kind": "docker/v1",
        "data": {
            "registryType": "Docker",
            "registryUrl": registry,
            "images": [{"image": image["name"], "digest": image["digest"]} for image in images],
        },
    }


def card(build: Json, link: str) -> Json:
    """What drone-docker tells of an image, as far as it is known."""
    result = build["result"]
    size = result["size"] or 0
    names = [image["name"] for image in result["images"]]
    return {
        "schema": CARD_SCHEMA,
        "data": {
            "Id": result["digest"],
            "RepoTags": names,
            "ParsedRepoTags": [{"Tag": name} for name in names],
            "RepoDigests": [f"{name.rpartition(':')[0]}@{result['digest']}" for name in names],
            "Size": size,
            "VirtualSize": size,
            "SizeString": _size(size),
            "VirtualSizeString": _size(size),
            "Time": build["ended_at"],
            "URL": link,
        },
    }


def write_card(path: str, content: Json) -> None:
    """To a file, or into the log as Drone's runner picks it out. Raises OSError."""
    text = json.dumps(content)
    if path in ("/dev/stdout", "/dev/stderr"):
        encoded = base64.b64encode(text.encode()).decode()
        stream = sys.stdout if path == "/dev/stdout" else sys.stderr
        stream.write(f"\x1b]1338;{encoded}\x1b]0m\n")
        stream.flush()
    else:
        Path(path).write_text(text, encoding="utf-8")


def _size(amount: float) -> str:
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.2f}{unit}"
        amount /= 1024
    return f"{amount:.2f}GB"
