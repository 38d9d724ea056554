"""What a build is found by: the words of what it shows, and of what somebody searches for. Pure.

A word is a run of letters and digits, case left aside, cut at MAX_WORD. Whoever searches gives the
beginnings of words; each has to be there. Nothing that is masked where a build is shown is a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from builder_framework.domain.model import Attempt, Build, BuildRequest, Result
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource, TarballSource
from builder_framework.redact import Redactor

MAX_WORD = 40
"""Characters: a commit of SHA-1. Longer ones are as good as equal if they begin so."""

MAX_WORDS = 200
"""Of one build: what it was asked with comes first, its labels last."""

MAX_SOUGHT = 8
"""Words of one search."""

_MAX_TEXT = 1000
"""Characters of one text; a label may have 32 KiB."""

_WORD = re.compile(r"[^\W_]+")


def split(text: str) -> Iterator[str]:
    """The words of a text, in its order."""
    return (word[:MAX_WORD] for word in _WORD.findall(text[:_MAX_TEXT].casefold()))


def parse(text: str) -> tuple[str, ...]:
    """The beginnings of words that are sought. Raises InvalidValueError."""
    found = tuple(dict.fromkeys(word[:MAX_WORD] for word in _WORD.findall(text.casefold())))
    if not found:
        raise InvalidValueError("has no word: give letters or digits")
    if len(found) > MAX_SOUGHT:
        raise InvalidValueError(f"has more than {MAX_SOUGHT} words")
    return found


def of(build: Build) -> frozenset[str]:
    """All words of a build as it is now."""
    return of_request(build.id, build.owner, build.request) | learned(build)


def of_request(build_id: str, owner: str, request: BuildRequest) -> frozenset[str]:
    """Those that it has from the beginning."""
    return first([build_id, owner, *_texts(request)], request.redactor())


def learned(build: Build) -> frozenset[str]:
    """Those that come with time."""
    return _learned(build.result, build.reason, build.attempts)


def fits(found: frozenset[str], sought: Sequence[str]) -> bool:
    """Whether each of the beginnings is that of a word."""
    return all(any(word.startswith(beginning) for word in found) for beginning in sought)


def _texts(request: BuildRequest) -> Iterator[str]:
    """Hosts are left out: they are the same in nearly all builds."""
    yield request.project or ""
    yield request.group or ""
    match request.source.given:
        case GitSource(url=url, ref=ref):
            yield path_of(url)
            yield ref or ""
        case TarballSource(url=url):
            yield path_of(url)
        case _:
            pass
    yield request.task.name if request.task is not None else ""
    for image in request.titles:
        yield name_of(image)
    for key, value in request.labels.items():
        yield f"{key} {value}"


def path_of(url: str) -> str:
    """Of `https://host/path`, `ssh://host/path` or `host:path`, without the `.git` at its end."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    return path.removesuffix(".git")


def name_of(image: str) -> str:
    """Of a full name (`registry/repository:tag`) what follows the registry."""
    return image.partition("/")[2]


def first(texts: Iterable[str], redactor: Redactor) -> frozenset[str]:
    """The words of texts, the most important ones first, without what is masked in them."""
    found: dict[str, None] = {}
    for text in texts:
        found |= dict.fromkeys(split(redactor.text(text)))
        if len(found) >= MAX_WORDS:
            break
    return frozenset(list(found)[:MAX_WORDS])


def _learned(result: Result, reason: Reason | None, attempts: Sequence[Attempt]) -> frozenset[str]:
    texts = [result.commit or "", (result.digest or "").removeprefix("sha256:")]
    texts += [reason.value if reason else ""]
    texts += [attempt.placement.hostname.partition(".")[0] for attempt in attempts]
    return frozenset(word for text in texts for word in split(text))
