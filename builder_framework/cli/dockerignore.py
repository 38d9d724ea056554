"""Docker's .dockerignore: which files of a directory are in the build context.

By the rules of github.com/moby/patterns (`ignorefile`, `patternmatcher`), letter case included,
which docker-py's own matcher does not tell apart. The executor's BuildKit applies them once more.
"""

from __future__ import annotations

import posixpath
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder_framework.errors import InvalidValueError

_ESCAPED = frozenset(".+()|{}$")


@dataclass(frozen=True)
class _Pattern:
    text: str
    regex: re.Pattern[str]
    negated: bool

    def matches(self, path: str) -> bool:
        """Whether it matches the path or a directory that it is in."""
        parts = path.split("/")
        return any(self.regex.fullmatch("/".join(parts[:n])) for n in range(len(parts), 0, -1))


class DockerIgnore:
    """The patterns of one file; the last one that matches a path decides."""

    def __init__(self, text: str) -> None:
        """Raises InvalidValueError with the line that is no pattern."""
        self._patterns = list(_read(text))
        self._any_negated = any(pattern.negated for pattern in self._patterns)

    def excludes(self, path: str) -> bool:
        """Whether `path`, with `/` and relative to the context, is left out."""
        left_out = False
        for pattern in self._patterns:
            if pattern.negated is left_out and pattern.matches(path):
                left_out = not pattern.negated
        return left_out

    def excludes_all_below(self, folder: str) -> bool:
        """Whether nothing below a directory can be in the context; False where that is unsure."""
        return not self._any_negated and self.excludes(folder)


def of(context: Path, dockerfile: str) -> DockerIgnore:
    """The patterns for a context, from `DOCKERFILE.dockerignore` in it, or else `.dockerignore`
    (https://docs.docker.com/build/concepts/context/#dockerignore-files).

    Raises InvalidValueError.
    """
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        file = context / name
        if file.is_file():
            try:
                return DockerIgnore(file.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidValueError(f"{name} cannot be read: {error}") from None
            except InvalidValueError as error:
                raise InvalidValueError(f"{name}: {error.message}") from None
    return DockerIgnore("")


def _read(text: str) -> Iterator[_Pattern]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        negated = pattern.startswith("!")
        if negated:
            pattern = pattern[1:].strip()
            if not pattern:
                raise InvalidValueError(f"line {number} is '!' and nothing else")
        if not pattern:
            continue
        pattern = _clean(pattern)
        if pattern == ".":
            continue  # "for historical reasons, the pattern . is ignored"
        try:
            yield _Pattern(pattern, _compiled(_regex(pattern)), negated)
        except re.error:
            raise InvalidValueError(f"line {number} is no pattern") from None


def _compiled(regex: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # Of sets in sets, which Python may have one day; for now `[[]` means what it does in Go.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(regex, re.DOTALL)


def _clean(pattern: str) -> str:
    """Go's filepath.Clean, and no slash at its begin."""
    clean = posixpath.normpath(pattern)
    return clean.lstrip("/") or "."


def _regex(pattern: str) -> str:
    """patternmatcher's own translation; `[...]` and what follows a backslash stay as they are."""
    found, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if pattern.startswith("/", at):
                at += 1
            found.append("(.*/)?" if at < len(pattern) else ".*")
        elif char == "*":
            found.append("[^/]*")
        elif char == "?":
            found.append("[^/]")
        elif char in _ESCAPED:
            found.append(f"\\{char}")
        elif char == "\\" and at < len(pattern):
            found.append(re.escape(pattern[at]))
            at += 1
        elif char == "\\":
            raise re.error("a backslash at its end")
        else:
            found.append(char)
    return "".join(found)
