"""Apps of Marathon by their ids, and what a build is to do with one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from builder_framework.errors import InvalidValueError

DEFAULT_TIMEOUT = 600.0
"""Seconds."""

MAX_ID_LENGTH = 255

# `PathId` of Marathon's RAML (stringTypes.raml), absolute and without `..`.
_NAME = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_ID = re.compile(rf"(/{_NAME}(\.{_NAME})*)+")
# Below an app Marathon itself has these: `/v2/apps/shop/versions` is not the app `/shop/versions`.
_RESERVED = frozenset({"restart", "tasks", "versions"})


@dataclass(frozen=True)
class MarathonDeploy:
    """Set the new image in `app`. `timeout`: seconds to wait for other deployments of it, and as
    many again for this one to be over.
    """

    app: str
    timeout: float = DEFAULT_TIMEOUT


def app_id(text: str) -> str:
    """An absolute id, such as `/shop/web`. Raises InvalidValueError."""
    if len(text) > MAX_ID_LENGTH or not _ID.fullmatch(text):
        raise InvalidValueError(
            "is no absolute id of a Marathon app, such as /shop/web: names of lower-case letters, "
            "digits, '-' and '.' between slashes"
        )
    if text.rpartition("/")[2] in _RESERVED:
        raise InvalidValueError(
            f"ends with a name that Marathon keeps: {', '.join(sorted(_RESERVED))}"
        )
    return text


def prefix(text: str) -> str:
    """A beginning of ids: `/shop` is the app `/shop` and all below; `/` is all apps.

    Raises InvalidValueError.
    """
    return text if text == "/" else app_id(text)


def begins(beginning: str, app: str) -> bool:
    """Whether the app is that one or below it: `/shop` is no beginning of `/shopping`."""
    return beginning in ("/", app) or app.startswith(f"{beginning}/")


def any_begins(beginnings: Iterable[str], app: str) -> bool:
    """Whether one of them is a beginning of it."""
    return any(begins(beginning, app) for beginning in beginnings)
