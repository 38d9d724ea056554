"""Git LFS as a host has it: objects in a directory beside their repository, and the batch API.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md; basic transfer, downloads only.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

OID = re.compile(r"[0-9a-f]{64}")
BATCH = "info/lfs/objects/batch"
OBJECTS = "info/lfs/objects"
MEDIA_TYPE = "application/vnd.git-lfs+json"


def directory(repository: Path) -> Path:
    """Where the objects of a bare repository are."""
    return repository.with_suffix(".lfs")


def store(repository: Path, content: bytes) -> str:
    """Keeps an object; returns the pointer file that stands for it (git-lfs' docs/spec.md)."""
    oid = hashlib.sha256(content).hexdigest()
    objects = directory(repository)
    objects.mkdir(exist_ok=True)
    (objects / oid).write_bytes(content)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"


def find(repository: Path, oid: str) -> Path | None:
    """The file of an object; None when there is none, or `oid` is no name of one."""
    path = directory(repository) / oid
    return path if OID.fullmatch(oid) and path.is_file() else None


def batch(repository: Path, body: bytes, base: str, authorization: str | None) -> bytes | None:
    """The answer to a batch request; None when it is not one for a download.

    `base`: the URL under which the objects are; `authorization`: the header that the request came
    with, which downloads need as well.
    """
    try:
        asked = json.loads(body)
        pairs = [(str(each["oid"]), int(each["size"])) for each in asked["objects"]]
        if asked["operation"] != "download":
            return None
    except (ValueError, KeyError, TypeError):
        return None
    header = {"Authorization": authorization} if authorization else {}
    objects: list[dict[str, object]] = []
    for oid, size in pairs:
        one: dict[str, object] = {"oid": oid, "size": size}
        if find(repository, oid) is None:
            one["error"] = {"code": 404, "message": "there is no such object"}
        else:
            one["actions"] = {"download": {"href": f"{base}/{oid}", "header": header}}
        objects.append(one)
    return json.dumps({"transfer": "basic", "objects": objects}).encode()
