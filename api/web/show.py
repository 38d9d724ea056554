"""How values are shown: foreign text as text, durations, sizes. Pure, but for `install`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import jinja2
from flask import Flask
from markupsafe import Markup

# Controls, lone surrogates, what turns the direction of text around (Unicode TR 36, section 2.10;
# "Trojan Source", CVE-2021-42574), and line separators of Unicode's own.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    r"\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)

OPEN, CLOSE = "\u2039", "\u203a"
"""Around the number of a character that is not shown itself."""

_LONGEST = 300

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def visible(value: Any) -> Any:
    """Text with a mark for each character that would hide itself or others; the rest as it is.

    Every value that a template shows goes through this, and through the escaping of markup after.
    """
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSEEN.sub(lambda match: f"{OPEN}U+{ord(match[0]):04X}{CLOSE}", value)
    return value


def duration(seconds: float | None) -> str:
    """For people: `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def short(text: str | None, most: int = _LONGEST) -> str:
    """What is longer than any honest value is cut off: browsers lay it out slowly."""
    text = text or ""
    return text if len(text) <= most else f"{text[:most]}…"


def size(count: float | None) -> str:
    """Bytes for people, in binary units."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError  # pragma: no cover


def moment(seconds: float | None) -> str:
    """`2026-01-31 12:34:56 UTC` of seconds since the epoch."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def source(build: Mapping[str, Any]) -> str:
    """What a build is made from, in one line, from what the API shows of it."""
    given = build["source"]
    if git := given.get("git"):
        ref = git["ref"] or "HEAD"
        return f"{git['url']} @ {ref[:12] if _COMMIT.fullmatch(ref) else ref}"
    if tarball := given.get("tarball"):
        return str(tarball["url"])
    if upload := given.get("upload"):
        return f"an upload of {size(upload['size'])}"
    return "a task" if given.get("task") else "a Dockerfile"


def name(build: Mapping[str, Any]) -> str:
    """What people know a build by: its first image, or the one whose program runs."""
    images = build["images"]
    return str(images[0] if images else build["source"]["task"]["image"])


_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def install(app: Flask) -> None:
    """Make every template of `app` show values so."""
    app.jinja_options = {
        **app.jinja_options,
        "finalize": visible,
        "undefined": jinja2.StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    filters = {
        "duration": duration,
        "size": size,
        "moment": moment,
        "source": source,
        "name": name,
        "short": short,
    }
    app.jinja_env.filters.update(filters)
